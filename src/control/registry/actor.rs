//! Which actor makes a request, and which records may it use?

use crate::control::registry::RegistryError;
use crate::model::names::Name;
use crate::model::plan::OPERATORS;
use crate::observe::escape;
use crate::store::record::audit::LOCAL;
use std::net::IpAddr;

/// The author of an authorized request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name in the audit log: a client's id, `admin.token`, `gate`, or [`LOCAL`] with the user.
    name: String,
    /// The source address; `None` if the request did not come over the network.
    from: Option<IpAddr>,
    reach: Visibility,
}

/// A user of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalUser {
    /// `None` if the system does not tell.
    uid: Option<u32>,
    name: Option<String>,
}

impl LocalUser {
    /// Returns the user. Leaves out a name with characters that a terminal would obey.
    pub fn new(uid: Option<u32>, name: Option<String>) -> Self {
        let name = name.filter(|name| !name.is_empty() && !name.chars().any(escape::is_hidden));
        Self { uid, name }
    }

    pub const fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Returns the name for the audit log. The number is there too: a name may be given to another user later.
    fn actor_name(&self) -> String {
        match (&self.name, self.uid) {
            (Some(name), Some(uid)) => format!("{LOCAL}:{name} (uid {uid})"),
            (Some(name), None) => format!("{LOCAL}:{name}"),
            (None, Some(uid)) => format!("{LOCAL} (uid {uid})"),
            (None, None) => LOCAL.to_owned(),
        }
    }
}

/// The records that an actor may see and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All records; for operators.
    All,
    /// The records of one organization. All others look absent.
    Organization(Name),
}

impl Actor {
    /// Returns the actor for `admin.token` of the configuration.
    pub fn admin_token(from: IpAddr) -> Self {
        Self {
            name: "admin.token".to_owned(),
            from: Some(from),
            reach: Visibility::All,
        }
    }

    /// Returns the actor for a user who can open the store's files, and so could change them without this API.
    pub fn local(user: &LocalUser) -> Self {
        Self {
            name: user.actor_name(),
            from: None,
            reach: Visibility::All,
        }
    }

    /// Returns the actor for the gate itself, at its start.
    pub fn gate() -> Self {
        Self {
            name: "gate".to_owned(),
            from: None,
            reach: Visibility::All,
        }
    }

    /// Returns the actor for a client with an access token of this gate.
    /// Clients of the organization `operators` administer the whole gate.
    pub fn client(id: &str, organization: &Name, from: IpAddr) -> Self {
        Self {
            name: id.to_owned(),
            from: Some(from),
            reach: match organization.as_str() {
                OPERATORS => Visibility::All,
                _ => Visibility::Organization(organization.clone()),
            },
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn from(&self) -> Option<IpAddr> {
        self.from
    }

    pub const fn reach(&self) -> &Visibility {
        &self.reach
    }

    /// Returns whether this actor may see the records of `organization`.
    pub fn sees(&self, organization: &Name) -> bool {
        match &self.reach {
            Visibility::All => true,
            Visibility::Organization(own) => own == organization,
        }
    }

    pub const fn is_operator(&self) -> bool {
        matches!(self.reach, Visibility::All)
    }

    /// Refuses every actor that is not an operator.
    ///
    /// # Errors
    /// [`RegistryError::OperatorsOnly`] for a client of another organization than `operators`.
    pub fn operators_only(&self) -> Result<(), RegistryError> {
        if self.is_operator() {
            Ok(())
        } else {
            Err(RegistryError::OperatorsOnly)
        }
    }

    /// Returns whether the request did not come over the network:
    /// such an actor may name any file that the gate can open.
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
            Actor::local(&LocalUser::default()),
        ] {
            assert!(all.sees(&name("acme")) && all.is_operator(), "{all:?}");
        }
    }

    #[test]
    fn a_local_user_is_named_as_far_as_the_system_tells() {
        for (uid, name, expected) in [
            (Some(1_000), Some("alice"), "local:alice (uid 1000)"),
            (Some(0), None, "local (uid 0)"),
            (None, Some("alice"), "local:alice"),
            (None, None, "local"),
            (Some(7), Some("a\u{1b}[31m"), "local (uid 7)"),
            (Some(7), Some(""), "local (uid 7)"),
        ] {
            let user = LocalUser::new(uid, name.map(str::to_owned));
            assert_eq!(Actor::local(&user).name(), expected);
        }
    }
}
