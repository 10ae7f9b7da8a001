//! Which warnings depend on files with keys, which are read after the configuration?

use crate::config::error::ConfigWarning;
use crate::model::directory::KeyRecord;
use crate::model::names::Name;
use crate::model::scope::Scope;

/// A warning that is true unless files with keys meet a need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNeed {
    pub need: Need,
    pub warning: ConfigWarning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Some key of the keys file has this.
    ApiKey(KeyFact),
    /// Some key of the issuer's files fits one of its algorithms.
    IssuerKey(Name),
}

/// A fact about a key of the keys file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFact {
    AnyClient,
    AnyOrganization,
    Client(Vec<String>),
    Organization(Vec<String>),
    Scopes(Vec<Scope>),
}

impl KeyFact {
    /// Returns whether `key` has this.
    pub fn holds(&self, key: &KeyRecord) -> bool {
        let among = |names: &[String], name: Option<&str>| names.iter().any(|known| Some(known.as_str()) == name);
        match self {
            Self::AnyClient => key.client.is_some(),
            Self::AnyOrganization => key.organization.is_some(),
            Self::Client(names) => among(names, key.client.as_deref()),
            Self::Organization(names) => among(names, key.organization.as_deref()),
            Self::Scopes(scopes) => scopes.iter().all(|scope| key.scopes.contains(scope)),
        }
    }
}
