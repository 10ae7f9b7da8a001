//! Which metadata does a protected resource have (RFC 9728), and at which URL?

use crate::config::check::Checker;
use crate::config::pattern::PathPattern;
use crate::config::read::FromText;
use crate::config::read::NamedEntries;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::route::LocatedRoute;
use crate::config::tree::ROOT;
use crate::model::names::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use url::Host;
use url::Url;

/// `resources.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub name: Name,
    pub url: ResourceUrl,
    /// Documentation for developers.
    pub documentation: Option<Url>,
}

/// A resource identifier (RFC 9728 section 1.2): the URL by which clients
/// know an API. Compared byte by byte, never normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceUrl {
    text: String,
    /// Scheme, host and port as browsers write them.
    origin: String,
    /// Lower case, without port.
    host: String,
    /// Empty, or a path in normal form.
    path: String,
}

/// Path prefix of the metadata (RFC 9728 section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

impl ResourceUrl {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the path of the metadata: the well-known prefix, then the resource's path (RFC 9728 section 3.1).
    pub fn metadata_path(&self) -> String {
        format!("{WELL_KNOWN}{}", self.path)
    }

    /// Returns the URL of the metadata.
    pub fn metadata_url(&self) -> String {
        format!("{}{}", self.origin, self.metadata_path())
    }
}

impl FromText for ResourceUrl {
    const DESCRIPTION: &'static str = "the URL of an API such as `https://api.example.com/v1`";
    const PATTERN: &'static str = "https?://[^ ?#]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let mismatch = || format!("not {}", Self::DESCRIPTION);
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(mismatch());
        }
        let url = Url::parse(text).map_err(|_| mismatch())?;
        let host = url.host().ok_or_else(mismatch)?;
        match url.scheme() {
            "https" => {}
            // RFC 9728 section 1.2 requires https; a trial on one machine has no certificate.
            "http" if is_loopback(&host) => {}
            "http" => return Err("a resource URL has the scheme https (http only for localhost)".to_owned()),
            _ => return Err(mismatch()),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err("a resource URL has no user, query or fragment".to_owned());
        }
        let written = text.split_once("://").map_or("", |(_, rest)| rest);
        let written = written.find('/').map_or("", |start| &written[start..]);
        let path = if matches!(written, "" | "/") { "" } else { written };
        let is_normal = path.is_empty() || (path == url.path() && path.parse::<PathPattern>().is_ok());
        if !is_normal || path.contains(['{', '}', '*']) {
            return Err(
                "its path is not in the form that requests are matched in\nsuch as `https://api.example.com/v1`".into(),
            );
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            host: host.to_string(),
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// An API as clients know it; they look there for the authorization server that gives them tokens (RFC 9728).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Resource")]
pub(in crate::config) struct Section {
    /// The URL that clients know the API by, such as `https://api.example.com/v1`. Its metadata are answered at this
    /// host, under `/.well-known/oauth-protected-resource` and its path. Required.
    #[schemars(required)]
    url: Option<Text<ResourceUrl>>,
    /// Where people read how to use it.
    documentation: Option<Text<Url>>,
}

pub(in crate::config) fn convert(
    sections: NamedEntries<Name, Section>,
    checker: &mut Checker<'_>,
) -> BTreeMap<Name, Resource> {
    let mut resources: BTreeMap<Name, Resource> = BTreeMap::new();
    for (name, TypedNode { value: section, at }) in sections.0 {
        let Some(url) = checker.need(at, "url", section.url, "such as `url: https://api.example.com/v1`") else {
            continue;
        };
        let place = |url: &ResourceUrl| (url.host().to_owned(), url.metadata_path());
        if let Some(first) = resources.values().find(|other| place(&other.url) == place(url.get())) {
            let problem = checker.with_value(url.at, "its metadata would be where another resource has its own");
            let hint = format!("`{}` has the same host and path", first.name);
            checker.error_with(url.at, "duplicate-resource", problem, hint);
        }
        let resource = Resource {
            name: name.clone(),
            url: url.take(),
            documentation: section.documentation.map(Text::take),
        };
        resources.insert(name, resource);
    }
    resources
}

/// Returns the resource of a route: the named resource or, if there is only one and the route takes tokens, that one.
pub(in crate::config) fn of_route(
    written: Option<Text<Name>>,
    takes_tokens: bool,
    checker: &mut Checker<'_>,
) -> Option<Name> {
    if let Some(name) = written {
        return checker.refer("resources", "resource", &name).then(|| name.take());
    }
    let section = checker.tree.entry(ROOT, "resources").filter(|_| takes_tokens)?;
    let mut names = checker.tree.keys(section);
    match (names.next(), names.next()) {
        (Some(only), None) => only.parse().ok(),
        (_, Some(_)) | (None, None) => None,
    }
}

/// Reports a resource without a route: its metadata would name no authorization server.
pub(in crate::config) fn refuse_unused(
    resources: &BTreeMap<Name, Resource>,
    routes: &[LocatedRoute],
    checker: &mut Checker<'_>,
) {
    let section = checker.tree.entry(ROOT, "resources");
    for name in resources.keys() {
        if routes
            .iter()
            .any(|located| located.route.resource.as_ref() == Some(name))
        {
            continue;
        }
        let at = section.and_then(|section| checker.tree.entry(section, name.as_str()));
        let hint = format!("say `resource: {name}` on the routes that take its tokens, or remove it");
        checker.error_with(at.unwrap_or(ROOT), "unused-resource", "no route belongs to it", hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str)>) {
        let found = ResourceUrl::from_text(text).ok();
        let found = found.map(|url| {
            assert_eq!(url.as_str(), text, "as it was written");
            (url.host().to_owned(), url.metadata_url())
        });
        let found = found.as_ref().map(|(host, url)| (&**host, &**url));
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn metadata_are_where_rfc9728_section_3_1_puts_them() {
        let at = |url: &'static str| Some(("api.example.com", url));
        let root = "https://api.example.com/.well-known/oauth-protected-resource";
        check("https://api.example.com", at(root));
        check("https://api.example.com/", at(root));
        check("https://API.example.com", at(root));
        let below = "https://api.example.com:8443/.well-known/oauth-protected-resource/v1/orders";
        check("https://api.example.com:8443/v1/orders", at(below));
        let slash = "https://api.example.com/.well-known/oauth-protected-resource/v1/";
        check("https://api.example.com/v1/", at(slash));
        let local = "http://127.0.0.1:8080/.well-known/oauth-protected-resource/a";
        check("http://127.0.0.1:8080/a", Some(("127.0.0.1", local)));
        let named = "http://localhost/.well-known/oauth-protected-resource";
        check("http://localhost", Some(("localhost", named)));
    }

    #[test]
    fn a_resource_url_is_one_that_requests_can_be_matched_with() {
        for bad in [
            "",
            "api.example.com",
            "http://api.example.com",
            "ftp://api.example.com",
            "https://u@api.example.com",
            "https://api.example.com?a=b",
            "https://api.example.com/#a",
            "https://api.example.com/a/../b",
            "https://api.example.com//",
            "https://api.example.com/a//b",
            "https://api.example.com/{id}",
            "https://api.example.com/*",
            "https://api.example.com/a%2fb",
            "https://api.example.com/%7Ea",
            "https://api.example.com/\u{e9}",
            "https://",
        ] {
            check(bad, None);
        }
    }
}
