//! What does a route ask for, and what did the one before it ask for?

use crate::compare::Side;
use crate::compare::Weaker;
use crate::compare::finding::listed;
use crate::compare::issuer;
use crate::compare::limit;
use crate::config::Accept;
use crate::config::Issuer;
use crate::config::Limit;
use crate::config::Route;
use crate::model::scope::Scope;

/// A route of one side.
#[derive(Clone, Copy)]
pub(in crate::compare) struct Placed<'a> {
    pub side: Side<'a>,
    pub route: &'a Route,
}

impl<'a> Placed<'a> {
    /// The issuers it trusts.
    fn issuers(self) -> impl Iterator<Item = &'a Issuer> {
        let config = self.side.config;
        self.route.issuers.iter().filter_map(|name| config.issuers.get(name))
    }

    /// The limits that hold on it.
    pub(in crate::compare) fn limits(self) -> impl Iterator<Item = &'a Limit> {
        let config = self.side.config;
        self.route.limits.iter().filter_map(|name| config.limits.get(name))
    }

    /// A finding about `key` of both routes.
    pub(in crate::compare) fn weaker(self, now: Self, key: &str, was: String, is: String) -> Weaker {
        let place = |placed: Self| {
            placed
                .side
                .origins
                .find(["routes", placed.route.name.as_str(), key])
                .clone()
        };
        Weaker {
            routes: Vec::new(),
            what: key.to_owned(),
            was,
            is,
            old: place(self),
            new: place(now),
        }
    }
}

/// Calls `found` with everything that `now` asks less of than `before` did.
pub(in crate::compare) fn compare(before: Placed<'_>, now: Placed<'_>, found: &mut dyn FnMut(Weaker)) {
    // Every field is named: what a new one means for the strength of a route is decided here, or the build fails.
    let Route {
        name: _,
        // Which requests come here is compared by the requests themselves.
        hosts: _,
        path: _,
        methods: _,
        accept,
        public,
        issuers: _,
        audiences: _,
        scopes_all,
        scopes_any,
        limits: _,
        // Where a request goes asks nothing of it.
        upstream: _,
        strip_prefix: _,
        // Whose pages may read an answer asks nothing of who sends the request, and a preflight is never forwarded.
        cors: _,
        forward_credential,
        reject_query_credentials,
        allow_encoded_slash,
        allow_empty_segments,
    } = now.route;
    let was = before.route;
    let mut report = |key: &str, was: &str, is: &str| found(before.weaker(now, key, was.to_owned(), is.to_owned()));
    if was.reject_query_credentials && !reject_query_credentials {
        report("query_credentials", "reject", "ignore");
    }
    if *allow_encoded_slash && !was.allow_encoded_slash {
        report("allow", "without encoded_slash", "with encoded_slash");
    }
    if *allow_empty_segments && !was.allow_empty_segments {
        report("allow", "without empty_segments", "with empty_segments");
    }
    limit::compare(before, now, found);
    if *public {
        if !was.public {
            let types = listed(was.accept.iter().copied().map(accept_word));
            found(before.weaker(
                now,
                "public",
                format!("accept: {types}"),
                "open to everybody".to_owned(),
            ));
        }
        return;
    }
    if was.public {
        return;
    }
    let mut report = |key: &str, was: String, is: String| found(before.weaker(now, key, was, is));
    if *forward_credential && !was.forward_credential {
        report("forward_credential", "false".to_owned(), "true".to_owned());
    }
    if accept.iter().any(|kind| !was.accept.contains(kind)) {
        let words = |list: &[Accept]| listed(list.iter().copied().map(accept_word));
        report("accept", words(&was.accept), words(accept));
    }
    if !implies((scopes_all, scopes_any), (&was.scopes_all, &was.scopes_any)) {
        report(
            "scopes",
            scopes(&was.scopes_all, &was.scopes_any),
            scopes(scopes_all, scopes_any),
        );
    }
    if accept.contains(&Accept::Jwt) && was.accept.contains(&Accept::Jwt) {
        compare_issuers(before, now, found);
    }
}

/// Issuers are the same where their `iss` is: the name is the operator's own.
fn compare_issuers(before: Placed<'_>, now: Placed<'_>, found: &mut dyn FnMut(Weaker)) {
    let mut told = false;
    for trusted in now.issuers() {
        match before.issuers().find(|issuer| issuer.issuer == trusted.issuer) {
            Some(was) => issuer::compare((before, was), (now, trusted), found),
            None if told => {}
            None => {
                told = true;
                let urls =
                    |placed: Placed<'_>| listed(placed.issuers().map(|issuer| issuer.issuer.as_str().to_owned()));
                let weaker = before.weaker(now, "issuers", urls(before), urls(now));
                found(weaker);
            }
        }
    }
}

fn accept_word(kind: Accept) -> &'static str {
    match kind {
        Accept::Jwt => "jwt",
        Accept::ApiKey => "api_key",
    }
}

type Scopes<'a> = (&'a [Scope], &'a [Scope]);

/// Whether whoever meets `now` meets `before`. Each is all of the first and one of the second, where there are any.
fn implies(now: (&Vec<Scope>, &Vec<Scope>), before: (&Vec<Scope>, &Vec<Scope>)) -> bool {
    let (all, any): Scopes<'_> = (now.0, now.1);
    // One alternative is no alternative.
    let needed = |scope: &Scope| all.contains(scope) || matches!(any, [only] if only == scope);
    let one_of = before.1;
    let every = before.0.iter().all(needed);
    let some = one_of.is_empty()
        || one_of.iter().any(needed)
        || (!any.is_empty() && any.iter().all(|scope| one_of.contains(scope)));
    every && some
}

fn scopes(all: &[Scope], any: &[Scope]) -> String {
    match (all, any) {
        ([], []) => "nothing".to_owned(),
        (all, []) => format!("all of {}", listed(all)),
        ([], any) => format!("any of {}", listed(any)),
        (all, any) => format!("all of {} and any of {}", listed(all), listed(any)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(list: &str) -> Vec<Scope> {
        list.split_whitespace().map(|scope| scope.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(now: (&str, &str), before: (&str, &str), expected: bool) {
        let found = implies((&set(now.0), &set(now.1)), (&set(before.0), &set(before.1)));
        assert_eq!(found, expected, "{now:?} after {before:?}");
    }

    #[test]
    fn a_requirement_is_kept_when_whoever_meets_the_new_one_meets_the_old() {
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

    proptest! {
        /// Against every set of scopes there is.
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
            let claimed = implies((&now.0, &now.1), (&old.0, &old.1));
            // Never says kept where it is not; a repeated alternative may make it say weaker once too often.
            prop_assert!(kept || !claimed, "{now:?} {old:?}");
            let distinct = |list: &[Scope]| list.iter().enumerate().all(|(at, scope)| !list[..at].contains(scope));
            if distinct(&now.1) && !now.1.iter().any(|scope| now.0.contains(scope)) {
                prop_assert_eq!(claimed, kept, "{:?} {:?}", now, old);
            }
        }
    }
}
