//! Which fields of a response name a path or a host of the upstream's side, and what do clients know these as?

use crate::config;
use crate::config::PathRewrite;
use crate::model::endpoint_address::EndpointAddress;
use http::HeaderMap;
use http::HeaderName;
use http::header;

/// The fields that [`ResponsePaths::for_client`] changes.
pub const FIELDS: [HeaderName; 3] = [header::LOCATION, header::CONTENT_LOCATION, header::SET_COOKIE];

/// The upstream's side of one exchange.
#[derive(Clone, Copy)]
pub struct ResponsePaths<'r> {
    /// The change of the request's path.
    pub rewrite: Option<&'r PathRewrite>,
    pub upstream: &'r config::Upstream,
    /// The address of the endpoint.
    pub endpoint: Option<&'r EndpointAddress>,
    /// `true` where the connection to the endpoint has TLS.
    pub is_tls: bool,
    /// The fields of the client's request. Few responses need its `Host`, so it is looked up late.
    pub request: &'r HeaderMap,
}

impl ResponsePaths<'_> {
    /// Returns the value of the upstream's field `name` (in any case) for the client; `None` for the value as it is.
    pub fn for_client(&self, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        let is = |field: &HeaderName| name.eq_ignore_ascii_case(field.as_str());
        // The length rules most fields out.
        match name.len() {
            8 if is(&header::LOCATION) => self.url(value),
            16 if is(&header::CONTENT_LOCATION) => self.url(value),
            10 if self.rewrite.is_some() && is(&header::SET_COOKIE) => self.cookie(value),
            _ => None,
        }
    }

    /// Returns a URL of the upstream's own host without scheme and host: clients resolve it against the URL that they asked for,
    /// whatever proxies stand between (RFC 9110 section 10.2.2). A URL of the host that the client asked for keeps both. Any other
    /// URL stays.
    fn url(&self, value: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(value).ok()?;
        if is_path(text) {
            return self.reference(text).map(String::into_bytes);
        }
        let (scheme, rest) = text.split_once("://")?;
        // The scheme of the URLs that the upstream is asked for.
        let own_scheme = if self.is_tls { "https" } else { "http" };
        let is_asked = scheme.eq_ignore_ascii_case(own_scheme);
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let (authority, reference) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let slash = if reference.starts_with('/') { "" } else { "/" };
        let reference = format!("{slash}{reference}");
        let changed = self.reference(&reference);
        let host = self.request.get(header::HOST);
        if host.is_some_and(|host| self.is_same(host.as_bytes(), authority)) {
            // The scheme stays too: an upstream that redirects to HTTPS would do so again and again.
            return changed.map(|changed| format!("{scheme}://{authority}{changed}").into_bytes());
        }
        let is_own = is_asked && self.is_upstream(authority);
        is_own
            .then(|| changed.unwrap_or(reference))
            .filter(|reference| is_path(reference))
            .map(String::into_bytes)
    }

    /// Returns whether `authority` is the upstream's own: its `host`, or an endpoint.
    fn is_upstream(&self, authority: &str) -> bool {
        let settings = self.upstream;
        settings
            .host
            .as_ref()
            .is_some_and(|host| self.is_same(host.as_bytes(), authority))
            || settings
                .kind
                .endpoints()
                .iter()
                .any(|endpoint| self.is_same(endpoint.host.to_string().as_bytes(), authority))
            || self
                .endpoint
                .is_some_and(|endpoint| self.is_same(endpoint.to_string().as_bytes(), authority))
    }

    /// Returns whether two authorities of URLs of the upstream's scheme are one.
    fn is_same(&self, own: &[u8], other: &str) -> bool {
        let default_port: &str = if self.is_tls { ":443" } else { ":80" };
        let own = own.strip_suffix(default_port.as_bytes()).unwrap_or(own);
        let other = other.strip_suffix(default_port).unwrap_or(other);
        !own.is_empty() && own.eq_ignore_ascii_case(other.as_bytes())
    }

    /// Returns a path with its query and fragment as the client knows it; `None` if it is the same.
    fn reference(&self, text: &str) -> Option<String> {
        let (path, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
        let path = original(path, self.rewrite?)?;
        Some(format!("{path}{rest}"))
    }

    /// Returns `Set-Cookie` with the `Path` that the client knows. The path `/` of a route that only strips a prefix stays: the
    /// cookie is sent with every request as it is.
    fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        let rewrite = self.rewrite?;
        let mut is_changed = false;
        let attributes = value.split(|&byte| byte == b';').enumerate().map(|(index, attribute)| {
            let path = (index > 0).then(|| cookie_path(attribute)).flatten();
            match path
                .filter(|path| *path != "/")
                .and_then(|path| original(path, rewrite))
            {
                Some(path) => {
                    is_changed = true;
                    format!(" Path={path}").into_bytes()
                }
                None => attribute.to_vec(),
            }
        });
        let attributes: Vec<Vec<u8>> = attributes.collect();
        is_changed.then(|| attributes.join(&b';'))
    }
}

/// Returns the value of a cookie's attribute `Path` (RFC 6265 section 5.2.4).
fn cookie_path(attribute: &[u8]) -> Option<&str> {
    let (name, value) = std::str::from_utf8(attribute).ok()?.split_once('=')?;
    name.trim().eq_ignore_ascii_case("path").then(|| value.trim())
}

/// Returns the path that `rewrite` would turn into `path`, if that is certain: a path under the added prefix, or any path
/// where nothing is added. One that begins with the stripped prefix then stays, because its upstream knows the prefix.
fn original(path: &str, rewrite: &PathRewrite) -> Option<String> {
    let PathRewrite::Prefix { strip, add } = rewrite else {
        return None;
    };
    if !is_path(path) {
        return None;
    }
    let rest = match add.as_str() {
        "" if without_prefix(path, strip).is_some() => return None,
        "" => path,
        add => without_prefix(path, add)?,
    };
    let path = match (strip.as_str(), rest) {
        ("", "") => "/".to_owned(),
        (strip, rest) => format!("{strip}{rest}"),
    };
    is_path(&path).then_some(path)
}

/// Returns `path` without `prefix`: empty, or beginning with `/`. `None` if `prefix` is not whole segments at its front.
pub fn without_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether clients read `reference` as a path. They read what begins with `//` as a host, and browsers `/\` too.
fn is_path(reference: &str) -> bool {
    reference.starts_with('/') && !reference[1..].starts_with(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::path::Path;

    /// Returns the value that the client receives from an upstream with `settings` and a route with `rewrite`.
    fn received(settings: &str, rewrite: &str, name: &str, value: &str) -> String {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             upstreams: {{ api: {{ endpoints: [\"api.internal:80\", \"api.internal:8080\", \"[fd00::5]:81\"], {settings} }} }}\n\
             routes: [{{ name: a, match: {{ path: \"/v1/{{*rest}}\" }}, public: true, upstream: api, {rewrite} }}]\n"
        );
        let config = config::parse(&yaml, Path::new("keygate.yaml"), &|_| None);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let mut request = HeaderMap::new();
        request.insert(header::HOST, HeaderValue::from_static("api.example.com"));
        let paths = ResponsePaths {
            rewrite: config.routes[0].rewrite.as_deref(),
            upstream: &config.upstreams["api"],
            endpoint: Some(&EndpointAddress::Inet("192.0.2.1:80".parse().unwrap())),
            is_tls: false,
            request: &request,
        };
        let changed = paths.for_client(name, value.as_bytes());
        changed.map_or_else(|| value.to_owned(), |value| String::from_utf8(value).unwrap())
    }

    #[track_caller]
    fn check(rewrite: &str, rows: &[(&str, &str)]) {
        for (value, expected) in rows {
            for name in ["Location", "content-location"] {
                assert_eq!(received("", rewrite, name, value), *expected, "{rewrite}: {value}");
            }
            assert_eq!(received("", rewrite, "link", value), *value);
        }
    }

    #[test]
    fn a_url_of_the_upstream_becomes_one_of_the_client() {
        let rows = [
            ("http://api.internal/a?b#c", "/a?b#c"),
            ("HTTP://API.internal:80", "/"),
            ("http://api.internal:8080?b", "/?b"),
            ("http://[fd00::5]:81/a", "/a"),
            ("http://192.0.2.1/a", "/a"),
        ];
        check("", &rows);
        assert_eq!(
            received("host: www.internal", "", "location", "http://www.internal/a"),
            "/a"
        );
    }

    #[test]
    fn any_other_url_stays() {
        let rows = [
            "https://api.internal/a",
            "https://api.example.com/a",
            "http://api.example.com/a",
            "a?b=http://api.internal/a",
            "http://other.internal/a",
            "http://api.internal:81/a",
            "http://user@api.internal/a",
            "http://api.internal.evil.example/a",
            "http://api.internal\\@evil.example/a",
            "ftp://api.internal/a",
            "//api.internal/a",
            "/a",
            "a",
            "?a",
            "",
            "http://",
            "http:///a",
        ];
        check("", &rows.map(|value| (value, value)));
    }

    #[test]
    fn a_path_that_clients_would_read_as_a_host_is_never_made() {
        let rows = [
            ("http://api.internal//evil.example", "http://api.internal//evil.example"),
            (
                "http://api.internal/\\evil.example",
                "http://api.internal/\\evil.example",
            ),
        ];
        check("", &rows);
        check(
            "add_prefix: /api",
            &[
                ("/api//evil.example", "/api//evil.example"),
                ("/api/\\evil", "/api/\\evil"),
            ],
        );
    }

    #[test]
    fn a_stripped_prefix_comes_back() {
        let rows = [
            ("/a?b=/c", "/v1/a?b=/c"),
            ("/", "/v1/"),
            ("/v1/a", "/v1/a"),
            ("/v1", "/v1"),
            ("/v10/a", "/v1/v10/a"),
            ("http://api.internal/a", "/v1/a"),
            ("http://api.internal", "/v1/"),
            ("https://api.example.com/a#b", "https://api.example.com/v1/a#b"),
            ("http://api.example.com:80", "http://api.example.com:80/v1/"),
            ("http://api.example.com//a", "http://api.example.com//a"),
            ("https://api.example.com/v1/a", "https://api.example.com/v1/a"),
            ("https://other.example/a", "https://other.example/a"),
            ("//other.example/a", "//other.example/a"),
            ("/\\other.example/a", "/\\other.example/a"),
            ("a", "a"),
        ];
        check("strip_prefix: /v1", &rows);
    }

    #[test]
    fn an_added_prefix_goes_and_other_paths_stay() {
        let rows = [
            ("/api/v1/a", "/v1/a"),
            ("/api", "/"),
            ("/api/", "/"),
            ("/apis/a", "/apis/a"),
            ("/v1/a", "/v1/a"),
        ];
        check("add_prefix: /api", &rows);
        let rows = [
            ("/api/a", "/v1/a"),
            ("/api", "/v1"),
            ("/api/v1/a", "/v1/v1/a"),
            ("/a", "/a"),
            ("/v1/a", "/v1/a"),
        ];
        for rewrite in ["strip_prefix: /v1, add_prefix: /api", "rewrite: \"/api/{*rest}\""] {
            check(rewrite, &rows);
        }
        // Which path of the client it was is not certain.
        check("rewrite: /api", &[("/api", "/api"), ("/a", "/a")]);
    }

    proptest! {
        #[test]
        fn a_changed_url_is_on_the_host_of_the_client(
            value in "(https?://(api\\.internal(:8080)?|api\\.example\\.com|a))?[/\\\\a-c.?#:@%v1]{0,12}",
        ) {
            let rewrites = ["", "strip_prefix: /v1", "add_prefix: /a", "strip_prefix: /v1, add_prefix: /a"];
            for rewrite in rewrites {
                let changed = received("", rewrite, "location", &value);
                let is_own = changed.starts_with("http://api.example.com/") || changed.starts_with("https://api.example.com/");
                prop_assert!(changed == value || is_path(&changed) || is_own, "{} {} {}", rewrite, value, changed);
            }
        }
    }

    #[test]
    fn the_path_of_a_cookie_is_that_of_the_client() {
        let cookie = |rewrite: &str, value: &str| received("", rewrite, "Set-Cookie", value);
        let strip = "strip_prefix: /v1";
        let both = "strip_prefix: /v1, add_prefix: /api";
        for (rewrite, value, expected) in [
            (strip, "a=b; Path=/a; Secure", "a=b; Path=/v1/a; Secure"),
            (strip, "a=b; Path=/; Secure", "a=b; Path=/; Secure"),
            (strip, "a=b; path = /a", "a=b; Path=/v1/a"),
            (strip, "a=b; Path=/v1/a", "a=b; Path=/v1/a"),
            (strip, "Path=/a; Secure", "Path=/a; Secure"),
            (strip, "a=b; Path; Path=a;", "a=b; Path; Path=a;"),
            (both, "a=\"b\";Path=/api/a;HttpOnly", "a=\"b\"; Path=/v1/a;HttpOnly"),
            (both, "a=b; Path=/api", "a=b; Path=/v1"),
            (both, "a=b; Path=/", "a=b; Path=/"),
            ("add_prefix: /api", "a=b; Path=/api", "a=b; Path=/"),
            ("", "a=b; Path=/api", "a=b; Path=/api"),
        ] {
            assert_eq!(cookie(rewrite, value), expected, "{rewrite}");
        }
    }
}
