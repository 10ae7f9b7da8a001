//! How is a weaker requirement reported, with its place in both configurations?

use crate::config::Route;
use crate::config::SourceLine;
use crate::model::names::Name;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// One requirement that became weaker, and the routes that have the requirement.
///
/// `Display` writes `routes: what: was …, is …`, and on an indented second line the places in both configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakening {
    /// The routes by their new names; empty for a finding about every request. If a route takes over requests of
    /// another route, the text names that route and an example request.
    pub routes: Vec<String>,
    /// The requirement by its name in the configuration file: `scopes`, `issuer main: clock_skew`.
    pub requirement: String,
    pub was: String,
    pub is: String,
    pub old: SourceLine,
    pub new: SourceLine,
}

impl fmt::Display for Weakening {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = match self.routes.as_slice() {
            [] => "every route".to_owned(),
            routes => routes.join(", "),
        };
        write!(out, "{routes}: {}: was {}, is {}", self.requirement, self.was, self.is)?;
        write!(out, "\n    was in {}, is in {}", self.old, self.new)
    }
}

/// A list of findings. Several routes with the same finding share one entry.
#[derive(Default)]
pub(in crate::compare) struct Findings(Vec<Weakening>);

impl Findings {
    /// Adds a finding about `route`. If another route served the requests before, `moved` is its name and an example
    /// request.
    pub(in crate::compare) fn add(&mut self, route: &Route, moved: Option<(Name, &str)>, mut weaker: Weakening) {
        let name = match moved {
            None => route.name.to_string(),
            Some((before, example)) => format!("{} (requests of {before} before, such as `{example}`)", route.name),
        };
        weaker.routes = Vec::new();
        let same = self.0.iter_mut().find(|known| {
            !known.routes.is_empty()
                && (&known.requirement, &known.was, &known.is, &known.old, &known.new)
                    == (&weaker.requirement, &weaker.was, &weaker.is, &weaker.old, &weaker.new)
        });
        match same {
            Some(known) if known.routes.contains(&name) => {}
            Some(known) => known.routes.push(name),
            None => {
                weaker.routes.push(name);
                self.0.push(weaker);
            }
        }
    }

    /// Adds a finding about every request.
    pub(in crate::compare) fn add_global(&mut self, weaker: Weakening) {
        self.0.push(weaker);
    }

    pub(in crate::compare) fn into_list(self) -> Vec<Weakening> {
        self.0
    }
}

/// Returns the sorted items in brackets; without items, `nothing`.
pub(in crate::compare) fn list_text<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.sort();
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        format!("[{}]", items.join(", "))
    }
}

/// Returns `path` relative to `folder`, the folder of a side's main file; `path` itself if it is not in `folder`.
pub(in crate::compare) fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// Returns the source of the trusted certificates: the path in `ca_file`, or `the system's`.
pub(in crate::compare) fn trusted_roots(folder: &Path, ca_file: Option<&PathBuf>) -> String {
    ca_file.map_or_else(|| "the system's".to_owned(), |file| relative(folder, file))
}

/// Returns a duration in the notation of the configuration file.
pub(in crate::compare) fn duration(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units
        .into_iter()
        .find(|(each, _)| millis > 0 && millis.is_multiple_of(*each))
    {
        Some((each, unit)) => format!("{}{unit}", millis / each),
        None => format!("{millis}ms"),
    }
}
