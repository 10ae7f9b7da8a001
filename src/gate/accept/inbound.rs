//! How is a request represented so that every later stage reads it alike?

use crate::gate::accept::authority::Authority;
use crate::gate::accept::client;
use crate::gate::accept::error::AcceptError;
use crate::gate::accept::fields::FieldOccurrence;
use crate::gate::accept::fields::Fields;
use crate::gate::accept::hygiene;
use crate::gate::accept::matcher::RequestParts;
use crate::gate::accept::normalize;
use crate::gate::accept::normalize::Oddities;
use crate::gate::accept::rules::AcceptRules;
use crate::gate::accept::upgrade;
use crate::model::certificate::ClientCertificate;
use crate::model::client_address::ClientAddress;
use http::HeaderMap;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;
use ipnet::IpNet;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// A request with exactly one reading. Borrows from its parts; allocates only for a host or a path that was not in
/// normal form, and for an IPv6 host.
pub struct Inbound<'r> {
    parts: &'r Parts,
    host: Cow<'r, str>,
    path: Cow<'r, str>,
    oddities: Oddities,
    query: Option<&'r str>,
    fields: Fields<'r>,
    peer: IpAddr,
    client: ClientAddress,
    client_certificate: Option<&'r ClientCertificate>,
}

impl<'r> Inbound<'r> {
    /// Checks `parts`, received over a connection from `peer`. `trusted` are the addresses of the proxies that may
    /// report the client's address.
    ///
    /// # Errors
    /// The first check to fail: method, header fields, host, path, query.
    pub fn new(parts: &'r Parts, peer: IpAddr, trusted: &[IpNet], rules: &AcceptRules) -> Result<Self, AcceptError> {
        let fields = hygiene::check(&parts.method, &parts.headers, rules)?;
        let host = host(parts, fields.host)?;
        let path = normalize::path(parts.uri.path()).map_err(AcceptError::Path)?;
        let query = parts.uri.query();
        if query.is_some_and(|query| !query.bytes().all(is_query_byte)) {
            return Err(AcceptError::QueryByte);
        }
        Ok(Self {
            parts,
            host,
            path: path.text,
            oddities: path.oddities,
            query,
            fields,
            peer: peer.to_canonical(),
            client: client::address(&parts.headers, peer, trusted),
            client_certificate: None,
        })
    }

    /// Returns the request as one over a connection on which the client showed `certificate`, if it is there.
    #[must_use]
    pub fn with_client_certificate(mut self, certificate: Option<&'r ClientCertificate>) -> Self {
        self.client_certificate = certificate;
        self
    }

    pub fn method(&self) -> &'r Method {
        &self.parts.method
    }

    /// Returns the host as [`Authority::normal_host`] writes it. Empty for an HTTP/1.0 request without a host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the path in normal form: routes are matched against it, and it is forwarded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns whether [`Self::path`] differs from the received path. Forwarding then has to write the path anew.
    pub fn path_was_rewritten(&self) -> bool {
        matches!(self.path, Cow::Owned(_))
    }

    /// Returns the oddities that the matched route must allow; see [`hygiene::check_oddities`].
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    /// Returns the query as received, without the `?`. It may hold UTF-8.
    pub fn query(&self) -> Option<&'r str> {
        self.query
    }

    /// Returns the parts that routes are matched by.
    pub fn route_parts(&self) -> RequestParts<'_> {
        RequestParts {
            host: &self.host,
            path: &self.path,
            method: &self.parts.method,
            headers: &self.parts.headers,
            query: self.query,
        }
    }

    pub fn headers(&self) -> &'r HeaderMap {
        &self.parts.headers
    }

    /// Returns whether the request asks to switch to WebSocket.
    pub fn is_websocket_upgrade(&self) -> bool {
        upgrade::is_websocket(self.parts)
    }

    /// Returns the fields of [`Self::headers`] that are read repeatedly.
    pub fn fields(&self) -> &Fields<'r> {
        &self.fields
    }

    /// Returns the address at the other end of the connection: IPv4 rather than IPv4-mapped IPv6.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Returns the address of the client; see [`client::address`].
    pub fn client(&self) -> ClientAddress {
        self.client
    }

    /// Returns the certificate that the client showed on the connection. An authority of the listener signed it.
    pub fn client_certificate(&self) -> Option<&'r ClientCertificate> {
        self.client_certificate
    }
}

/// Returns whether `byte` may stand in a query: every byte but control bytes, a space and `#`. Clients send bytes that RFC
/// 3986 section 3.4 does not allow, such as `{`, `|` and UTF-8, and every parser reads them alike.
pub const fn is_query_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7F && byte != b'#'
}

/// Leaves out the headers and the query, which may hold credentials.
impl fmt::Debug for Inbound<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("Inbound");
        fields
            .field("method", self.method())
            .field("host", &self.host)
            .field("path", &self.path);
        fields
            .field("peer", &self.peer)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Returns the host on which `Host`, `:authority` and an absolute-form target agree (S093). Only an HTTP/1.0 request
/// may have none.
fn host<'r>(parts: &'r Parts, field: FieldOccurrence<'r>) -> Result<Cow<'r, str>, AcceptError> {
    let field = match field {
        FieldOccurrence::Absent => None,
        FieldOccurrence::One(value) => Some(value),
        FieldOccurrence::Repeated => return Err(AcceptError::HostRepeated),
    };
    let parse = |text| Authority::parse(text).ok_or(AcceptError::HostInvalid);
    let from_field = field
        .map(|value| parse(value.to_str().map_err(|_| AcceptError::HostInvalid)?))
        .transpose()?;
    let from_target = parts
        .uri
        .authority()
        .map(|authority| parse(authority.as_str()))
        .transpose()?;
    match (from_target, from_field) {
        (Some(target), Some(field)) if !target.is_same(&field) => Err(AcceptError::HostMismatch),
        // RFC 9112 section 3.2: an HTTP/1.1 request has a Host field even where the target names the host.
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(AcceptError::HostMissing),
        (Some(host), _) | (None, Some(host)) => Ok(host.normal_host()),
        (None, None) if parts.version == Version::HTTP_10 => Ok(Cow::Borrowed("")),
        (None, None) => Err(AcceptError::HostMissing),
    }
}

/// Returns the host of a request that was refused before it became an [`Inbound`]; `None` where the host is the fault.
pub fn host_of(parts: &Parts) -> Option<Cow<'_, str>> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => FieldOccurrence::Absent,
        (Some(value), None) => FieldOccurrence::One(value),
        (Some(_), Some(_)) => FieldOccurrence::Repeated,
    };
    host(parts, field).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::accept::normalize::PathError;
    use http::HeaderName;
    use http::Request;

    fn parts(target: &str, version: Version, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn inbound(parts: &Parts) -> Result<Inbound<'_>, AcceptError> {
        let rules = AcceptRules::new(HeaderName::from_static("x-api-key"), []);
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        Inbound::new(parts, "::ffff:10.0.0.1".parse().unwrap(), &trusted, &rules)
    }

    #[track_caller]
    fn check_host(target: &str, version: Version, fields: &[(&str, &str)], expected: Result<&str, AcceptError>) {
        let parts = parts(target, version, fields);
        let found = inbound(&parts).map(|inbound| inbound.host().to_owned());
        assert_eq!(
            found.as_deref().map_err(|error| *error),
            expected,
            "{target:?} {fields:?}"
        );
    }

    #[test]
    fn a_request_is_read_into_normal_form() {
        let fields = [("host", "API.Example.com:8080"), ("x-forwarded-for", "1.1.1.1")];
        let parts = parts("/%7Ea/b?x=%2e", Version::HTTP_11, &fields);
        let inbound = inbound(&parts).unwrap();
        assert_eq!(inbound.method(), Method::GET);
        assert_eq!(inbound.host(), "api.example.com");
        assert_eq!(inbound.path(), "/~a/b");
        assert!(inbound.path_was_rewritten());
        assert_eq!(inbound.query(), Some("x=%2e"));
        assert_eq!(inbound.oddities(), Oddities::default());
        assert_eq!(inbound.peer(), "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(inbound.client(), ClientAddress::Known("1.1.1.1".parse().unwrap()));
        assert_eq!(inbound.headers().len(), 2);
    }

    #[test]
    fn a_request_in_normal_form_is_borrowed() {
        let parts = parts("/a/b?c", Version::HTTP_11, &[("host", "a.example")]);
        let inbound = inbound(&parts).unwrap();
        assert!(matches!(inbound.host, Cow::Borrowed(_)) && matches!(inbound.path, Cow::Borrowed(_)));
        assert!(!inbound.path_was_rewritten());
    }

    #[test]
    fn s093_there_is_one_host() {
        let (old, one, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        check_host("/", one, &[("host", "A.b.")], Ok("a.b"));
        check_host("/", one, &[], Err(AcceptError::HostMissing));
        check_host("/", old, &[], Ok(""));
        check_host("http://a/", one, &[], Err(AcceptError::HostMissing));
        check_host(
            "/",
            one,
            &[("host", "a"), ("host", "a")],
            Err(AcceptError::HostRepeated),
        );
        check_host("/", one, &[("host", "")], Err(AcceptError::HostInvalid));
        check_host("/", one, &[("host", "u@a")], Err(AcceptError::HostInvalid));
        check_host("http://a/", one, &[("host", "A")], Ok("a"));
        check_host("http://a/", one, &[("host", "b")], Err(AcceptError::HostMismatch));
        check_host("http://u@a/", one, &[("host", "a")], Err(AcceptError::HostInvalid));
        check_host("https://a/", two, &[], Ok("a"));
        check_host("https://a/", two, &[("host", "b")], Err(AcceptError::HostMismatch));
        check_host("/", two, &[], Err(AcceptError::HostMissing));
    }

    #[test]
    fn s089_s090_s098_refusals_of_the_path_and_the_fields_come_through() {
        let refusal = |target: &str, fields: &[(&str, &str)]| {
            let mut all = vec![("host", "a")];
            all.extend_from_slice(fields);
            inbound(&parts(target, Version::HTTP_11, &all)).unwrap_err()
        };
        assert_eq!(refusal("/a/../b", &[]), AcceptError::Path(PathError::DotSegment));
        assert_eq!(refusal("/%00", &[]), AcceptError::Path(PathError::Control));
        assert_eq!(refusal("*", &[]), AcceptError::Path(PathError::NoLeadingSlash));
        assert_eq!(refusal("/", &[("x_api_key", "k")]), AcceptError::HeaderAlias);
        assert_eq!(
            refusal("/", &[("connection", "host")]),
            AcceptError::ConnectionNomination
        );
        assert_eq!(refusal("/\u{e9}?a=\u{e9}", &[]), AcceptError::Path(PathError::NonAscii));
    }

    #[test]
    fn s143_an_inbound_prints_no_credential() {
        let fields = [("host", "a"), ("authorization", "Bearer s3cret")];
        let parts = parts("/?key=s3cret", Version::HTTP_11, &fields);
        let printed = format!("{:?}", inbound(&parts).unwrap());
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(printed.contains(r#"method: GET, host: "a", path: "/""#), "{printed}");
    }

    #[test]
    fn s092_an_encoded_question_mark_stays_in_the_path() {
        let parts = parts("/a%3fb?c", Version::HTTP_11, &[("host", "a")]);
        let inbound = inbound(&parts).unwrap();
        assert_eq!((inbound.path(), inbound.query()), ("/a%3Fb", Some("c")));
    }

    #[test]
    fn s087_override_headers_change_neither_path_nor_method() {
        let fields = [
            ("host", "a"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("x-http-method-override", "PUT"),
        ];
        let parts = parts("/public", Version::HTTP_11, &fields);
        let inbound = inbound(&parts).unwrap();
        assert_eq!((inbound.path(), inbound.method()), ("/public", &Method::GET));
    }
}
