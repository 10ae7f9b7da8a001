//! Which response does each reason have? The refusal table.

use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The content of a challenge, if any (RFC 6750 section 3, RFC 9110 section 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    None,
    /// The accepted credentials without an error code: the request has no credential, or none of an accepted type.
    Bare,
    /// The accepted credentials; one scheme has the `error` and the detail of the row.
    Error(ErrorScheme),
    /// `insufficient_scope` with the scopes of the rules that failed.
    Scope,
}

/// The scheme that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorScheme {
    Bearer,
    /// The header of API keys.
    ApiKey,
    /// The scheme that carried the API key: its header, or `Authorization: Bearer`.
    Key,
    /// The scheme that carried the credential; every scheme where none was read.
    Used,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The reason: a word from the closed set of `Denial::reason`, also in metrics and access records.
    pub reason: &'static str,
    pub status: u16,
    /// The end of the problem's `type`.
    pub slug: &'static str,
    pub title: &'static str,
    /// The problem and its remedy, for the developer of the client.
    pub detail: &'static str,
    /// The OAuth error code, where one is defined for the case (RFC 6750 section 3.1).
    pub error: Option<&'static str>,
    pub challenge: Challenge,
    /// `true` if the connection is closed after the response, even where the rest of the request could be drained.
    pub close: bool,
}

/// Returns the row of `reason`. A reason without a row would be a bug, which a test rules out; it would get the row of
/// `internal_error`.
pub fn row(reason: &str) -> &'static Row {
    // Not a linear search: over a hundred rows, a search took as long as the rest of an answer.
    static BY_REASON: LazyLock<HashMap<&str, &Row, FixedState>> =
        LazyLock::new(|| ROWS.iter().rev().map(|row| (row.reason, row)).collect());
    BY_REASON.get(reason).copied().unwrap_or(&ROWS[ROWS.len() - 1])
}

#[expect(
    clippy::too_many_arguments,
    reason = "a row of a table; its columns stand in the order they are read"
)]
const fn r(
    reason: &'static str,
    status: u16,
    slug: &'static str,
    title: &'static str,
    detail: &'static str,
    error: Option<&'static str>,
    challenge: Challenge,
    close: bool,
) -> Row {
    Row {
        reason,
        status,
        slug,
        title,
        detail,
        error,
        challenge,
        close,
    }
}

/// The table, in the order of the stages. `internal_error` must be last; see [`row`].
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // The head is malformed, too large or late. The start of the next request is unknown, so the connection is closed.
    r("line_ending", 400, "malformed-request", "Malformed request", "A line of the head does not end in CRLF, or holds a CR or LF before its end.", None, Challenge::None, true),
    r("request_line", 400, "malformed-request", "Malformed request", "The request line is not `METHOD target HTTP/1.1` with single spaces.", None, Challenge::None, true),
    r("target", 400, "malformed-request", "Malformed request", "The request target is neither a path, which starts with `/`, nor an http or https URL.", None, Challenge::None, true),
    r("target_control_byte", 400, "malformed-request", "Malformed request", "The request target has a control character; percent-encode it.", None, Challenge::None, true),
    r("target_fragment", 400, "malformed-request", "Malformed request", "The request target has a `#`; a fragment is not sent to a server, and `#` itself is written `%23`.", None, Challenge::None, true),
    r("target_invalid_utf8", 400, "malformed-request", "Malformed request", "The request target has a byte that is not part of valid UTF-8; percent-encode it.", None, Challenge::None, true),
    r("target_host", 400, "malformed-request", "Malformed request", "The host in the request target is not host[:port].", None, Challenge::None, true),
    r("header_name", 400, "malformed-request", "Malformed request", "A header name has a byte that no name has, or its colon does not follow directly.", None, Challenge::None, true),
    r("header_folded", 400, "malformed-request", "Malformed request", "A header line is folded; write it on one line.", None, Challenge::None, true),
    r("header_value", 400, "malformed-request", "Malformed request", "A header value has a control character.", None, Challenge::None, true),
    r("host_missing", 400, "malformed-request", "Malformed request", "The request has no Host header; send exactly one.", None, Challenge::None, true),
    r("host_repeated", 400, "malformed-request", "Malformed request", "The request has more than one Host header; send exactly one.", None, Challenge::None, true),
    r("host_invalid", 400, "malformed-request", "Malformed request", "The Host header is not host[:port].", None, Challenge::None, true),
    r("host_mismatch", 400, "malformed-request", "Malformed request", "The request target names another host than the Host header; make them the same.", None, Challenge::None, true),
    r("content_length", 400, "malformed-request", "Malformed request", "The Content-Length is not a decimal number, or too large for any body.", None, Challenge::None, true),
    r("content_length_repeated", 400, "malformed-request", "Malformed request", "The request has more than one Content-Length; send one.", None, Challenge::None, true),
    r("transfer_encoding", 400, "malformed-request", "Malformed request", "The only Transfer-Encoding served is `chunked`.", None, Challenge::None, true),
    r("transfer_encoding_repeated", 400, "malformed-request", "Malformed request", "The request has more than one Transfer-Encoding; send one.", None, Challenge::None, true),
    r("transfer_encoding_http10", 400, "malformed-request", "Malformed request", "HTTP/1.0 has no Transfer-Encoding; use HTTP/1.1.", None, Challenge::None, true),
    r("length_and_encoding", 400, "malformed-request", "Malformed request", "Send either Content-Length or Transfer-Encoding, not both.", None, Challenge::None, true),
    r("upgrade", 400, "malformed-request", "Malformed request", "A request to upgrade must not have a body.", None, Challenge::None, true),
    r("upgrade_http10", 400, "malformed-request", "Malformed request", "A request to upgrade must be HTTP/1.1.", None, Challenge::None, true),
    r("framing", 400, "malformed-request", "Malformed request", "Send either one Content-Length or one `Transfer-Encoding: chunked`.", None, Challenge::None, true),
    r("refused_by_parser", 400, "malformed-request", "Malformed request", "The request is not well-formed HTTP/1.1.", None, Challenge::None, true),
    r("plain_http", 400, "malformed-request", "Malformed request", "This address speaks TLS; use `https://`.", None, Challenge::None, true),
    r("http_version", 505, "http-version", "HTTP version not supported", "Use HTTP/1.1.", None, Challenge::None, true),
    r("expectation", 417, "expectation", "Expectation failed", "The only expectation served is `100-continue`.", None, Challenge::None, true),
    r("head_too_long", 431, "head-too-large", "Request head too large", "The request head is too long; send fewer or shorter headers.", None, Challenge::None, true),
    r("header_count", 431, "head-too-large", "Request head too large", "The request has too many headers.", None, Challenge::None, true),
    r("target_too_long", 414, "target-too-long", "Request target too long", "The request target is too long; move parameters into the body.", None, Challenge::None, true),
    r("head_timeout", 408, "head-timeout", "Request timeout", "The request head did not arrive in time; send it without pauses.", None, Challenge::None, true),
    r("too_many_connections", 503, "overloaded", "Too many connections", "The gateway has no room for another connection now; try again soon.", None, Challenge::None, true),
    // Never sent: the connection is closed without an answer.
    r("peer_not_allowed", 403, "address-not-allowed", "Address not allowed", "Connections from this address are not accepted here.", None, Challenge::None, true),
    // Path, query and header names that two parsers could read differently; then methods and routes.
    r("path_no_leading_slash", 400, "ambiguous-target", "Ambiguous request target", "The path does not start with `/`.", None, Challenge::None, false),
    r("path_invalid_escape", 400, "ambiguous-target", "Ambiguous request target", "The path has a `%` that two hexadecimal digits do not follow; write `%25` for `%`.", None, Challenge::None, false),
    r("path_control_byte", 400, "ambiguous-target", "Ambiguous request target", "The path has a control character.", None, Challenge::None, false),
    r("path_non_ascii", 400, "ambiguous-target", "Ambiguous request target", "The path has bytes outside ASCII; percent-encode them.", None, Challenge::None, false),
    r("path_backslash", 400, "ambiguous-target", "Ambiguous request target", "The path has a backslash; use `/`.", None, Challenge::None, false),
    r("path_fragment", 400, "ambiguous-target", "Ambiguous request target", "The path has a `#` or `?`; a fragment is not sent to a server.", None, Challenge::None, false),
    r("path_invalid_utf8", 400, "ambiguous-target", "Ambiguous request target", "The path is not valid UTF-8 once percent-decoded.", None, Challenge::None, false),
    r("path_dot_segment", 400, "ambiguous-target", "Ambiguous request target", "The path has a `.` or `..` segment; resolve it before sending.", None, Challenge::None, false),
    r("path_double_encoding", 400, "ambiguous-target", "Ambiguous request target", "The path is percent-encoded twice; encode it once.", None, Challenge::None, false),
    r("path_encoded_slash", 400, "ambiguous-target", "Ambiguous request target", "The path has an encoded `/`, which this route does not allow.", None, Challenge::None, false),
    r("path_empty_segment", 400, "ambiguous-target", "Ambiguous request target", "The path has an empty segment (`//`), which this route does not allow.", None, Challenge::None, false),
    r("query_byte", 400, "ambiguous-target", "Ambiguous request target", "The query has a control character, a space or a `#`; percent-encode it.", None, Challenge::None, false),
    r("header_alias", 400, "ambiguous-header", "Ambiguous header", "A header name uses `_` where a protected header has `-`; use the exact name.", None, Challenge::None, false),
    r("connection_nomination", 400, "ambiguous-header", "Ambiguous header", "The Connection header names a header that is not hop-by-hop, or is not a list of names; remove it there.", None, Challenge::None, false),
    r("method_refused", 405, "method-not-allowed", "Method not allowed", "TRACE and CONNECT are not served.", None, Challenge::None, true),
    r("method_unknown", 400, "unknown-method", "Unknown method", "The method is not known here; methods are case-sensitive, write for example GET.", None, Challenge::None, false),
    r("method_not_allowed", 405, "method-not-allowed", "Method not allowed", "This resource does not take the method; see the Allow header.", None, Challenge::None, false),
    // RFC 9110 section 15.5.20: the client repeats the request on a connection of its own for that name.
    r("misdirected", 421, "misdirected-request", "Misdirected request", "This connection is for another host name; use a connection of its own for this one.", None, Challenge::None, false),
    r("no_route", 404, "not-found", "Not found", "Nothing is served at this address.", None, Challenge::None, false),
    r("path_near_miss", 404, "not-found", "Not found", "Nothing is served at this address.", None, Challenge::None, false),
    r("conditions_unmet", 404, "not-found", "Not found", "Nothing is served at this address for the headers and the query of this request.", None, Challenge::None, false),
    r("matched_header_repeated", 400, "ambiguous-header", "Ambiguous header", "A header that decides where this request goes is there more than once; send it once.", None, Challenge::None, false),
    r("matched_parameter_repeated", 400, "ambiguous-query", "Ambiguous query", "A query parameter that decides where this request goes is there more than once; send it once.", None, Challenge::None, false),
    r("matched_parameter_encoding", 400, "ambiguous-query", "Ambiguous query", "A query parameter that decides where this request goes is not UTF-8, percent-encoded; write `%25` for `%`.", None, Challenge::None, false),
    r("matched_parameter_separator", 400, "ambiguous-query", "Ambiguous query", "A query parameter that decides where this request goes stands beside a `;`, which some servers take for a separator; separate parameters by `&`, and write `%3B` for `;`.", None, Challenge::None, false),
    // Before authentication: an address that is kept out learns nothing about credentials.
    r("address_not_allowed", 403, "address-not-allowed", "Address not allowed", "This resource is not for clients at the address that this request came from.", None, Challenge::None, false),
    // Preflights. The page sees only a network error; the detail is for the developer of the page.
    r("cors_origin", 403, "cors", "Not allowed by CORS", "Pages of this origin may not call this resource.", None, Challenge::None, false),
    r("cors_method", 403, "cors", "Not allowed by CORS", "Pages may not use this method here.", None, Challenge::None, false),
    r("cors_header", 403, "cors", "Not allowed by CORS", "Pages may not set one of these headers here.", None, Challenge::None, false),
    r("body_too_large", 413, "body-too-large", "Request body too large", "The request body is over the gateway's limit.", None, Challenge::None, true),
    r("body_timeout", 408, "body-timeout", "Request timeout", "The request body did not arrive in time; send it without pauses.", None, Challenge::None, true),
    r("pipelined", 400, "pipelined", "Request before the answer", "More was sent before this request was answered, and its answer is lost; wait for each answer, or use another connection.", None, Challenge::None, true),
    // Intake. A request without a credential gets a challenge without an error code (RFC 6750 section 3.1).
    r("credential_missing", 401, "credential-missing", "Credential required", "Send one of the credentials named in WWW-Authenticate.", None, Challenge::Bare, false),
    r("two_credentials", 400, "two-credentials", "Two credentials", "The request has both Authorization and {header}; send exactly one of them.", Some("invalid_request"), Challenge::Error(ErrorScheme::Used), false),
    r("authorization_repeated", 400, "malformed-credential", "Malformed credential", "Send Authorization once, with one token.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("api_key_repeated", 400, "malformed-credential", "Malformed credential", "Send {header} once, with one key.", Some("invalid_request"), Challenge::Error(ErrorScheme::ApiKey), false),
    r("authorization_malformed", 400, "malformed-credential", "Malformed credential", "Authorization is not `Bearer`, one space and a token.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("api_key_header_malformed", 400, "malformed-credential", "Malformed credential", "{header} is empty or has spaces or other forbidden characters.", Some("invalid_request"), Challenge::Error(ErrorScheme::ApiKey), false),
    r("credential_too_long", 400, "malformed-credential", "Malformed credential", "The credential is longer than any that is issued.", Some("invalid_request"), Challenge::Error(ErrorScheme::Used), false),
    r("query_credential", 400, "query-credential", "Credential in the query", "A credential in the query is never read and may have leaked; revoke it and send a new one in a header.", Some("invalid_request"), Challenge::Error(ErrorScheme::Used), false),
    r("credentials_in_two_places", 400, "two-credentials", "Two credentials", "The request carries credentials in two of the places that this resource reads; send exactly one.", Some("invalid_request"), Challenge::Error(ErrorScheme::Used), false),
    r("token_header_malformed", 400, "malformed-credential", "Malformed credential", "The header in which a proxy sends the token does not hold one token.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_header_repeated", 400, "malformed-credential", "Malformed credential", "Send the header in which a proxy sends the token once, with one token.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("websocket_token_malformed", 400, "malformed-credential", "Malformed credential", "The WebSocket subprotocol after `bearer.` is not the base64url of one token, without padding.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("websocket_token_alone", 400, "malformed-credential", "Malformed credential", "Offer the WebSocket subprotocol `keygate.bearer` beside the one with the token: the response can name no other.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("websocket_token_without_upgrade", 400, "malformed-credential", "Malformed credential", "A token among WebSocket subprotocols is read only where the request asks for WebSocket (GET, HTTP/1.1, `Upgrade: websocket`), and proxies in front must pass `Upgrade` on; other requests send Authorization.", Some("invalid_request"), Challenge::Error(ErrorScheme::Bearer), false),
    r("authorization_scheme", 401, "credential-type", "Credential not accepted here", "The only Authorization scheme is Bearer.", None, Challenge::Bare, false),
    r("credential_type", 401, "credential-type", "Credential not accepted here", "This type of credential is not accepted here; see WWW-Authenticate for what is.", None, Challenge::Bare, false),
    // Authentication. The client learns only that its credential is invalid, or that its token expired.
    r("token_too_long", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_malformed", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_encrypted", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_critical_header", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_algorithm", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_type", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_issuer", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("unknown_issuer", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("wrong_audience", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("unknown_key", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("key_mismatch", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("ambiguous_key", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("bad_signature", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_not_yet_valid", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_issued_in_future", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_lifetime", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("not_an_access_token", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_claim_missing", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_claim_invalid", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_required_claim", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_inactive", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_not_bearer", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_unknown", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("client_unknown", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_revoked", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("client_tokens_revoked", 401, "invalid-token", "Invalid token", "The token was not accepted; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("token_expired", 401, "token-expired", "Token expired", "The token has expired; get a new one from its issuer.", Some("invalid_token"), Challenge::Error(ErrorScheme::Bearer), false),
    r("api_key_malformed", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_checksum", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_unknown", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_wrong_secret", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_revoked", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_expired", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_disabled", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("api_key_wrong_address", 401, "invalid-api-key", "Invalid API key", "The API key was not accepted.", Some("invalid_token"), Challenge::Error(ErrorScheme::Key), false),
    r("too_many_failures", 429, "too-many-failures", "Too many failed authentications", "Too many credentials from this address were not accepted; try again later.", None, Challenge::None, false),
    r("keys_unavailable", 503, "keys-unavailable", "Credential cannot be checked now", "The gateway cannot check the credential now; the same request may succeed soon.", None, Challenge::None, false),
    r("introspection_unavailable", 503, "introspection-unavailable", "Credential cannot be checked now", "The gateway cannot check the credential now; the same request may succeed soon.", None, Challenge::None, false),
    r("introspection_suspended", 503, "introspection-unavailable", "Credential cannot be checked now", "The gateway cannot check the credential now; the same request may succeed soon.", None, Challenge::None, false),
    r("introspection_busy", 503, "introspection-unavailable", "Credential cannot be checked now", "The gateway cannot check the credential now; the same request may succeed soon.", None, Challenge::None, false),
    // Client certificates. No credential and no challenge would help: the client has to connect anew.
    r("client_certificate_missing", 403, "client-certificate-missing", "Client certificate missing", "This resource needs a client certificate; connect over TLS and show one.", None, Challenge::None, false),
    r("client_certificate_not_allowed", 403, "client-certificate-not-allowed", "Client certificate not allowed", "This resource is not for the client certificate of this connection; connect with another one.", None, Challenge::None, false),
    // Subscription. The credential is valid, so its holder may know the standing of the subscription.
    r("subscription_pending", 403, "subscription-pending", "Subscription pending", "The credential is good, but its subscription is not approved yet.", None, Challenge::None, false),
    r("subscription_provisioning_failed", 403, "subscription-provisioning-failed", "Subscription not set up", "The credential is good, but its subscription could not be set up; ask the operator of this API.", None, Challenge::None, false),
    r("subscription_cancelled", 403, "subscription-cancelled", "Subscription cancelled", "The subscription of this credential is cancelled.", None, Challenge::None, false),
    r("payment_due", 403, "payment-due", "Payment due", "The credential is good, but its subscription is not paid for; sandbox credentials still count.", None, Challenge::None, false),
    r("plan_not_released", 403, "plan-not-released", "Plan not released", "The credential is good, but its plan is not released yet; sandbox credentials count.", None, Challenge::None, false),
    r("sandbox_only", 403, "sandbox-only", "Sandbox only", "The subscription is one for sandbox credentials.", None, Challenge::None, false),
    r("plan_gone", 403, "plan-gone", "Plan gone", "The plan of this subscription is not offered any more.", None, Challenge::None, false),
    r("credential_not_in_plan", 401, "credential-not-in-plan", "Credential not in the plan", "The plan of this subscription does not have credentials of this type.", Some("invalid_token"), Challenge::Error(ErrorScheme::Used), false),
    r("subscription_required", 403, "subscription-required", "Subscription required", "This resource needs a subscription under another plan.", None, Challenge::None, false),
    r("subscription_unknown", 503, "subscription-unknown", "Subscription cannot be checked now", "The gateway does not know the subscription of this credential; the same request may succeed soon.", None, Challenge::None, false),
    // Authorization and limits.
    r("insufficient_scope", 403, "insufficient-scope", "Insufficient scope", "The credential lacks a scope that this resource needs; see `scope`.", Some("insufficient_scope"), Challenge::Scope, false),
    r("client_not_allowed", 403, "not-allowed", "Not allowed", "The credential is good, but this resource is not for its bearer.", None, Challenge::None, false),
    r("subject_not_allowed", 403, "not-allowed", "Not allowed", "The credential is good, but this resource is not for its bearer.", None, Challenge::None, false),
    r("organization_not_allowed", 403, "not-allowed", "Not allowed", "The credential is good, but this resource is not for its bearer.", None, Challenge::None, false),
    r("claim_not_allowed", 403, "not-allowed", "Not allowed", "The credential is good, but this resource is not for its bearer.", None, Challenge::None, false),
    r("limit_spent", 429, "limit-spent", "Limit spent", "Too many requests; try again after the time in Retry-After.", None, Challenge::None, false),
    // Built-in paths (RFC 6749 section 3.2).
    r("clear_text", 400, "clear-text", "Clear text", "Secrets are taken over TLS alone; use https.", Some("invalid_request"), Challenge::None, false),
    r("control_unavailable", 503, "temporarily-unavailable", "Temporarily unavailable", "This cannot be answered now; try again soon.", None, Challenge::None, false),
    // Forwarding.
    r("identity_token_unsigned", 500, "internal-error", "Internal error", "The gateway failed; the request was not forwarded.", None, Challenge::None, false),
    r("no_upstream_credential", 503, "temporarily-unavailable", "Temporarily unavailable", "This cannot be answered now; try again soon.", None, Challenge::None, false),
    r("no_endpoint", 503, "no-endpoint", "No upstream available", "No server for this resource is available now; try again soon.", None, Challenge::None, false),
    r("endpoints_busy", 503, "upstream-busy", "Upstream busy", "The servers for this resource have all the requests that they take at once; try again soon.", None, Challenge::None, false),
    r("no_resources", 503, "overloaded", "Overloaded", "The gateway has no room for another connection now; try again soon.", None, Challenge::None, false),
    r("connect_failed", 502, "upstream-unreachable", "Upstream not reachable", "The server for this resource could not be reached.", None, Challenge::None, false),
    r("connect_timeout", 504, "upstream-timeout", "Upstream timeout", "The server for this resource did not answer in time.", None, Challenge::None, false),
    r("upstream_timeout", 504, "upstream-timeout", "Upstream timeout", "The server for this resource did not answer in time.", None, Challenge::None, false),
    r("upstream_failed", 502, "upstream-failed", "Upstream failed", "The server for this resource broke off or gave no answer that could be used.", None, Challenge::None, false),
    r("client_gone", 499, "client-gone", "Client gone", "The client closed the connection before it was answered.", None, Challenge::None, true),
    r("internal_error", 500, "internal-error", "Internal error", "The gateway failed; the request was not forwarded.", None, Challenge::None, true),
];
