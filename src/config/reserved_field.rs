//! Which fields decide no route, because they have a meaning of their own?

use crate::config::check::Checker;
use crate::config::match_condition::MatchField;
use crate::config::reserved_header::is_override_header;
use crate::config::reserved_header::is_reserved_header;
use crate::config::route::LocatedRoute;
use crate::config::tree::NodeId;
use crate::model::identity_field;
use crate::model::query_credential;
use http::header::HOST;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use std::collections::BTreeMap;

/// Reports conditions on fields that carry credentials or identities, belong to one connection, or claim to be another part of
/// the request. `kept_out` are the headers that this configuration gives such a meaning, each with the key that does.
pub(in crate::config) fn refuse(
    routes: &[LocatedRoute],
    kept_out: &BTreeMap<&str, &'static str>,
    checker: &mut Checker<'_>,
) {
    for located in routes {
        for condition in located.route.conditions.iter() {
            let Some((problem, hint)) = reserved(&condition.field, kept_out) else {
                continue;
            };
            let at = place(located, &condition.field, checker);
            checker.error_with(
                at,
                "reserved-field",
                format!("no route matches on {}: {problem}", condition.field),
                hint,
            );
        }
    }
}

/// Returns why a field decides no route, and the hint.
fn reserved(field: &MatchField, kept_out: &BTreeMap<&str, &'static str>) -> Option<(String, &'static str)> {
    let about_proof = "what a credential proves is compared by `accept`, `scopes`, `clients` and their kin";
    match field {
        MatchField::Header(name) if *name == HOST => Some(("it is the host".to_owned(), "write `match.host`")),
        MatchField::Header(name) if name.as_str().starts_with(identity_field::PREFIX) => Some((
            "Keygate itself sets it, and drops what clients send".to_owned(),
            about_proof,
        )),
        MatchField::Header(name) if is_override_header(name) => {
            let problem = "it claims to be another part of the request, and neither routes nor policy read it";
            Some((problem.to_owned(), "write `match.path` or `match.methods`"))
        }
        MatchField::Header(name) if is_reserved_header(name) || *name == SEC_WEBSOCKET_PROTOCOL => {
            let problem = "it is about the credential, the connection or the proxies in front";
            Some((problem.to_owned(), "use a header of your own, such as `x-version`"))
        }
        MatchField::Header(name) => {
            let key = kept_out.get(name.as_str())?;
            Some((format!("`{key}` gives it a meaning"), about_proof))
        }
        MatchField::Parameter(name) if query_credential::is_one(name) => {
            let problem = "it is the name of a credential, which is never read from a query";
            Some((problem.to_owned(), about_proof))
        }
        MatchField::Parameter(_) => None,
    }
}

/// Returns the place of the condition on `field`.
pub(in crate::config) fn place(located: &LocatedRoute, field: &MatchField, checker: &Checker<'_>) -> NodeId {
    let key = match field {
        MatchField::Header(_) => "headers",
        MatchField::Parameter(_) => "query",
    };
    let is_it = |written: &str| match field {
        MatchField::Header(name) => written.eq_ignore_ascii_case(name.as_str()),
        MatchField::Parameter(name) => written == name,
    };
    let section = checker.tree.descend(located.at, &["match", key]);
    let entry = section.and_then(|map| checker.tree.entries(map).find(|(written, _)| is_it(written)));
    entry.map_or(located.at, |(_, at)| at)
}
