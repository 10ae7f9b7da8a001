//! Which routes require less than before, or less than a more specific route of the same path? `requests` pairs the routes of two configurations that decide the same
//! requests; the other modules compare the requirements of each pair, and the settings that apply to every request.
//! These modules destructure the types of `config`, so the build fails until a new field is compared.

mod finding;
mod requests;
mod global;
mod side;
mod route;
mod rules;
mod client_certificates;
mod issuer;
mod limit;
mod listener;
mod plan;
mod token_endpoint;
mod fall_through;

pub use fall_through::FallThrough;
pub use fall_through::find_fall_throughs;
pub use finding::Weakening;
pub use side::Side;

use crate::compare::finding::Findings;
use crate::compare::side::SideRoute;
use crate::config::Route;
use crate::gate::accept::matcher::MatcherError;

/// Returns every requirement that is weaker in `new` than in `old`, so that some request may pass with less. Settings
/// for every request come first, then the routes in the order of `new`.
///
/// A new route is reported only if it is public. Limits on the size and the duration of requests are not compared.
///
/// # Errors
/// If two routes of one side match the same requests. `config::load` rejects such a configuration.
pub fn find_weakenings(old: Side<'_>, new: Side<'_>) -> Result<Vec<Weakening>, MatcherError> {
    let mut findings = Findings::default();
    global::compare(old, new, &mut findings);
    for pair in requests::pairs(&old.config.routes, &new.config.routes)? {
        let after = &new.config.routes[pair.new];
        match pair.old.map(|index| &old.config.routes[index]) {
            Some(before) => compare_routes(old, before, new, after, &pair.example, &mut findings),
            None => report_newly_served(old, new, after, &pair.example, &mut findings),
        }
    }
    Ok(findings.into_list())
}

fn compare_routes(old: Side<'_>, before: &Route, new: Side<'_>, after: &Route, example: &str, findings: &mut Findings) {
    let moved = (before.name != after.name).then(|| (before.name.clone(), example));
    route::compare(
        SideRoute {
            side: old,
            route: before,
        },
        SideRoute {
            side: new,
            route: after,
        },
        &mut |weaker| {
            findings.add(after, moved.clone(), weaker);
        },
    );
}

/// Reports requests, such as `example`, that no route served before: if `after` is public, or if a route of the same
/// name existed before. A new route that requires a credential is not reported.
fn report_newly_served(old: Side<'_>, new: Side<'_>, after: &Route, example: &str, findings: &mut Findings) {
    let existed = old.config.routes.iter().any(|route| route.name == after.name);
    let place = |key| new.origins.find(["routes", after.name.as_str(), key]).clone();
    let (key, what) = match (after.public, existed) {
        (true, _) => ("public", "public"),
        (false, true) => ("match", "match"),
        (false, false) => return,
    };
    let was = existed.then(|| old.origins.find(["routes", after.name.as_str(), key]).clone());
    findings.add(
        after,
        None,
        Weakening {
            routes: Vec::new(),
            requirement: what.to_owned(),
            was: format!("`{example}` not served"),
            is: if after.public {
                "open to everybody".to_owned()
            } else {
                "served".to_owned()
            },
            old: was.unwrap_or_else(|| old.origins.find(["routes", "", ""]).clone()),
            new: place(key),
        },
    );
}
