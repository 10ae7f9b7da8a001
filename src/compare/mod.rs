//! Which routes require less than before? Two configurations, compared by the requests they decide.
//!
//! `requests` finds one request of each kind that the two sides may decide differently, and the route that decides it
//! on either side; `route`, `rules`, `issuer`, `limit`, `plan`, `token_endpoint` and `global` compare the requirements
//! of the two. Each destructures the configuration's types, so that a new field cannot be forgotten here.

mod finding;
mod requests;
mod global;
mod side;
mod route;
mod rules;
mod issuer;
mod limit;
mod plan;
mod token_endpoint;

pub use finding::Weakening;
pub use side::Side;

use crate::compare::finding::Findings;
use crate::compare::side::SideRoute;
use crate::config::Route;
use crate::gate::accept::matcher::MatcherError;

/// Returns every requirement that is weaker in `new`: some request that `old` refused, or required more of, may pass
/// with less now. In the order of `new`'s routes.
///
/// A new route is reported only if it is public. Bounds on size and time are not requirements and are not compared.
///
/// # Errors
/// If two routes of one side match the same requests; `config::load` reports that first.
pub fn weaker(old: Side<'_>, new: Side<'_>) -> Result<Vec<Weakening>, MatcherError> {
    let mut findings = Findings::default();
    global::compare(old, new, &mut findings);
    for pair in requests::pairs(&old.config.routes, &new.config.routes)? {
        let after = &new.config.routes[pair.new];
        match pair.old.map(|index| &old.config.routes[index]) {
            Some(before) => compare_routes(old, before, new, after, &pair.example, &mut findings),
            None => unserved_before(old, new, after, &pair.example, &mut findings),
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

/// Reports a request that no route served before. A new route that requires a credential is no finding; a public one
/// is, and so is an existing route that matches more.
fn unserved_before(old: Side<'_>, new: Side<'_>, after: &Route, example: &str, findings: &mut Findings) {
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
