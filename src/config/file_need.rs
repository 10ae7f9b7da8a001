//! Which warnings depend on files with keys, which are read after the configuration?

use crate::config::KeySource;
use crate::config::check::Checker;
use crate::config::error::ConfigWarning;
use crate::config::issuer::Issuer;
use crate::config::limit::Limit;
use crate::config::limit::LimitBy;
use crate::config::route::AcceptedCredential;
use crate::config::route::LocatedRoute;
use crate::config::rule::Condition;
use crate::model::directory::KeyRecord;
use crate::model::names::Name;
use crate::model::scope::Scope;
use std::collections::BTreeMap;

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
    OneScope(Vec<Scope>),
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
            Self::OneScope(scopes) => scopes.iter().any(|scope| key.scopes.contains(scope)),
        }
    }
}

/// Returns a need for each issuer with keys in files: one of them must fit an algorithm.
pub(in crate::config) fn of_issuers(issuers: &BTreeMap<Name, Issuer>, checker: &Checker<'_>) -> Vec<FileNeed> {
    let local = issuers
        .values()
        .filter(|issuer| matches!(issuer.keys, KeySource::Pem(_) | KeySource::File(_)));
    let need = |issuer: &Issuer| {
        let sections = checker.tree.sections("issuers");
        let mut places = sections.filter_map(|all| checker.tree.entry(all, issuer.name.as_str()));
        let at = places.next()?;
        let algorithms: Vec<&str> = issuer.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
        let problem = format!(
            "no key of this issuer is for {}, so no token can pass",
            algorithms.join(" or ")
        );
        let hint = "add the algorithm of its keys to `algorithms`";
        let at = checker
            .tree
            .first_of(at, &["algorithms", "public_key_files", "jwks_file"]);
        Some(FileNeed {
            need: Need::IssuerKey(issuer.name.clone()),
            warning: checker.warning(at, "refuses-everybody", problem, hint),
        })
    };
    local.filter_map(need).collect()
}

/// Adds what the keys of the keys file need, so that limits count as they read and, where no token is accepted, so that
/// some key passes.
pub(in crate::config) fn of_keys(
    located: &LocatedRoute,
    limits: &BTreeMap<Name, Limit>,
    checker: &Checker<'_>,
    needs: &mut Vec<FileNeed>,
) {
    for name in &located.route.limits {
        let by = limits.get(name).map(|limit| limit.by.as_slice()).unwrap_or_default();
        for (by, fact) in by.iter().filter_map(|by| match by {
            LimitBy::Client => Some((by, KeyFact::AnyClient)),
            LimitBy::Organization => Some((by, KeyFact::AnyOrganization)),
            LimitBy::Credential | LimitBy::Subject | LimitBy::Ip | LimitBy::Route => None,
        }) {
            let problem =
                format!("`limits.{name}` counts by `{by}`, and no key of the keys file has one: each counts by itself");
            let hint = format!("give the keys a `{by}` in the keys file, or count by `credential`");
            needs.push(FileNeed {
                need: Need::ApiKey(fact),
                warning: checker.warning(located.limit_place(name), "limit-stand-in", problem, hint),
            });
        }
    }
    if located.route.accept.contains(&AcceptedCredential::Jwt) {
        return;
    }
    for condition in located.enforced() {
        let (key, fact) = match condition {
            Condition::Clients(names) => ("clients", KeyFact::Client(names.clone())),
            Condition::Organizations(names) => ("organizations", KeyFact::Organization(names.clone())),
            Condition::ScopesAll(scopes) => ("scopes", KeyFact::Scopes(scopes.clone())),
            Condition::ScopesAny(scopes) => ("scopes", KeyFact::OneScope(scopes.clone())),
            // No API key has a subject or claims; that is a mistake, reported elsewhere.
            Condition::Subjects(_) | Condition::Claim(..) => continue,
        };
        let at = checker.tree.first_of(located.at, &[key, "rules"]);
        let problem = format!("no key of the keys file meets `{key}`, so every request is refused");
        needs.push(FileNeed {
            need: Need::ApiKey(fact),
            warning: checker.warning(at, "refuses-everybody", problem, "give it to a key in the keys file"),
        });
    }
}
