//! Is there a token in a place that only some routes read: the header of an issuer, or the subprotocols of a browser's
//! WebSocket?

use crate::gate::accept::Inbound;
use crate::gate::accept::syntax;
use crate::gate::intake::IntakeError;
use crate::gate::intake::IntakeRules;
use crate::gate::intake::Place;
use crate::gate::intake::bearer;
use crate::jose::base64url;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use std::borrow::Cow;

/// The subprotocol that a browser offers beside the one with its token. It is the only one of the two that a response may
/// name, because a browser closes a WebSocket for which the server chose none of the offered ones (RFC 6455 section 4.1).
pub static WEBSOCKET_PROTOCOL: HeaderValue = HeaderValue::from_static("keygate.bearer");
/// The start of the subprotocol with the token, in base64url.
const TOKEN_START: &[u8] = b"bearer.";

/// Returns the token of the one further place that has one, and the place; `None` where none has one.
///
/// # Errors
/// Two places have a credential, `Authorization` and the header of API keys among them, or the one has not exactly one token.
pub(super) fn find<'r>(
    inbound: &Inbound<'r>,
    rules: &IntakeRules,
) -> Result<Option<(Place, Cow<'r, str>)>, IntakeError> {
    if rules.token_headers.is_empty() && !rules.websocket_token {
        return Ok(None);
    }
    let headers = inbound.headers();
    let in_headers = rules.token_headers.iter().enumerate();
    let in_headers = in_headers
        .filter(|(_, name)| headers.contains_key(*name))
        .map(|(index, _)| Place::TokenHeader(index));
    let in_protocols =
        (rules.websocket_token && token_entries(headers).next().is_some()).then_some(Place::WebSocketProtocols);
    let mut places = in_headers.chain(in_protocols);
    let Some(place) = places.next() else {
        return Ok(None);
    };
    let fields = inbound.fields();
    if places.next().is_some() || fields.authorization.is_present() || fields.api_key.is_present() {
        return Err(IntakeError::TwoPlaces);
    }
    let token = match place {
        Place::TokenHeader(index) => Cow::Borrowed(in_header(headers, &rules.token_headers[index], rules)?),
        Place::WebSocketProtocols => Cow::Owned(in_protocol(inbound, rules)?),
        Place::Authorization | Place::ApiKeyHeader => return Ok(None),
    };
    Ok(Some((place, token)))
}

fn in_header<'r>(headers: &'r HeaderMap, name: &HeaderName, rules: &IntakeRules) -> Result<&'r str, IntakeError> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(IntakeError::TokenHeaderRepeated);
    };
    if value.as_bytes().contains(&b',') {
        return Err(IntakeError::TokenHeaderRepeated);
    }
    if value.len() > rules.credential_bytes_max {
        return Err(IntakeError::TooLong);
    }
    let text = value.to_str().map_err(|_| IntakeError::TokenHeaderMalformed)?;
    if bearer::is_token68(text.as_bytes()) {
        Ok(text)
    } else {
        Err(IntakeError::TokenHeaderMalformed)
    }
}

fn in_protocol(inbound: &Inbound<'_>, rules: &IntakeRules) -> Result<String, IntakeError> {
    let headers = inbound.headers();
    let mut entries = token_entries(headers);
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err(IntakeError::TwoPlaces);
    };
    // Every other request can set `Authorization`. Refused rather than ignored: a credential is there, and a proxy in front
    // that drops `Upgrade` is a common mistake.
    if !inbound.is_websocket_upgrade() {
        return Err(IntakeError::ProtocolWithoutUpgrade);
    }
    if !protocols(headers).any(|entry| entry == WEBSOCKET_PROTOCOL.as_bytes()) {
        return Err(IntakeError::ProtocolAlone);
    }
    // Before decoding, which allocates (S022): base64 makes four characters of three bytes.
    if entry.len() - TOKEN_START.len() > rules.credential_bytes_max.div_ceil(3) * 4 {
        return Err(IntakeError::TooLong);
    }
    let malformed = IntakeError::ProtocolMalformed;
    let encoded = std::str::from_utf8(&entry[TOKEN_START.len()..]).map_err(|_| malformed)?;
    let bytes = base64url::decode(encoded).map_err(|_| malformed)?;
    let token = String::from_utf8(bytes).map_err(|_| malformed)?;
    if token.len() > rules.credential_bytes_max {
        return Err(IntakeError::TooLong);
    }
    if bearer::is_token68(token.as_bytes()) {
        Ok(token)
    } else {
        Err(malformed)
    }
}

/// Returns whether the client offers [`WEBSOCKET_PROTOCOL`].
pub fn offers_websocket_protocol(headers: &HeaderMap) -> bool {
    protocols(headers).any(|entry| entry == WEBSOCKET_PROTOCOL.as_bytes())
}

/// Returns the subprotocols that the client offers, without those that carry its token; `None` where none is left.
pub fn without_token_entries(headers: &HeaderMap) -> Option<HeaderValue> {
    let rest: Vec<&[u8]> = protocols(headers)
        .filter(|entry| !is_token_entry(entry) && *entry != WEBSOCKET_PROTOCOL.as_bytes())
        .collect();
    if rest.is_empty() {
        None
    } else {
        HeaderValue::from_bytes(&rest.join(&b", "[..])).ok()
    }
}

/// Returns whether `value` of `Sec-WebSocket-Protocol` names a subprotocol with a token.
pub fn has_token_entry(value: &[u8]) -> bool {
    syntax::members(value).any(is_token_entry)
}

fn is_token_entry(entry: &[u8]) -> bool {
    entry.starts_with(TOKEN_START)
}

fn token_entries(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    protocols(headers).filter(|entry| is_token_entry(entry))
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values.flat_map(|value| syntax::members(value.as_bytes()))
}
