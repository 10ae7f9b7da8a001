//! Which conditions do the rules of a route set for a principal, and which did the rules set before?

use crate::compare::Weakening;
use crate::compare::finding::list_text;
use crate::compare::side::SideRoute;
use crate::config::Condition;
use crate::config::DEFAULT_METHODS;
use crate::config::Mode;
use crate::config::Route;
use crate::config::Rule;
use crate::config::takes;
use crate::model::claim::ClaimPointer;
use crate::model::claim::ClaimValue;
use crate::model::scope::Scope;
use http::Method;
use std::collections::BTreeSet;

/// Calls `found` for each kind of condition that a principal may meet under the rules of `now` and fail under the rules
/// of `before`. The finding names the methods concerned, unless all methods are.
pub(in crate::compare) fn compare(before: SideRoute<'_>, now: SideRoute<'_>, found: &mut dyn FnMut(Weakening)) {
    let methods = methods(before.route, now.route);
    let rules: Vec<(CombinedRules<'_>, CombinedRules<'_>)> = methods
        .iter()
        .map(|method| {
            (
                CombinedRules::of(before.route, method),
                CombinedRules::of(now.route, method),
            )
        })
        .collect();
    for kind in ConditionKind::ALL {
        let mut changes: Vec<(String, String, Vec<&Method>)> = Vec::new();
        for (method, (old, new)) in methods.iter().zip(&rules) {
            if new.keeps(old, kind) {
                continue;
            }
            let (was, is) = (old.words(kind), new.words(kind));
            match changes.iter_mut().find(|(known, now, _)| (known, now) == (&was, &is)) {
                Some((_, _, methods)) => methods.push(method),
                None => changes.push((was, is, vec![method])),
            }
        }
        for (was, is, weaker) in changes {
            let mut finding = before.weakening(now, kind.key(), was, is);
            if weaker.len() < methods.len() {
                let names: Vec<&str> = weaker.iter().map(|method| method.as_str()).collect();
                finding.requirement = format!("{} for {}", kind.key(), names.join(", "));
            }
            found(finding);
        }
    }
}

/// Returns the methods that both routes match, each once.
fn methods(before: &Route, now: &Route) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    for method in DEFAULT_METHODS.iter().chain(&before.methods).chain(&now.methods) {
        if takes(&before.methods, method) && takes(&now.methods, method) && !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

#[derive(Clone, Copy)]
enum ConditionKind {
    Scopes,
    Clients,
    Subjects,
    Organizations,
    Claims,
}

impl ConditionKind {
    const ALL: [Self; 5] = [
        Self::Scopes,
        Self::Clients,
        Self::Subjects,
        Self::Organizations,
        Self::Claims,
    ];

    const fn key(self) -> &'static str {
        match self {
            Self::Scopes => "scopes",
            Self::Clients => "clients",
            Self::Subjects => "subjects",
            Self::Organizations => "organizations",
            Self::Claims => "claims",
        }
    }
}

/// The conditions of all enforced rules for one method. A principal must meet all of them.
#[derive(Default)]
struct CombinedRules<'a> {
    all: BTreeSet<&'a Scope>,
    /// The principal needs one scope of each list.
    any: Vec<&'a [Scope]>,
    clients: Vec<&'a [String]>,
    subjects: Vec<&'a [String]>,
    organizations: Vec<&'a [String]>,
    claims: Vec<(&'a ClaimPointer, &'a [ClaimValue])>,
}

impl<'a> CombinedRules<'a> {
    fn of(route: &'a Route, method: &Method) -> Self {
        let mut rules = Self::default();
        for rule in route.rules.iter().filter(|rule| rule.is_for(method)) {
            let Rule {
                name: _,
                mode,
                methods: _,
                conditions,
            } = rule;
            if *mode == Mode::Enforce {
                conditions.iter().for_each(|condition| rules.add(condition));
            }
        }
        rules
    }

    fn add(&mut self, condition: &'a Condition) {
        match condition {
            Condition::ScopesAll(scopes) => self.all.extend(scopes),
            Condition::ScopesAny(scopes) => self.any.push(scopes),
            Condition::Clients(names) => self.clients.push(names),
            Condition::Subjects(names) => self.subjects.push(names),
            Condition::Organizations(names) => self.organizations.push(names),
            Condition::Claim(pointer, values) => self.claims.push((pointer, values)),
        }
    }

    /// Returns whether every principal that meets `self` also meets the conditions of this `kind` in `before`. May
    /// return `false` for equivalent conditions, but never returns `true` for weaker conditions.
    fn keeps(&self, before: &Self, kind: ConditionKind) -> bool {
        match kind {
            ConditionKind::Scopes => self.keeps_scopes(before),
            ConditionKind::Clients => keeps_names(&self.clients, &before.clients),
            ConditionKind::Subjects => keeps_names(&self.subjects, &before.subjects),
            ConditionKind::Organizations => keeps_names(&self.organizations, &before.organizations),
            ConditionKind::Claims => before.claims.iter().all(|(pointer, allowed)| {
                let mut same = self.claims.iter().filter(|(other, _)| other == pointer);
                same.any(|(_, values)| values.iter().all(|value| allowed.contains(value)))
            }),
        }
    }

    fn keeps_scopes(&self, before: &Self) -> bool {
        // A list with one scope requires that scope.
        let needed = |scope: &Scope| {
            self.all.contains(scope) || self.any.iter().any(|any| matches!(any, [only] if only == scope))
        };
        let within = |one_of: &[Scope]| {
            let narrower = |any: &&[Scope]| !any.is_empty() && any.iter().all(|scope| one_of.contains(scope));
            self.any.iter().any(narrower)
        };
        before.all.iter().all(|scope| needed(scope))
            && before
                .any
                .iter()
                .all(|one_of| one_of.iter().any(needed) || within(one_of))
    }

    fn words(&self, kind: ConditionKind) -> String {
        let names = |lists: &[&[String]]| joined(lists.iter().map(|list| format!("one of {}", list_text(*list))));
        match kind {
            ConditionKind::Scopes => {
                let all = (!self.all.is_empty()).then(|| format!("all of {}", list_text(&self.all)));
                let any = self.any.iter().map(|any| format!("any of {}", list_text(*any)));
                joined(all.into_iter().chain(any))
            }
            ConditionKind::Clients => names(&self.clients),
            ConditionKind::Subjects => names(&self.subjects),
            ConditionKind::Organizations => names(&self.organizations),
            ConditionKind::Claims => {
                let claim =
                    |(pointer, values): &(&ClaimPointer, &[ClaimValue])| format!("{pointer} {}", list_text(*values));
                joined(self.claims.iter().map(claim))
            }
        }
    }
}

/// Returns whether each list of `before` contains all names of some list in `now`.
fn keeps_names(now: &[&[String]], before: &[&[String]]) -> bool {
    let narrower = |allowed: &[String]| now.iter().any(|list| list.iter().all(|name| allowed.contains(name)));
    before.iter().all(|allowed| narrower(allowed))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        "nothing".to_owned()
    } else {
        parts.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(list: &str) -> Vec<Scope> {
        list.split_whitespace().map(|scope| scope.parse().unwrap()).collect()
    }

    /// Compares two requirements: all scopes of the first list, and one scope of the second list unless it is empty.
    fn keeps(now: (&str, &str), before: (&str, &str)) -> bool {
        let scopes = |(all, any): (&str, &str)| (set(all), set(any));
        let (now, before) = (scopes(now), scopes(before));
        rules(&now).keeps(&rules(&before), ConditionKind::Scopes)
    }

    fn rules((all, any): &(Vec<Scope>, Vec<Scope>)) -> CombinedRules<'_> {
        CombinedRules {
            all: all.iter().collect(),
            any: if any.is_empty() { Vec::new() } else { vec![any] },
            ..CombinedRules::default()
        }
    }

    #[track_caller]
    fn check(now: (&str, &str), before: (&str, &str), expected: bool) {
        assert_eq!(keeps(now, before), expected, "{now:?} after {before:?}");
    }

    #[test]
    fn a_requirement_is_kept_when_the_new_one_implies_the_old() {
        check(("a", ""), ("a", ""), true);
        check(("b a", ""), ("a b", ""), true);
        check(("a b", ""), ("a", ""), true);
        check(("a", ""), ("a b", ""), false);
        check(("", ""), ("a", ""), false);
        check(("", ""), ("", "a"), false);
        check(("", "a"), ("a", ""), true);
        check(("a", ""), ("", "a b"), true);
        check(("", "a b"), ("", "b a"), true);
        check(("", "a b"), ("", "a b c"), true);
        check(("", "a b c"), ("", "a b"), false);
        check(("", "a b"), ("a", ""), false);
        check(("c", "a"), ("", "a b"), true);
    }

    #[test]
    fn names_and_claims_are_kept_by_lists_without_additions() {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (ab, a, c) = (list("a b"), list("a"), list("c"));
        assert!(keeps_names(&[&a], &[&ab]) && keeps_names(&[&ab, &c], &[&ab]) && keeps_names(&[&a], &[]));
        assert!(!keeps_names(&[&ab], &[&a]) && !keeps_names(&[], &[&a]) && !keeps_names(&[&c], &[&a]));
        let (pointer, other) = ("/a".parse().unwrap(), "/b".parse().unwrap());
        let (one, two) = (
            [ClaimValue::Integer(1)],
            [ClaimValue::Integer(1), ClaimValue::Bool(true)],
        );
        let rules = |pointer, values| CombinedRules {
            claims: vec![(pointer, values)],
            ..CombinedRules::default()
        };
        assert!(rules(&pointer, &one[..]).keeps(&rules(&pointer, &two[..]), ConditionKind::Claims));
        assert!(!rules(&pointer, &two[..]).keeps(&rules(&pointer, &one[..]), ConditionKind::Claims));
        assert!(!rules(&other, &one[..]).keeps(&rules(&pointer, &one[..]), ConditionKind::Claims));
        assert!(!CombinedRules::default().keeps(&rules(&pointer, &one[..]), ConditionKind::Claims));
    }

    proptest! {
        /// Tries every set of scopes.
        #[test]
        fn implication_is_that_of_all_sets(now_all in "([a-c] ){0,2}", now_any in "([a-c] ){0,3}", old_all in "([a-c] ){0,2}", old_any in "([a-c] ){0,3}") {
            let (now, old) = ((set(&now_all), set(&now_any)), (set(&old_all), set(&old_any)));
            let met = |(all, any): &(Vec<Scope>, Vec<Scope>), granted: &[Scope]| {
                all.iter().all(|scope| granted.contains(scope)) && (any.is_empty() || any.iter().any(|scope| granted.contains(scope)))
            };
            let subsets = (0..8_u8).map(|bits| {
                let scopes = ["a", "b", "c"].into_iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
                scopes.map(|(_, scope)| scope.parse::<Scope>().unwrap()).collect::<Vec<_>>()
            });
            let kept = subsets.into_iter().all(|granted| !met(&now, &granted) || met(&old, &granted));
            let claimed = rules(&now).keeps(&rules(&old), ConditionKind::Scopes);
            // Never `true` for a weaker rule. A repeated scope in the second list may give `false` for an equal rule.
            prop_assert!(kept || !claimed, "{now:?} {old:?}");
            let distinct = |list: &[Scope]| list.iter().enumerate().all(|(at, scope)| !list[..at].contains(scope));
            if distinct(&now.1) && !now.1.iter().any(|scope| now.0.contains(scope)) {
                prop_assert_eq!(claimed, kept, "{:?} {:?}", now, old);
            }
        }
    }
}
