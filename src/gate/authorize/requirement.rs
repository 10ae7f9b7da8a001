//! Does a principal meet the rules of a route?

use crate::config;
use crate::config::Condition;
use crate::config::Mode;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Identity;
use crate::model::claim::ClaimFact;
use crate::model::names::Name;
use crate::model::reason::reasons;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use http::Method;
use std::sync::Arc;

/// The rules of a route. The principal must meet every rule for the method of the request.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// At most 64; see [`RuleSet`].
    rules: Arc<[config::Rule]>,
}

/// A subset of a requirement's rules, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RuleSet(u64);

/// Why a principal may not use a route: the kind of the unmet condition, and the rules that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    unmet: Unmet,
    rules: RuleSet,
}

/// The kind of condition that was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unmet {
    Client,
    Subject,
    Organization,
    Claim,
    Scope,
}

reasons! {
    Unmet {
        Self::Client => "client_not_allowed",
        Self::Subject => "subject_not_allowed",
        Self::Organization => "organization_not_allowed",
        Self::Claim => "claim_not_allowed",
        Self::Scope => "insufficient_scope",
    }
}

impl Forbidden {
    /// Every word that [`Self::reason`] returns.
    pub const REASONS: &'static [&'static str] = Unmet::REASONS;
    /// The word for a missing scope.
    pub const MISSING_SCOPE: &'static str = Unmet::Scope.reason();

    /// Returns the word for the refusal in metrics, access records and the refusal table; one of [`Self::REASONS`].
    pub const fn reason(self) -> &'static str {
        self.unmet.reason()
    }

    /// Returns whether a token with more scopes would pass: `insufficient_scope` of RFC 6750 section 3.1.
    pub const fn is_about_scope(self) -> bool {
        matches!(self.unmet, Unmet::Scope)
    }

    /// Returns a refusal of each kind, by the first rule.
    #[cfg(test)]
    pub fn each() -> [Self; 5] {
        let kinds = [
            Unmet::Client,
            Unmet::Subject,
            Unmet::Organization,
            Unmet::Claim,
            Unmet::Scope,
        ];
        kinds.map(|unmet| Self {
            unmet,
            rules: RuleSet(1),
        })
    }

    /// Returns `self` combined with the refusal by an earlier rule. Refusals for scopes are merged, so that the client
    /// can request the scopes of all failed rules at once. The first refusal of another kind takes precedence, because
    /// more scopes would not help.
    const fn combined_with(self, earlier: Option<Self>) -> Self {
        match (earlier, self.unmet) {
            (None, _) => self,
            (Some(earlier), Unmet::Scope) if earlier.is_about_scope() => Self {
                unmet: Unmet::Scope,
                rules: RuleSet(earlier.rules.0 | self.rules.0),
            },
            (Some(earlier), _) if earlier.is_about_scope() => self,
            (Some(earlier), _) => earlier,
        }
    }
}

/// The result of checking a requirement: the refusal by enforced rules, and the refusal by rules in shadow mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub enforced: Option<Forbidden>,
    pub shadow: Option<Forbidden>,
}

impl Requirement {
    pub fn compile(route: &config::Route) -> Self {
        assert!(
            route.rules.len() <= u64::BITS as usize,
            "config::load refuses more rules"
        );
        Self {
            rules: Arc::clone(&route.rules),
        }
    }

    /// Checks every rule for `method`. Does not allocate.
    pub(super) fn check(&self, identity: &Identity, method: &Method) -> Verdict {
        let mut verdict = Verdict::default();
        for (place, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.is_for(method)) {
            let Some(unmet) = rule.conditions.iter().find_map(|condition| unmet(condition, identity)) else {
                continue;
            };
            let rules = RuleSet(1 << place);
            let strongest = match rule.mode {
                Mode::Enforce => &mut verdict.enforced,
                Mode::Shadow => &mut verdict.shadow,
            };
            *strongest = Some(Forbidden { unmet, rules }.combined_with(*strongest));
        }
        verdict
    }

    /// Returns every condition of the rules for `method`, in order, and whether `identity` meets the condition. For
    /// `explain`.
    pub fn conditions(&self, identity: &Identity, method: &Method) -> Vec<(&config::Rule, &Condition, bool)> {
        let rules = self.rules.iter().filter(|rule| rule.is_for(method));
        let conditions = rules.flat_map(|rule| rule.conditions.iter().map(move |condition| (rule, condition)));
        conditions
            .map(|(rule, condition)| (rule, condition, unmet(condition, identity).is_none()))
            .collect()
    }

    /// Returns the scopes to ask for after `forbidden`, for `scope` of RFC 6750 section 3: those of the rules that failed,
    /// including scopes that the client already has. Of several that are each enough, only one: a client that asks for one
    /// more than it may have gets no token at all (RFC 6749 section 3.3). That is the one that is enough for most of the
    /// lists; of equal ones the first.
    pub fn scopes_to_ask_for(&self, forbidden: Forbidden) -> ScopeSet {
        let conditions = || self.failed(forbidden).flat_map(|rule| &rule.conditions);
        let any = || {
            conditions().filter_map(|condition| match condition {
                Condition::ScopesAny(scopes) => Some(scopes),
                _ => None,
            })
        };
        let all = conditions().flat_map(|condition| match condition {
            Condition::ScopesAll(scopes) => scopes.as_slice(),
            _ => &[],
        });
        let mut needed: Vec<&Scope> = all.collect();
        for alternatives in any() {
            if alternatives.iter().any(|scope| needed.contains(&scope)) {
                continue;
            }
            let helps = |scope: &&Scope| any().filter(|other| other.contains(scope)).count();
            // `max_by_key` takes the last of equal ones.
            needed.extend(alternatives.iter().rev().max_by_key(helps));
        }
        needed.into_iter().cloned().collect()
    }

    /// Returns the lists of the rules that failed of which one scope is enough, without lists of a single scope.
    pub fn alternatives(&self, forbidden: Forbidden) -> impl Iterator<Item = &[Scope]> {
        let conditions = self.failed(forbidden).flat_map(|rule| &rule.conditions);
        conditions.filter_map(|condition| match condition {
            Condition::ScopesAny(scopes) if scopes.len() > 1 => Some(scopes.as_slice()),
            _ => None,
        })
    }

    /// Returns every scope of the enforced rules, for any method.
    pub fn scopes(&self) -> ScopeSet {
        scopes(self.rules.iter().filter(|rule| rule.mode == Mode::Enforce))
            .cloned()
            .collect()
    }

    /// Returns the name of the first rule that failed and has a name.
    pub fn rule_name(&self, forbidden: Forbidden) -> Option<&Name> {
        self.failed(forbidden).find_map(|rule| rule.name.as_ref())
    }

    fn failed(&self, forbidden: Forbidden) -> impl Iterator<Item = &config::Rule> {
        let failed = move |(place, _): &(usize, _)| forbidden.rules.0 & (1 << place) != 0;
        self.rules.iter().enumerate().filter(failed).map(|(_, rule)| rule)
    }

    /// Returns whether `other` has the same rules for `method`, in any order.
    pub fn is_like(&self, other: &Self, method: &Method) -> bool {
        let includes = |one: &Self, other: &Self| {
            other.rules.iter().filter(|rule| rule.is_for(method)).all(|rule| {
                let same = |known: &&config::Rule| known.mode == rule.mode && known.conditions == rule.conditions;
                one.rules
                    .iter()
                    .filter(|known| known.is_for(method))
                    .any(|known| same(&known))
            })
        };
        includes(self, other) && includes(other, self)
    }
}

fn scopes<'r>(rules: impl Iterator<Item = &'r config::Rule>) -> impl Iterator<Item = &'r Scope> {
    rules
        .flat_map(|rule| &rule.conditions)
        .flat_map(|condition| match condition {
            Condition::ScopesAll(scopes) | Condition::ScopesAny(scopes) => scopes.as_slice(),
            Condition::Clients(_) | Condition::Subjects(_) | Condition::Organizations(_) | Condition::Claim(..) => &[],
        })
}

/// Returns the kind of `condition` where `identity` does not meet it, otherwise `None`. An absent attribute meets no
/// condition (S152). Texts are compared whole, byte by byte.
fn unmet(condition: &Condition, identity: &Identity) -> Option<Unmet> {
    let is_one_of =
        |names: &[String], name: Option<&str>| name.is_some_and(|name| names.iter().any(|allowed| allowed == name));
    let has = |scope: &Scope| identity.scopes.contains(scope);
    let (met, otherwise) = match condition {
        Condition::Clients(clients) => (is_one_of(clients, identity.client_id.as_deref()), Unmet::Client),
        Condition::Subjects(subjects) => {
            // The subject of an API key is the name of its client or the id of the key; no issuer confirms it.
            let subject = match identity.credential_type {
                CredentialType::ApiKey => None,
                CredentialType::Jwt | CredentialType::Opaque => identity.subject.as_deref(),
            };
            (is_one_of(subjects, subject), Unmet::Subject)
        }
        Condition::Organizations(organizations) => {
            let organization = identity.organization.as_deref();
            (is_one_of(organizations, organization), Unmet::Organization)
        }
        Condition::Claim(pointer, allowed) => {
            let holds = |fact: &ClaimFact| fact.pointer == *pointer && allowed.contains(&fact.value);
            (identity.claims.facts().any(holds), Unmet::Claim)
        }
        Condition::ScopesAll(scopes) => (scopes.iter().all(has), Unmet::Scope),
        Condition::ScopesAny(scopes) => (scopes.iter().any(has), Unmet::Scope),
    };
    (!met).then_some(otherwise)
}

#[cfg(test)]
mod tests;
