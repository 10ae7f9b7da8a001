//! Who asks, and how far does their word reach?

use crate::control::registry::RegistryError;
use crate::model::names::Name;
use crate::model::plan::OPERATORS;
use std::net::IpAddr;

/// Whoever asks for a change or a look, after access was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// As the audit log names it: a client's id, `admin.token`, `local` or `gate`.
    name: String,
    /// From where; `None` for what did not come over the network.
    from: Option<IpAddr>,
    reach: Reach,
}

/// Whose things an actor sees and changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything: operators.
    All,
    /// What belongs to one organization. Everything else is not there for it.
    Organization(Name),
}

impl Actor {
    /// Whoever has the token of the configuration.
    pub fn admin_token(from: IpAddr) -> Self {
        Self {
            name: "admin.token".to_owned(),
            from: Some(from),
            reach: Reach::All,
        }
    }

    /// Whoever may open the store's files: it could change them without asking.
    pub fn local() -> Self {
        Self {
            name: "local".to_owned(),
            from: None,
            reach: Reach::All,
        }
    }

    /// The gate itself, at its start.
    pub fn gate() -> Self {
        Self {
            name: "gate".to_owned(),
            from: None,
            reach: Reach::All,
        }
    }

    /// A client, by a token of ours. Those of the organization `operators` administer the whole gate.
    pub fn client(id: &str, organization: &Name, from: IpAddr) -> Self {
        Self {
            name: id.to_owned(),
            from: Some(from),
            reach: match organization.as_str() {
                OPERATORS => Reach::All,
                _ => Reach::Organization(organization.clone()),
            },
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn from(&self) -> Option<IpAddr> {
        self.from
    }

    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether what belongs to `organization` is there for this actor.
    pub fn sees(&self, organization: &Name) -> bool {
        match &self.reach {
            Reach::All => true,
            Reach::Organization(own) => own == organization,
        }
    }

    pub const fn is_operator(&self) -> bool {
        matches!(self.reach, Reach::All)
    }

    /// # Errors
    /// It is a client of another organization than `operators`.
    pub fn operators_only(&self) -> Result<(), RegistryError> {
        if self.is_operator() {
            Ok(())
        } else {
            Err(RegistryError::OperatorsOnly)
        }
    }

    /// Whether it may open any file of this machine that the gate may: only who has a shell on it.
    pub fn is_local(&self) -> bool {
        self.from.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn clients_see_their_own_organization_and_operators_all() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let name = |text: &str| text.parse::<Name>().unwrap();
        let owner = Actor::client("client_1", &name("acme"), here);
        assert!(owner.sees(&name("acme")) && !owner.is_operator() && !owner.is_local());
        for other in ["acme2", "operators", "default"] {
            assert!(!owner.sees(&name(other)), "{other}");
        }
        for all in [
            Actor::client("client_2", &name("operators"), here),
            Actor::admin_token(here),
            Actor::local(),
        ] {
            assert!(all.sees(&name("acme")) && all.is_operator(), "{all:?}");
        }
    }
}
