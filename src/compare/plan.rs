//! Which rights does a plan give, and which did the plan give before?

use crate::compare::Side;
use crate::compare::finding::list_text;
use crate::compare::limit;
use crate::config::Limit;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::plan::Approval;
use crate::model::plan::ClientKeyPlace;
use crate::model::plan::CredentialKind;
use crate::model::plan::Payment;
use crate::model::plan::Plan;
use crate::model::scope::ScopeSet;

/// Calls `report` with every setting by which the plan `now` gives more rights, or requires less, than `before`.
pub(in crate::compare) fn compare(
    (old, before): (Side<'_>, &Plan),
    (new, now): (Side<'_>, &Plan),
    report: &mut dyn FnMut([&str; 2], String, String),
) {
    // Every field is named, so that the build fails until a new field is compared here.
    let Plan {
        name,
        credentials,
        scopes,
        limits: _,
        payment,
        released,
        approval,
        // The number of keys does not change the rights of a key.
        keys_max: _,
        assertion_algorithms: _,
        client_keys,
    } = now;
    let mut report = |key: &str, was: String, is: String| report(["plans", &format!("{name}.{key}")], was, is);
    let gained = |kind: &CredentialKind| credentials.contains(*kind) && !before.credentials.contains(*kind);
    if CredentialKind::ALL.iter().any(gained) {
        let words = |plan: &Plan| {
            list_text(
                CredentialKind::ALL
                    .iter()
                    .filter(|kind| plan.credentials.contains(**kind)),
            )
        };
        report("credentials", words(before), words(now));
    }
    if let Some(was) = &before.scopes
        && !scopes
            .as_ref()
            .is_some_and(|is| is.iter().all(|scope| was.contains(scope)))
    {
        let any = || "any".to_owned();
        report(
            "scopes",
            was.to_string(),
            scopes.as_ref().map_or_else(any, ScopeSet::to_string),
        );
    }
    let (was, is): (Vec<&Limit>, Vec<&Limit>) =
        (old.limits(&before.limits).collect(), new.limits(&now.limits).collect());
    if limit::missing(was.iter().copied(), &is).next().is_some() {
        let words = |limits: &[&Limit]| {
            if limits.is_empty() {
                "none".to_owned()
            } else {
                list_text(
                    limits
                        .iter()
                        .map(|limit| format!("{} ({})", limit.name, limit.quota_text())),
                )
            }
        };
        report("limits", words(&was), words(&is));
    }
    if (before.payment, *payment) == (Payment::Required, Payment::None) {
        report("payment", "required".to_owned(), "none".to_owned());
    }
    if *released && !before.released {
        report("released", "false".to_owned(), "true".to_owned());
    }
    if algorithms(now).any(|algorithm| !before.allows_assertions(algorithm)) {
        report("algorithms", list_text(algorithms(before)), list_text(algorithms(now)));
    }
    if (before.client_keys, *client_keys) == (ClientKeyPlace::JwksUrl, ClientKeyPlace::Any) {
        report("jwks_url", "required".to_owned(), "optional".to_owned());
    }
    if (before.approval, *approval) == (Approval::Manual, Approval::Automatic) {
        report("approval", "manual".to_owned(), "automatic".to_owned());
    }
}

fn algorithms(plan: &Plan) -> impl Iterator<Item = Algorithm> {
    let all = ASSERTION_ALGORITHMS.into_iter();
    all.filter(|algorithm| plan.allows_assertions(*algorithm))
}
