//! Which web pages may call a route from a browser (Fetch standard, section 3.2: the CORS protocol)?

use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::pattern::takes;
use crate::config::read::FromText;
use crate::config::read::OneOrMany;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::tree::NodeId;
use http::HeaderName;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// `routes[].cors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub origins: Origins,
    /// Methods that a page may use; each is a method of the route. Never empty.
    pub methods: Vec<Method>,
    /// Request headers that a page may set. `None`: the headers of the route's credentials, and `content-type`.
    pub headers: Option<Vec<HeaderName>>,
    /// Response headers that a page may read. `None`: those that Keygate itself sets.
    pub expose: Option<Vec<HeaderName>>,
    /// `true` where a browser may send cookies and its own credentials. Never with [`Origins::Any`].
    pub credentials: bool,
    /// How long a browser may cache the response to a preflight. Default 10 min, at most 24 h.
    pub max_age: Duration,
}

/// The origins of the pages that may call a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every origin; written `*`.
    Any,
    /// These alone, each as a browser writes it in `Origin`. Never empty.
    Listed(Vec<Origin>),
}

/// An origin as browsers write it (RFC 6454 section 6.2): scheme, host and port
/// in lower case, without the default port of the scheme. Compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which web pages may call this route from a browser.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cors")]
pub(in crate::config) struct Section {
    /// `https://app.example.com`, or a list of these; `*` for every page there is. Required.
    #[schemars(required)]
    origins: Option<OneOrMany<Text<OriginEntry>>>,
    /// What pages may ask with. Default: the route's methods.
    methods: Option<Texts<Method>>,
    /// Request headers that pages may set. Default: `authorization` and the header of API keys, as the route accepts
    /// them, and `content-type`.
    headers: Option<Texts<FieldName>>,
    /// Response headers that pages may read. Default: `www-authenticate`, `retry-after`, `ratelimit`,
    /// `ratelimit-policy` and `x-request-id`.
    expose: Option<Texts<FieldName>>,
    /// Whether browsers may send cookies along. Keygate's own credentials need it not. Default false.
    credentials: Option<TypedNode<bool>>,
    /// How long browsers may remember what is allowed; at most `24h`. Default `10m`.
    max_age: Option<Text<Duration>>,
}

/// An entry of `origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum OriginEntry {
    Any,
    One(Origin),
}

impl FromText for OriginEntry {
    const DESCRIPTION: &'static str = "an origin such as `https://app.example.com`, or `*`";
    const PATTERN: &'static str = "\\*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@* ]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let mismatch = || format!("not {}", Self::DESCRIPTION);
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.eq_ignore_ascii_case("null") {
            return Err(
                "`null` is what every sandboxed frame and local file says of itself\nname the pages' own origin".into(),
            );
        }
        if text.contains('*') {
            return Err(
                "an origin has no wildcard\nlist each origin, or write `*` alone for every page there is".into(),
            );
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(mismatch)?;
        if rest.contains(['/', '?', '#', '@']) {
            return Err("an origin is scheme, host and port, without a path\nsuch as `https://app.example.com`".into());
        }
        let scheme = scheme.to_ascii_lowercase();
        if matches!(scheme.as_str(), "http" | "https") {
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err("a host name beyond ASCII is written in its `xn--` form".to_owned());
            }
            let url = Url::parse(text).map_err(|_| mismatch())?;
            return Ok(Self::One(Origin(url.origin().ascii_serialization())));
        }
        // Browser extensions and packaged apps: `chrome-extension://…`, `capacitor://localhost`.
        let starts = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
        let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if !starts || !scheme.bytes().all(in_scheme) || rest.is_empty() || !rest.bytes().all(in_host) {
            return Err(mismatch());
        }
        Ok(Self::One(Origin(format!("{scheme}://{}", rest.to_ascii_lowercase()))))
    }
}

/// The name of a header. `*` is rejected: it would allow the page every header.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct FieldName(HeaderName);

impl FromText for FieldName {
    const DESCRIPTION: &'static str = HeaderName::DESCRIPTION;
    const PATTERN: &'static str = HeaderName::PATTERN;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('*') {
            return Err("a browser takes `*` for no credential header\nname the headers".to_owned());
        }
        HeaderName::from_text(text).map(Self)
    }
}

const MAX_AGE_DEFAULT: Duration = Duration::from_secs(600);
/// Browsers cap longer times.
const MAX_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Methods that a page may use where neither the route nor `cors` names any.
const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// Converts the section. `route_methods` are the methods of the route; an empty list stands for every method.
pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    route_methods: &[Method],
    checker: &mut Checker<'_>,
) -> Option<Cors> {
    let origins = checker.need(
        at,
        "origins",
        section.origins,
        "such as `origins: [https://app.example.com]`",
    );
    let origins = origins.map(|OneOrMany(entries)| allowed_origins(entries, section.credentials.as_ref(), checker));
    let methods = match section.methods {
        Some(written) => methods(written, route_methods, checker),
        None if route_methods.is_empty() => METHODS.to_vec(),
        None => route_methods.to_vec(),
    };
    let max_age = section.max_age.map_or(MAX_AGE_DEFAULT, |written| {
        if *written.get() > MAX_AGE_MAX {
            let problem = checker.with_value(written.at, "browsers remember for at most 24h");
            checker.error(written.at, "out-of-range", problem);
        }
        written.take()
    });
    Some(Cors {
        origins: origins?,
        methods,
        headers: section.headers.map(|names| fields(names, checker)),
        expose: section.expose.map(|names| fields(names, checker)),
        credentials: section.credentials.is_some_and(|credentials| credentials.value),
        max_age,
    })
}

fn allowed_origins(
    entries: Vec<Text<OriginEntry>>,
    credentials: Option<&TypedNode<bool>>,
    checker: &mut Checker<'_>,
) -> Origins {
    checker.refuse_duplicates(&entries);
    let any = entries
        .iter()
        .find(|entry| *entry.get() == OriginEntry::Any)
        .map(|entry| entry.at);
    if let Some(any) = any {
        refuse_beside_any(any, entries.len(), credentials, checker);
        return Origins::Any;
    }
    let listed = values(entries).into_iter().filter_map(|entry| match entry {
        OriginEntry::One(origin) => Some(origin),
        OriginEntry::Any => None,
    });
    Origins::Listed(listed.collect())
}

/// Reports `*` beside other origins, or with `credentials: true`.
fn refuse_beside_any(any: NodeId, count: usize, credentials: Option<&TypedNode<bool>>, checker: &mut Checker<'_>) {
    if count > 1 {
        let problem = "`*` is every origin, and beside it others are named";
        checker.error_with(any, "any-origin-and-others", problem, "remove the one or the others");
    }
    if credentials.is_some_and(|credentials| credentials.value) {
        // Browsers reject the pair. Gateways that echo the origin instead let every page act as its visitor.
        let problem = "with `credentials: true` every page there is could act as whoever visits it";
        checker.error_with(any, "any-origin-with-credentials", problem, "name the origins");
    }
}

fn methods(written: Texts<Method>, route_methods: &[Method], checker: &mut Checker<'_>) -> Vec<Method> {
    checker.refuse_duplicates(&written.value);
    for method in &written.value {
        if !takes(route_methods, method.get()) {
            let problem = checker.with_value(method.at, "this route does not match the method");
            let hint = "a preflight is answered by the route of the method that it asks about";
            checker.error_with(method.at, "method-not-in-route", problem, hint);
        }
    }
    values(written.value)
}

fn fields(written: Texts<FieldName>, checker: &mut Checker<'_>) -> Vec<HeaderName> {
    let names = checker.distinct(written.value);
    names.into_iter().map(|name| name.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let found = OriginEntry::from_text(text).ok().map(|entry| match entry {
            OriginEntry::Any => "*".to_owned(),
            OriginEntry::One(origin) => origin.as_str().to_owned(),
        });
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        check("https://app.example.com", Some("https://app.example.com"));
        check("HTTPS://App.Example.com:443", Some("https://app.example.com"));
        check("http://localhost:3000", Some("http://localhost:3000"));
        check("http://localhost:80", Some("http://localhost"));
        check("https://[::1]:8443", Some("https://[::1]:8443"));
        check("capacitor://localhost", Some("capacitor://localhost"));
        check("*", Some("*"));
    }

    #[test]
    fn s097_an_origin_that_could_stand_for_others_is_refused() {
        for bad in [
            "null",
            "NULL",
            "",
            "app.example.com",
            "//app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/a",
            "https://app.example.com?a",
            "https://app.example.com#a",
            "https://u@app.example.com",
            "https://*.example.com",
            "https://app.*",
            "**",
            "https://app.example.com:99999",
            "https://b\u{fc}cher.example",
            "https://a b",
            "1x://a",
            "x y://a",
            "capacitor://",
            "capacitor://a/b",
        ] {
            check(bad, None);
        }
    }
}
