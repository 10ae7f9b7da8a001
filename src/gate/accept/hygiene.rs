//! Could two parsers read this request's method and header fields differently (RFC 9110 section
//! 5.3, RFC 9112 section 6.3)?

use crate::gate::accept::error::AcceptError;
use crate::gate::accept::fields::FieldOccurrence;
use crate::gate::accept::fields::Fields;
use crate::gate::accept::normalize::Oddities;
use crate::gate::accept::normalize::PathError;
use crate::gate::accept::rules::AcceptRules;
use crate::gate::accept::rules::is_default_method;
use crate::gate::accept::syntax;
use http::HeaderMap;
use http::Method;
use http::header::CONNECTION;

/// Checks the method and the fields before any matching. Returns the fields that later stages read.
///
/// # Errors
/// The first rule that the request breaks.
pub fn check<'r>(method: &Method, headers: &'r HeaderMap, rules: &AcceptRules) -> Result<Fields<'r>, AcceptError> {
    if method == Method::TRACE || method == Method::CONNECT {
        return Err(AcceptError::MethodRefused);
    }
    // S099: an upstream may take `get` for GET, or act on a method that no route was written for.
    if !is_default_method(method) && !rules.lists(method) {
        return Err(AcceptError::MethodUnknown);
    }
    let fields = Fields::of(headers, rules);
    check_framing(&fields)?;
    // S080: CGI, WSGI and PHP read `X_Api_Key` and `X-Api-Key` as one variable, lighttpd `X.Api.Key` too.
    if fields.has_alias {
        return Err(AcceptError::HeaderAlias);
    }
    if fields.has_connection {
        check_connection(headers, rules)?;
    }
    Ok(fields)
}

/// Refuses a `Connection` that nominates a protected header (S081). A hop that obeys RFC 9110 section 7.6.1 would drop
/// that header, even where Keygate or a trusted proxy added it.
fn check_connection(headers: &HeaderMap, rules: &AcceptRules) -> Result<(), AcceptError> {
    for value in headers.get_all(CONNECTION) {
        let text = value.to_str().map_err(|_| AcceptError::ConnectionNomination)?;
        let mut options = text.split(',').map(|option| option.trim_matches([' ', '\t']));
        // `x forwarded-for` is not a valid option (RFC 9110 section 7.6.1). A lenient parser could read two options.
        let is_none = |option: &str| !option.is_empty() && !syntax::is_token(option.as_bytes());
        if options.any(|option| is_none(option) || rules.is_protected(option)) {
            return Err(AcceptError::ConnectionNomination);
        }
    }
    Ok(())
}

/// Refuses the oddities of the path that the matched route does not allow. Where no route matched, pass
/// `Oddities::default()`: a path with oddities is then refused as ambiguous (400), not as unknown (404).
///
/// # Errors
/// `EncodedSlash` or `EmptySegment`.
pub fn check_oddities(found: Oddities, allows: Oddities) -> Result<(), AcceptError> {
    if found.encoded_slash && !allows.encoded_slash {
        return Err(AcceptError::Path(PathError::EncodedSlash));
    }
    if found.empty_segment && !allows.empty_segment {
        return Err(AcceptError::Path(PathError::EmptySegment));
    }
    Ok(())
}

/// Checks the framing fields (S101). `head::check` does this for Keygate's own connections, but an embedded gate
/// receives a head that another server parsed.
fn check_framing(fields: &Fields<'_>) -> Result<(), AcceptError> {
    let well_framed = match (fields.content_length, fields.transfer_encoding) {
        (FieldOccurrence::Absent, FieldOccurrence::Absent) => true,
        (FieldOccurrence::One(length), FieldOccurrence::Absent) => {
            !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit)
        }
        (FieldOccurrence::Absent, FieldOccurrence::One(encoding)) => {
            encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
        }
        (FieldOccurrence::One(_) | FieldOccurrence::Repeated, _) | (_, FieldOccurrence::Repeated) => false,
    };
    if well_framed { Ok(()) } else { Err(AcceptError::Framing) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::HeaderValue;

    fn rules() -> AcceptRules {
        AcceptRules::new(
            HeaderName::from_static("x-api-key"),
            [Method::GET, Method::from_bytes(b"PURGE").unwrap()],
        )
    }

    #[track_caller]
    fn check_method(method: &str, expected: Result<(), AcceptError>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(
            check(&method, &HeaderMap::new(), &rules()).map(drop),
            expected,
            "{method:?}"
        );
    }

    #[track_caller]
    fn check_headers(rules: &AcceptRules, fields: &[(&str, &str)], expected: Result<(), AcceptError>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(check(&Method::GET, &headers, rules).map(drop), expected, "{fields:?}");
    }

    #[test]
    fn s099_methods_are_registered_or_listed() {
        for good in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"] {
            check_method(good, Ok(()));
        }
        for bad in ["get", "Get", "purge", "PROPFIND", "GETX", "G", "PRI"] {
            check_method(bad, Err(AcceptError::MethodUnknown));
        }
        check_method("TRACE", Err(AcceptError::MethodRefused));
        check_method("CONNECT", Err(AcceptError::MethodRefused));
        let listed = AcceptRules::new(HeaderName::from_static("x-api-key"), [Method::TRACE]);
        assert_eq!(
            check(&Method::TRACE, &HeaderMap::new(), &listed).map(drop),
            Err(AcceptError::MethodRefused)
        );
    }

    #[test]
    fn s007_s080_underscores_do_not_alias_protected_names() {
        for bad in [
            "X_Api_Key",
            "x-api_key",
            "x_api-key",
            "X_Keygate_Subject",
            "x-keygate_subject",
            "x_keygate-anything",
            "x_forwarded_for",
            "X-Forwarded_Proto",
            "x_real_ip",
            "proxy_authorization",
            "content_length",
            "transfer_encoding",
            "x.api.key",
            "x-api~key",
            "X.Keygate.Subject",
            "x!keygate!anything",
            "x+forwarded*for",
            "content.length",
        ] {
            check_headers(&rules(), &[(bad, "1")], Err(AcceptError::HeaderAlias));
        }
        for good in [
            "x-api-key",
            "x-keygate-subject",
            "x-forwarded-for",
            "x_custom",
            "x.custom",
            "api_key",
            "x-forwarded",
            "x_keygate",
        ] {
            check_headers(&rules(), &[(good, "1")], Ok(()));
        }
    }

    #[test]
    fn s080_a_key_header_with_an_underscore_has_aliases_too() {
        let rules = AcceptRules::new(HeaderName::from_static("x_api_key"), []);
        check_headers(&rules, &[("x_api_key", "1")], Ok(()));
        check_headers(&rules, &[("x-api-key", "1")], Err(AcceptError::HeaderAlias));
        check_headers(&rules, &[("x-api_key", "1")], Err(AcceptError::HeaderAlias));
        check_headers(&rules, &[("x_forwarded_for", "1")], Err(AcceptError::HeaderAlias));
        check_headers(
            &rules,
            &[("x-forwarded-for", "1"), ("authorization", "a"), ("host", "a")],
            Ok(()),
        );
        let dotted = AcceptRules::new(HeaderName::from_static("x.api.key"), []);
        check_headers(&dotted, &[("x.api.key", "1")], Ok(()));
        for alias in ["x-api-key", "x_api_key", "x.api-key"] {
            check_headers(&dotted, &[(alias, "1")], Err(AcceptError::HeaderAlias));
        }
        // The same of a header of claims or of an issuer's tokens.
        let dotted = rules.with_protected(&[HeaderName::from_static("x.user.email")]);
        check_headers(&dotted, &[("x.user.email", "1")], Ok(()));
        check_headers(&dotted, &[("x_user.email", "1")], Err(AcceptError::HeaderAlias));
    }

    #[test]
    fn s080_s081_headers_of_claims_have_no_aliases_and_are_never_nominated() {
        let names = [
            HeaderName::from_static("x-user-email"),
            HeaderName::from_static("remote-user"),
        ];
        let rules = rules().with_protected(&names);
        for bad in ["x_user_email", "X-User_Email", "Remote_User"] {
            check_headers(&rules, &[(bad, "1")], Err(AcceptError::HeaderAlias));
            check_headers(&rules, &[("connection", bad)], Err(AcceptError::ConnectionNomination));
        }
        // The exact name is not an error: Keygate drops the client's field on the way to the upstream.
        for good in ["x-user-email", "X-User-Email", "x_user", "x_user_emails"] {
            check_headers(&rules, &[(good, "1")], Ok(()));
        }
        for bad in ["x-user-email", "close, Remote-User"] {
            check_headers(&rules, &[("connection", bad)], Err(AcceptError::ConnectionNomination));
        }
    }

    #[test]
    fn s081_connection_nominates_no_protected_header() {
        for bad in [
            "authorization",
            "X-Api-Key",
            "close, x-keygate-subject",
            "x-forwarded-host",
            "Host",
            "keep-alive,\tForwarded",
            "x_keygate_subject",
            "content-length",
            "transfer-encoding",
            "x-real-ip",
            "caf\u{e9}",
            "x forwarded",
            "close, x-hop x-api-key",
            "close;x-hop",
            "\"close\"",
            "close,\tkeep alive",
        ] {
            check_headers(&rules(), &[("connection", bad)], Err(AcceptError::ConnectionNomination));
        }
        check_headers(
            &rules(),
            &[("connection", "close"), ("connection", "x-api-key")],
            Err(AcceptError::ConnectionNomination),
        );
        for good in [
            "close",
            "keep-alive, Upgrade, HTTP2-Settings",
            "TE",
            "",
            " , ,",
            "x-hop",
        ] {
            check_headers(&rules(), &[("connection", good)], Ok(()));
        }
    }

    #[test]
    fn s087_override_headers_are_accepted_and_not_read() {
        // The accept stage does not read these headers.
        check_headers(
            &rules(),
            &[("x-original-url", "/admin"), ("x-http-method-override", "DELETE")],
            Ok(()),
        );
    }

    #[test]
    fn s101_framing_fields_agree() {
        check_headers(&rules(), &[("content-length", "5")], Ok(()));
        check_headers(&rules(), &[("transfer-encoding", "Chunked")], Ok(()));
        let bad: [&[(&str, &str)]; 7] = [
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "xchunked")],
            &[("content-length", "+5")],
            &[("content-length", "")],
        ];
        for fields in bad {
            check_headers(&rules(), fields, Err(AcceptError::Framing));
        }
    }

    #[test]
    fn oddities_pass_only_where_the_route_allows_them() {
        let slash = Oddities {
            encoded_slash: true,
            empty_segment: false,
        };
        let empty = Oddities {
            encoded_slash: false,
            empty_segment: true,
        };
        let none = Oddities::default();
        assert_eq!(check_oddities(none, none), Ok(()));
        assert_eq!(check_oddities(slash, slash), Ok(()));
        assert_eq!(check_oddities(empty, empty), Ok(()));
        assert_eq!(
            check_oddities(slash, empty),
            Err(AcceptError::Path(PathError::EncodedSlash))
        );
        assert_eq!(
            check_oddities(empty, slash),
            Err(AcceptError::Path(PathError::EmptySegment))
        );
        assert_eq!(
            check_oddities(slash, none),
            Err(AcceptError::Path(PathError::EncodedSlash))
        );
    }
}
