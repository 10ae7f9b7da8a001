//! What does a route ask of whoever proved who they are, and do they meet it?

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

/// The rules of a route. Every one that is for a request's method must hold.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// At most 64; see [`RuleSet`].
    rules: Box<[config::Rule]>,
}

/// Some of a requirement's rules, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RuleSet(u64);

/// Why a principal may not; for the operator exactly, for the client little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    unmet: Unmet,
    rules: RuleSet,
}

/// What kind of condition was not met.
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

    /// Returns the word for it in metrics, access records and the refusal table; one of [`Self::REASONS`].
    pub const fn reason(self) -> &'static str {
        self.unmet.reason()
    }

    /// Whether more scopes would be enough (RFC 6750 section 3.1).
    pub const fn is_about_scope(self) -> bool {
        matches!(self.unmet, Unmet::Scope)
    }

    /// One of each kind, by the first rule.
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

    /// What is told of a rule that failed and one that failed before. Scopes can be asked for, and then all that are
    /// missing are named; but who lacks more than scopes would ask in vain, so the rest comes first.
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

/// What a requirement says of one request: what refuses it, and what only would.
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
            rules: route.rules.clone().into(),
        }
    }

    /// Checks every rule that is for `method`. Allocates nothing.
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

    /// Every condition of the rules for `method`, in their order, and whether `identity` meets it. For explaining a decision.
    pub fn conditions(&self, identity: &Identity, method: &Method) -> Vec<(&config::Rule, &Condition, bool)> {
        let rules = self.rules.iter().filter(|rule| rule.is_for(method));
        let conditions = rules.flat_map(|rule| rule.conditions.iter().map(move |condition| (rule, condition)));
        conditions
            .map(|(rule, condition)| (rule, condition, unmet(condition, identity).is_none()))
            .collect()
    }

    /// The scopes a client should ask its issuer for after `forbidden`, as RFC 6750 section 3 puts them in `scope`: those
    /// of the rules that failed.
    pub fn missing_scopes(&self, forbidden: Forbidden) -> ScopeSet {
        scopes(self.failed(forbidden)).cloned().collect()
    }

    /// Every scope that some rule refuses for, whatever the method.
    pub fn scopes(&self) -> ScopeSet {
        scopes(self.rules.iter().filter(|rule| rule.mode == Mode::Enforce))
            .cloned()
            .collect()
    }

    /// The name of the first rule that failed and has one.
    pub fn rule_name(&self, forbidden: Forbidden) -> Option<&Name> {
        self.failed(forbidden).find_map(|rule| rule.name.as_ref())
    }

    fn failed(&self, forbidden: Forbidden) -> impl Iterator<Item = &config::Rule> {
        let failed = move |(place, _): &(usize, _)| forbidden.rules.0 & (1 << place) != 0;
        self.rules.iter().enumerate().filter(failed).map(|(_, rule)| rule)
    }

    /// Whether `other` asks the same for `method`, in whatever order.
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

/// What is not met of `condition`, if anything. What a principal does not have meets nothing (S152); all comparisons are
/// of whole texts, byte by byte.
fn unmet(condition: &Condition, identity: &Identity) -> Option<Unmet> {
    let is_one_of =
        |names: &[String], name: Option<&str>| name.is_some_and(|name| names.iter().any(|allowed| allowed == name));
    let has = |scope: &Scope| identity.scopes.contains(scope);
    let (met, otherwise) = match condition {
        Condition::Clients(clients) => (is_one_of(clients, identity.client_id.as_deref()), Unmet::Client),
        Condition::Subjects(subjects) => {
            // An API key's subject is its client's name or its id, which no issuer vouched for.
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
