//! Does an accepted head mean the same to another parser, and end at the same byte?

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Uri;
use http::Version;
use keygate::gate::accept::AcceptRules;
use keygate::gate::accept::Inbound;
use keygate::proxy::forward::escape;
use keygate::proxy::head;
use keygate::proxy::head::Framing;
use keygate::proxy::head::HeadLimits;
use std::net::IpAddr;
use std::net::Ipv4Addr;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 32 * 1024,
    header_count_max: 100,
    target_bytes_max: 8 * 1024,
};

/// Checks the first bytes of a connection.
pub fn check(sent: &[u8]) {
    let end = head::find_end(sent, 0);
    // The end of the head does not depend on how the bytes arrive.
    for searched in [1, sent.len() / 2, sent.len().saturating_sub(1)] {
        if end.is_none_or(|end| searched < end) {
            assert_eq!(head::find_end(sent, searched), end, "searched {searched}");
        }
    }
    let head = &sent[..end.unwrap_or(sent.len())];
    let Ok(body) = head::check(head, &LIMITS) else {
        return;
    };
    assert_eq!(end, Some(head.len()), "accepted without its end");
    assert!(head::may_begin(head[0]));
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())));
    assert_same_lines(head, &request);
    assert_same_framing(body, &request);
    assert_http_types_agree(&request);
}

/// Asserts that the other parser read every line, and trimmed only the blanks around a value.
fn assert_same_lines(head: &[u8], request: &httparse::Request<'_, '_>) {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r"));
    let mut line = || lines.next().flatten().expect("every line ends in CRLF");
    let version = match request.version {
        Some(1) => "HTTP/1.1",
        Some(0) => "HTTP/1.0",
        other => panic!("version {other:?}"),
    };
    let start = [request.method.unwrap_or(""), request.path.unwrap_or(""), version].join(" ");
    assert_eq!(line(), start.as_bytes());
    for field in request.headers.iter() {
        let line = line();
        let (name, value) = line.split_at(field.name.len());
        assert_eq!(name, field.name.as_bytes());
        let value = value.strip_prefix(b":").expect("a colon right after the name");
        assert_eq!(value.trim_ascii(), field.value);
    }
    assert_eq!(line(), b"");
}

/// Asserts that `body` is the framing of RFC 9112 section 6.3 for the fields that the other parser read.
fn assert_same_framing(body: Framing, request: &httparse::Request<'_, '_>) {
    let named = |name: &str| -> Vec<&[u8]> {
        let fields = request.headers.iter();
        fields
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect()
    };
    match (
        named("content-length").as_slice(),
        named("transfer-encoding").as_slice(),
    ) {
        ([], []) => assert_eq!(body, Framing::None),
        ([length], []) => {
            let length = std::str::from_utf8(length).expect("digits");
            assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{length:?}");
            assert_eq!(body, Framing::ContentLength(length.parse().expect("a number")));
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1));
            assert_eq!(body, Framing::Chunked);
        }
        more => panic!("framed twice: {more:?}"),
    }
    let hosts = named("host").len();
    assert!(hosts == 1 || hosts == 0 && request.version == Some(0), "{hosts} hosts");
    assert!(
        named("expect")
            .iter()
            .all(|value| value.eq_ignore_ascii_case(b"100-continue"))
    );
}

/// Asserts that the types behind the parser take the whole head and return the bytes that were sent.
fn assert_http_types_agree(request: &httparse::Request<'_, '_>) {
    let target = request.path.expect("a target");
    let escaped = escape::target(target);
    let uri: Uri = escaped.parse().unwrap_or_else(|error| panic!("{target:?}: {error}"));
    let target = &*escaped;
    let method = Method::from_bytes(request.method.expect("a method").as_bytes()).expect("a token");
    let mut built = http::Request::builder()
        .method(method.clone())
        .uri(uri)
        .version(match request.version {
            Some(0) => Version::HTTP_10,
            _ => Version::HTTP_11,
        });
    for field in request.headers.iter() {
        built = built.header(field.name, HeaderValue::from_bytes(field.value).expect("a value"));
    }
    let parts = built.body(()).expect("a request").into_parts().0;
    let rules = AcceptRules::new(HeaderName::from_static("x-api-key"), []);
    let Ok(inbound) = Inbound::new(&parts, IpAddr::V4(Ipv4Addr::LOCALHOST), &[], &rules) else {
        return;
    };
    assert_eq!(*inbound.method(), method);
    let path_and_query = match inbound.query() {
        Some(query) => format!("{}?{query}", inbound.path()),
        None => inbound.path().to_owned(),
    };
    let origin_form = target.find("://").map_or(target, |scheme| {
        let rest = &target[scheme + 3..];
        &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
    });
    if target.starts_with('/') && !inbound.path_was_rewritten() {
        assert_eq!(path_and_query, target);
    }
    // An absolute URL may lack a path (RFC 9110 section 4.2.3).
    if !inbound.path_was_rewritten() && origin_form.starts_with('/') && !target.starts_with('/') {
        assert_eq!(path_and_query, origin_form);
    }
    let host = inbound.host();
    assert_eq!(host, host.to_ascii_lowercase());
    if let Some(field) = parts.headers.get(http::header::HOST) {
        // An unknown scheme, so that the URL parser keeps `a.1` as a name, as the gate does.
        let sent = field.to_str().expect("visible");
        let url = url::Url::parse(&format!("any://{sent}")).expect("an authority is one in a URL");
        let plain = url
            .host_str()
            .map(|host| host.trim_end_matches('.').to_ascii_lowercase());
        assert_eq!(plain.as_deref(), Some(host), "{sent:?}");
        assert!(url.username().is_empty() && url.password().is_none() && url.path().is_empty());
    }
}
