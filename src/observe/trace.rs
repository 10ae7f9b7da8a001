//! Which id does a request have, and which trace does it belong to? Keygate keeps a well-formed `x-request-id` or
//! `traceparent`, and otherwise generates a new one.

use crate::model::api_key::system_random;
use crate::model::hex;
use crate::model::secret::Secret;
use crate::observe::redact;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use siphasher::sip128::Hasher128;
use siphasher::sip128::SipHasher13;
use std::cell::Cell;
use std::hash::Hasher;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of one request in its access record, its response and its upstream request. Visible ASCII, so no output has
/// to escape the id. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the value of the request's `x-request-id` if the field occurs once, has 1 to 128 characters of
    /// `[A-Za-z0-9._-]`, and does not look like a credential. Otherwise returns a new id. Of two fields, the upstream
    /// might read the other one.
    pub fn of(headers: &HeaderMap) -> Self {
        only(headers, &REQUEST_ID)
            .filter(|value| is_request_id(value.as_bytes()))
            .map_or_else(Self::new, |value| Self(value.clone()))
    }

    /// Returns a new id: 128 unpredictable bits in hexadecimal.
    pub fn new() -> Self {
        Self(hex_value(&random_bits().to_be_bytes()))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only visible ASCII was let in")
    }

    pub fn header_value(&self) -> &HeaderValue {
        &self.0
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

fn is_request_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && std::str::from_utf8(id).is_ok_and(|id| !redact::has_credential(id))
}

/// A `traceparent` (W3C Trace Context section 3.2). Keygate records no spans, so it passes a well-formed `traceparent`
/// on unchanged (section 4.3 allows that), and the parent stays the client's span. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: HeaderValue,
    origin: TraceOrigin,
}

/// The origin of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceOrigin {
    /// The trace is that of the request's `traceparent`. The request's `tracestate` is passed on.
    Continued,
    /// Keygate started the trace. A `tracestate` of the request belongs to another trace and must be dropped, because
    /// the `traceparent` with it was not valid (section 3.3).
    Started,
}

impl TraceContext {
    /// Returns the request's trace if the request has exactly one well-formed `traceparent`, otherwise a new trace.
    pub fn of(headers: &HeaderMap) -> Self {
        let continued = only(headers, &TRACEPARENT).filter(|value| is_traceparent(value.as_bytes()));
        match continued {
            Some(value) => Self {
                traceparent: value.clone(),
                origin: TraceOrigin::Continued,
            },
            None => Self::new(),
        }
    }

    /// Returns a new trace. It is not sampled, because Keygate records no spans.
    pub fn new() -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // Set one bit in each id, because an id of zeros is invalid.
        hex::write(&(random_bits() | 1).to_be_bytes(), &mut text[3..35]);
        hex::write(&(random_bits() | 1).to_be_bytes()[8..], &mut text[36..52]);
        Self {
            traceparent: HeaderValue::from_bytes(&text).expect("only hexadecimal digits and dashes"),
            origin: TraceOrigin::Started,
        }
    }

    /// Returns the trace id, 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        let text = self.traceparent.to_str().expect("only visible ASCII was let in");
        &text[3..35]
    }

    pub fn header_value(&self) -> &HeaderValue {
        &self.traceparent
    }

    pub fn origin(&self) -> TraceOrigin {
        self.origin
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns whether `text` is `version "-" trace-id "-" parent-id "-" trace-flags` in lower case, without an id of zeros
/// (section 3.2.2). Version `00` must end there, a later version may continue after another dash (section 3.2.4), and
/// version `ff` is forbidden. Rejects a continuation of more than 200 bytes.
fn is_traceparent(text: &[u8]) -> bool {
    let Some((head, tail)) = text.split_at_checked(55) else {
        return false;
    };
    let has_dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
    let (version, trace_id, parent_id, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..]);
    let has_valid_end = match version {
        b"ff" => false,
        b"00" => tail.is_empty(),
        _ => tail.is_empty() || (tail[0] == b'-' && tail.len() <= 200 && tail.iter().all(u8::is_ascii_graphic)),
    };
    has_dashes
        && has_valid_end
        && [version, trace_id, parent_id, flags]
            .iter()
            .all(|part| is_lower_hex(part))
        && [trace_id, parent_id]
            .iter()
            .all(|id| id.iter().any(|byte| *byte != b'0'))
}

fn is_lower_hex(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn hex_value(bytes: &[u8; 16]) -> HeaderValue {
    let mut text = [0; 32];
    hex::write(bytes, &mut text);
    HeaderValue::from_bytes(&text).expect("only hexadecimal digits")
}

/// Returns the key from which ids are derived. The first call generates the key, so call this before the first request:
/// the system's random generator may take a tenth of a second for its first bits.
pub fn draw_key() -> &'static Secret<[u8; 16]> {
    static KEY: OnceLock<Secret<[u8; 16]>> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut key = Secret::new([0; 16]);
        key.change(|bytes| system_random(bytes));
        key
    })
}

/// Returns 128 bits that nobody outside can predict: a keyed hash of a counter, so that a request costs no system call.
/// Each thread has its own range of counts. Use the bits for ids only, never for a secret.
fn random_bits() -> u128 {
    /// The number of ids per thread. This allows 16 million threads.
    const RANGE: u64 = 1 << 40;
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static HASHER: SipHasher13 = SipHasher13::new_with_key(draw_key().expose());
        static COUNTER: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed).wrapping_mul(RANGE));
    }
    let count = COUNTER.with(|counter| counter.replace(counter.get().wrapping_add(1)));
    HASHER.with(|hasher| {
        let mut hasher = *hasher;
        hasher.write_u64(count);
        hasher.finish128().as_u128()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check_request_id(values: &[&str], kept: bool) {
        let id = RequestId::of(&headers(&REQUEST_ID, values));
        assert_eq!(values.contains(&id.as_str()), kept, "{values:?} became {id:?}");
        assert!(is_request_id(id.as_str().as_bytes()), "{id:?}");
    }

    #[track_caller]
    fn check_traceparent(values: &[&str], origin: TraceOrigin) {
        let trace = TraceContext::of(&headers(&TRACEPARENT, values));
        assert_eq!(trace.origin(), origin, "{values:?}");
        assert!(is_traceparent(trace.header_value().as_bytes()), "{trace:?}");
        match origin {
            TraceOrigin::Continued => assert_eq!(trace.header_value(), values[0]),
            TraceOrigin::Started => assert!(!values.contains(&trace.header_value().to_str().unwrap())),
        }
    }

    #[test]
    fn a_request_id_is_kept_only_when_it_needs_no_escaping() {
        check_request_id(&["a"], true);
        check_request_id(&["5b6f0f0e-7c1d.A_9"], true);
        check_request_id(&[&"a".repeat(128)], true);
        check_request_id(&[&"a".repeat(129)], false);
        for bad in ["", "a b", "a/b", "a\"b", "é", "a,b", "${jndi:x}", "a\tb"] {
            check_request_id(&[bad], false);
        }
        check_request_id(&[], false);
        check_request_id(&["a", "a"], false);
        check_request_id(&["a", "b"], false);
    }

    #[test]
    fn traceparent_is_parsed_as_in_w3c_trace_context_section_3_2() {
        check_traceparent(&[PARENT], TraceOrigin::Continued);
        check_traceparent(&[&PARENT.replace("-01", "-ff")], TraceOrigin::Continued);
        check_traceparent(&[&PARENT.replacen("00", "cc", 1)], TraceOrigin::Continued);
        check_traceparent(&[&format!("cc{}-what-comes", &PARENT[2..])], TraceOrigin::Continued);
        for bad in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-"),
            &format!("{PARENT}0"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "_"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.replace("-01", "-0g"),
            &format!("cc{}.what", &PARENT[2..]),
            &format!("cc{}-{}", &PARENT[2..], "a".repeat(200)),
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-0",
        ] {
            check_traceparent(&[bad], TraceOrigin::Started);
        }
        check_traceparent(&[], TraceOrigin::Started);
        check_traceparent(&[PARENT, PARENT], TraceOrigin::Started);
    }

    #[test]
    fn the_trace_id_is_the_second_field() {
        let trace = TraceContext::of(&headers(&TRACEPARENT, &[PARENT]));
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn made_ids_never_repeat_on_any_thread() {
        let made: Vec<String> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..500)
                        .map(|_| RequestId::new().as_str().to_owned())
                        .collect::<Vec<_>>()
                })
            })
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 2000);
    }
}
