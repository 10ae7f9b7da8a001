//! How does a route change the path of a request for its upstream?

use crate::config::check::Checker;
use crate::config::pattern::PathPattern;
use crate::config::read::Text;
use crate::config::tree::NodeId;
use crate::config::tree::printable;

/// A change of the path, in whole segments. The query stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// `strip` is removed from the front, then `add` is put there. Each is empty, or begins with `/` and ends without it.
    Prefix { strip: String, add: String },
    /// The path consists of these parts, each after a `/`.
    Template(Vec<TemplatePart>),
}

/// A part of the path for the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text in the normal form of paths.
    Literal(String),
    /// The segment of the request's path with this number, from 0.
    Segment(usize),
    /// The request's path after this number of segments.
    Rest(usize),
}

/// Returns the change. Reports a prefix that is none, a template with parts that `path` does not have, and both at once.
pub(in crate::config) fn convert(
    strip: Option<Text<PathPattern>>,
    add: Option<Text<PathPattern>>,
    template: Option<Text<PathPattern>>,
    path: &PathPattern,
    checker: &mut Checker<'_>,
) -> Option<PathRewrite> {
    let written_prefix = strip.as_ref().map(|_| "strip_prefix");
    if let (Some(template), Some(key)) = (&template, written_prefix.or(add.as_ref().map(|_| "add_prefix"))) {
        let problem = format!("`rewrite` writes the whole path, and `{key}` is beside it");
        checker.error_with(template.at, "two-rewrites", problem, "remove one of the two");
        return None;
    }
    if let Some(template) = template {
        return of_template(&template, path, checker);
    }
    if strip.is_none() && add.is_none() {
        return None;
    }
    let strip = strip.map(|prefix| stripped(&prefix, path, checker)).unwrap_or_default();
    let add = add.map(|prefix| literal(&prefix, checker).0).unwrap_or_default();
    Some(PathRewrite::Prefix { strip, add })
}

/// Returns the prefix, and `true` if it is whole literal segments; reports one that is not.
fn literal(prefix: &Text<PathPattern>, checker: &mut Checker<'_>) -> (String, bool) {
    let text = prefix.get().as_str();
    let is_literal = !text.ends_with('/') && !text.contains(['{', '}']);
    if !is_literal {
        let problem = "a prefix is whole segments without braces, and ends without `/`";
        let problem = checker.with_value(prefix.at, problem);
        checker.error_with(prefix.at, "bad-value", problem, "such as `/v1`");
    }
    (text.to_owned(), is_literal)
}

/// Returns the prefix, and reports one that is not at the front of the route's path.
fn stripped(prefix: &Text<PathPattern>, path: &PathPattern, checker: &mut Checker<'_>) -> String {
    let (text, is_literal) = literal(prefix, checker);
    let rest = path.as_str().strip_prefix(text.as_str());
    if is_literal && !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        let problem = checker.with_value(prefix.at, "the paths of this route do not begin with it");
        checker.error_with(prefix.at, "prefix-not-in-path", problem, path_hint(path));
    }
    text
}

fn path_hint(path: &PathPattern) -> String {
    format!("the path is `{}`", printable(path.as_str()))
}

/// Returns the change that a template makes; the change of a prefix where it makes no other.
fn of_template(template: &Text<PathPattern>, path: &PathPattern, checker: &mut Checker<'_>) -> Option<PathRewrite> {
    let segments: Vec<&str> = template.get().as_str().split('/').skip(1).collect();
    let parts: Vec<Option<TemplatePart>> = segments
        .into_iter()
        .map(|segment| part(segment, template.at, path, checker))
        .collect();
    let parts: Vec<TemplatePart> = parts.into_iter().collect::<Option<_>>()?;
    Some(of_prefixes(path.as_str(), template.get().as_str()).unwrap_or(PathRewrite::Template(parts)))
}

/// Returns a part of the template. Reports braces that `path` does not have, or has twice.
fn part(segment: &str, at: NodeId, path: &PathPattern, checker: &mut Checker<'_>) -> Option<TemplatePart> {
    if !segment.starts_with('{') {
        return Some(TemplatePart::Literal(segment.to_owned()));
    }
    let same = |own: &&str| *own == segment;
    let mut found = path
        .as_str()
        .split('/')
        .skip(1)
        .enumerate()
        .filter(|(_, own)| same(own));
    let (position, is_single) = match (found.next(), found.next()) {
        (Some((position, _)), None) => (Some(position), true),
        (Some((position, _)), Some(_)) => (Some(position), false),
        (None, _) => (None, true),
    };
    match position {
        Some(position) if is_single && segment.starts_with("{*") => Some(TemplatePart::Rest(position)),
        Some(position) if is_single => Some(TemplatePart::Segment(position)),
        Some(_) => {
            let problem = format!("the path of this route has `{}` twice", printable(segment));
            checker.error_with(
                at,
                "unknown-capture",
                problem,
                "give each pair of braces a name of its own",
            );
            None
        }
        None => {
            let problem = format!("the path of this route has no `{}`", printable(segment));
            checker.error_with(at, "unknown-capture", problem, path_hint(path));
            None
        }
    }
}

/// Returns the change of `path` into `template` where the two differ in nothing but the segments before the first braces.
/// Then a path of the upstream has one path of the client, as redirects need it.
fn of_prefixes(path: &str, template: &str) -> Option<PathRewrite> {
    let (strip, path) = path.split_at(path.find("/{")?);
    let (add, template) = template.split_at(template.find("/{")?);
    (path == template && strip != add).then(|| PathRewrite::Prefix {
        strip: strip.to_owned(),
        add: add.to_owned(),
    })
}
