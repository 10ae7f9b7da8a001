//! Which routes get the requests that miss the methods or the conditions of a more specific route, and require less than it?

use crate::compare::Weakening;
use crate::compare::requests;
use crate::compare::requests::Segment;
use crate::compare::route;
use crate::compare::side::Side;
use crate::compare::side::SideRoute;
use crate::config::HostPattern;
use crate::config::Route;
use crate::config::SourceLine;
use crate::config::takes;
use http::Method;
use std::collections::HashMap;

/// A route that gets what more specific routes miss, and requires less than they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallThrough {
    /// The names of the more specific routes.
    pub from: Vec<String>,
    pub to: String,
    /// The first requirement that is weaker, such as `public: accept: [jwt] there, open to everybody here`.
    pub difference: String,
    /// The place of the `match` of `to`.
    pub place: SourceLine,
}

/// Returns every route that gets requests which miss a more specific route of the same host and path, and that requires less.
/// Routes of other paths and hosts are not among them: there, the path itself says that the operator means another resource.
pub fn find_fall_throughs(side: Side<'_>) -> Vec<FallThrough> {
    let mut slots: HashMap<(&HostPattern, Vec<Segment<'_>>), Vec<&Route>> = HashMap::new();
    for route in &side.config.routes {
        for host in &route.hosts {
            slots
                .entry((host, requests::shape(&route.path)))
                .or_default()
                .push(route);
        }
    }
    let mut found: Vec<FallThrough> = Vec::new();
    for to in &side.config.routes {
        let mut more_specific: Vec<&Route> = Vec::new();
        for host in &to.hosts {
            let slot = slots.get(&(host, requests::shape(&to.path))).into_iter().flatten();
            for from in slot.filter(|from| is_more_specific(from, to)) {
                if !more_specific.iter().any(|known| known.name == from.name) {
                    more_specific.push(from);
                }
            }
        }
        for from in more_specific {
            let Some(difference) = first_weakening(side, from, to) else {
                continue;
            };
            let difference = format!(
                "{}: {} there, {} here",
                difference.requirement, difference.was, difference.is
            );
            let known = found
                .iter_mut()
                .find(|known| known.to == to.name.as_str() && known.difference == difference);
            match known {
                Some(known) => known.from.push(from.name.to_string()),
                None => found.push(FallThrough {
                    from: vec![from.name.to_string()],
                    to: to.name.to_string(),
                    difference,
                    place: side.origins.find(["routes", to.name.as_str(), "match"]).clone(),
                }),
            }
        }
    }
    found
}

/// Returns whether `to` gets requests that miss `from` in methods or conditions alone. A request that meets the conditions of both
/// goes to `from`.
fn is_more_specific(from: &Route, to: &Route) -> bool {
    if from.conditions.joined(&to.conditions).is_none() {
        return false;
    }
    let rank = |route: &Route, method: &Method| {
        let is_listed = !route.methods.is_empty();
        takes(&route.methods, method).then(|| (is_listed, route.conditions.specificity()))
    };
    let methods = crate::config::DEFAULT_METHODS.iter().chain(&from.methods);
    let mut ranks = methods.filter_map(|method| Some((rank(from, method)?, rank(to, method)?)));
    ranks.any(|(from, to)| from > to)
}

fn first_weakening(side: Side<'_>, from: &Route, to: &Route) -> Option<Weakening> {
    let mut first = None;
    let of = |route| SideRoute { side, route };
    route::compare(of(from), of(to), &mut |weaker| {
        first.get_or_insert(weaker);
    });
    first
}
