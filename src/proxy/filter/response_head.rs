//! Which head does the client receive for the response of the upstream?

use crate::gate::answer::cors;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::media_type;
use crate::proxy::forward::request_fields;
use crate::proxy::forward::response_fields;
use crate::proxy::forward::response_fields::ResponseRules;
use crate::proxy::forward::response_fields::UpstreamFields;
use crate::proxy::forward::response_paths;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use pingora::http::ResponseHeader;

/// Changes the head of the upstream's response into that for the client. Returns whether the response is a stream.
///
/// # Errors
/// pingora refuses a field that is added.
pub fn for_client(exchange: &mut Exchange, response: &mut ResponseHeader) -> pingora::Result<bool> {
    exchange.note_upstream_head();
    let status = response.status;
    let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    let rules = exchange.response_rules();
    let has_connection = response.headers.contains_key(header::CONNECTION);
    let keeps = |name: &HeaderName, value: &HeaderValue| {
        let is_kept = if is_interim {
            !response_fields::is_hop_by_hop(name.as_str())
        } else {
            rules.keeps(name.as_str(), value.as_bytes())
        };
        is_kept && !(has_connection && request_fields::is_connection_option(name, &response.headers))
    };
    // pingora reads `Connection` and `Upgrade` of a switch of protocols.
    let is_read_by_pingora = |name: &HeaderName| {
        status == StatusCode::SWITCHING_PROTOCOLS && matches!(*name, header::CONNECTION | header::UPGRADE)
    };
    // A rule may write another type for the client.
    let types = response.headers.get_all(header::CONTENT_TYPE);
    let streams = media_type::is_stream(status, types.iter().map(HeaderValue::as_bytes));
    let drops = |(name, value): &(&HeaderName, &HeaderValue)| !keeps(name, value) && !is_read_by_pingora(name);
    let dropped: Vec<HeaderName> = response
        .headers
        .iter()
        .filter(drops)
        .map(|(name, _)| name.clone())
        .collect();
    for name in &dropped {
        response.remove_header(name);
    }
    if !is_interim {
        rewrite_back(&rules, response)?;
    }
    let upstream = UpstreamFields {
        varies: response.headers.get_all(header::VARY).iter().any(cors::names_origin),
        lacks_protocol: status == StatusCode::SWITCHING_PROTOCOLS
            && !response.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL),
    };
    let mut added = Ok(false);
    if !is_interim {
        rules.put_added(upstream, |name, value| {
            if added.is_ok() {
                added = response.append_header(name, value);
            }
        });
    }
    added?;
    if is_interim {
        return Ok(false);
    }
    exchange.note_response(status, streams);
    Ok(streams)
}

/// Gives clients the host and the paths that they know, in the fields that name those of the upstream.
///
/// # Errors
/// pingora refuses a field.
fn rewrite_back(rules: &ResponseRules<'_>, response: &mut ResponseHeader) -> pingora::Result<()> {
    for name in response_paths::FIELDS {
        let changed = |value: &HeaderValue| {
            let changed = rules.changed(name.as_str(), value.as_bytes())?;
            HeaderValue::from_bytes(&changed).ok()
        };
        let values = response.headers.get_all(&name).iter();
        let values: Vec<_> = values.map(|value| (value.clone(), changed(value))).collect();
        if values.iter().all(|(_, changed)| changed.is_none()) {
            continue;
        }
        response.remove_header(&name);
        for (value, changed) in values {
            response.append_header(name.clone(), changed.unwrap_or(value))?;
        }
    }
    Ok(())
}
