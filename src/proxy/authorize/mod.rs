//! Whether that principal may; gives [`Entitlement`].

use crate::config;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use crate::proxy::authenticate::Principal;

/// What a route asks of whoever proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Requirement {
    all: Box<[Scope]>,
    any: Box<[Scope]>,
}

impl Requirement {
    pub fn compile(route: &config::Route) -> Self {
        Self {
            all: route.scopes_all.clone().into(),
            any: route.scopes_any.clone().into(),
        }
    }

    /// The scopes a client should ask its issuer for, as RFC 6750 section 3 puts them in `scope`.
    pub fn needed(&self) -> ScopeSet {
        self.all.iter().chain(&self.any).cloned().collect()
    }

    fn is_met_by(&self, granted: &ScopeSet) -> bool {
        let has = |scope: &Scope| granted.contains(scope);
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has))
    }
}

/// That a request may use its route. Only this stage makes one.
#[derive(Clone, Debug)]
pub struct Entitlement {
    principal: Option<Principal>,
}

impl Entitlement {
    /// Whoever was proved; `None` on a public route.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }
}

/// The principal lacks a scope that the route asks for (RFC 6750 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsufficientScope;

/// A public route asks for nothing and learns nothing.
pub fn public() -> Entitlement {
    Entitlement { principal: None }
}

/// Checks the route's requirement. Scopes compare as whole, case-sensitive tokens (RFC 6749 section 3.3).
///
/// # Errors
/// [`InsufficientScope`] when one of `all`, or every one of `any`, is missing.
pub fn authorize(principal: &Principal, requirement: &Requirement) -> Result<Entitlement, InsufficientScope> {
    if requirement.is_met_by(&principal.identity().scopes) {
        Ok(Entitlement {
            principal: Some(principal.clone()),
        })
    } else {
        Err(InsufficientScope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes(list: &str) -> Box<[Scope]> {
        list.split_whitespace().map(|scope| scope.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(all: &str, any: &str, granted: &str, expected: bool) {
        let requirement = Requirement {
            all: scopes(all),
            any: scopes(any),
        };
        let granted = ScopeSet::parse_list(granted).unwrap();
        assert_eq!(
            requirement.is_met_by(&granted),
            expected,
            "all {all:?} any {any:?} granted {granted:?}"
        );
    }

    #[test]
    fn all_means_every_one_and_any_means_one() {
        check("", "", "", true);
        check("read", "", "read", true);
        check("read write", "", "read", false);
        check("read write", "", "write read x", true);
        check("", "read write", "write", true);
        check("", "read write", "x", false);
        check("a", "b c", "a", false);
        check("a", "b c", "b", false);
        check("a", "b c", "a c", true);
    }

    #[test]
    fn s035_a_scope_is_never_met_by_a_part_or_another_case() {
        for granted in ["read:all", "Read", "xread", "rea", "READ", "read:"] {
            check("read", "", granted, false);
            check("", "read", granted, false);
        }
    }

    proptest! {
        #[test]
        fn more_scopes_never_entitle_to_less(granted in "[a-d]( [a-d]){0,3}", extra in "[a-d]", all in "([a-d]( [a-d]){0,2})?") {
            let requirement = Requirement { all: scopes(&all), any: Box::default() };
            let fewer = ScopeSet::parse_list(&granted).unwrap();
            let more = ScopeSet::parse_list(&format!("{granted} {extra}")).unwrap();
            prop_assert!(!requirement.is_met_by(&fewer) || requirement.is_met_by(&more));
        }
    }
}
