//! How is an access record written as one line of JSON or text? By code of Keygate's own, because every request writes
//! a line, and `serde_json`, `jiff` and `Display` took six times as many instructions.

use crate::model::clock::Timestamp;
use crate::model::endpoint_address::EndpointAddress;
use crate::observe::access::AccessRecord;
use crate::observe::access::rfc3339;
use crate::observe::escape;
use crate::observe::log::Format;
use crate::observe::redact;
use std::io::Write;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u64),
    /// Written in milliseconds, with up to three decimals.
    Millis(Duration),
    Time(Timestamp),
    Peer(SocketAddr),
    Address(IpAddr),
}

/// The name of a field with the punctuation around the name.
#[derive(Clone, Copy)]
struct Key {
    json: &'static str,
    text: &'static str,
}

/// Concatenates a [`Key`] at compile time, so that each key is copied in one piece.
macro_rules! key {
    ($name:literal) => {
        Key {
            json: concat!(",\"", $name, "\":"),
            text: concat!(" ", $name, "="),
        }
    };
}

/// The cached text of the last second, so that only the first of many records in one second computes the date.
#[derive(Debug, Default)]
pub(super) struct Second {
    unix_secs: u64,
    /// The time up to and including the decimal point; empty before the first record.
    text: String,
}

/// Writes the fields of one record.
pub(super) struct Line<'o> {
    out: &'o mut Vec<u8>,
    format: Format,
    second: &'o mut Second,
}

impl AccessRecord<'_> {
    /// Appends the record as one line, with a line break at its end.
    pub(super) fn push_line(&self, out: &mut Vec<u8>, format: Format, second: &mut Second) {
        let start = out.len();
        let mut line = Line { out, format, second };
        self.for_each_field(&mut |key, value| line.put(key, value));
        // The first key also begins with a comma or a space: replace or remove that byte.
        match format {
            Format::Json => {
                line.out[start] = b'{';
                line.out.extend_from_slice(b"}\n");
            }
            Format::Text => {
                line.out.remove(start);
                line.out.push(b'\n');
            }
        }
    }

    /// Calls `put` for every known field, in the order of the line.
    fn for_each_field(&self, put: &mut impl FnMut(Key, Value<'_>)) {
        // In the order in which people read: time, origin, request, outcome, identity, destination.
        put(key!("time"), Value::Time(self.time));
        put(key!("request_id"), Value::Text(self.request_id));
        if let Some(listener) = self.listener {
            put(key!("listener"), Value::Text(listener));
        }
        if let Some(peer) = self.peer {
            put(key!("peer"), Value::Peer(peer));
        }
        if let Some(client) = self.client {
            put(key!("client"), Value::Address(client));
        }
        for (key, value) in [
            (key!("method"), self.method),
            (key!("host"), self.host),
            (key!("path"), self.path),
            (key!("query"), self.query),
        ] {
            if let Some(value) = value {
                put(key, Value::Text(&redact::credentials(value)));
            }
        }
        if let Some(route) = self.route {
            put(key!("route"), Value::Text(route));
        }
        if let Some(status) = self.status {
            put(key!("status"), Value::Number(status.into()));
        }
        for (key, value) in [
            (key!("response"), self.response),
            (key!("decision"), Some(self.decision.as_str())),
            (key!("reason"), self.reason),
            (key!("claim"), self.claim),
            (key!("rule"), self.rule),
            (key!("would_deny"), self.would_deny),
            (key!("would_deny_by"), self.would_deny_by),
            (key!("actor"), self.actor),
            (key!("credential_type"), self.credential_type),
            (key!("subject"), self.subject),
            (key!("client_id"), self.client_id),
            (key!("organization"), self.organization),
            (key!("credential_id"), self.credential_id),
            (key!("subscription"), self.subscription),
            (key!("plan"), self.plan),
            (key!("issuer"), self.issuer),
            (key!("limit"), self.limit),
            (key!("upstream"), self.upstream),
        ] {
            if let Some(value) = value {
                put(key, Value::Text(value));
            }
        }
        match self.endpoint {
            Some(EndpointAddress::Inet(address)) => put(key!("endpoint"), Value::Peer(*address)),
            Some(unix @ EndpointAddress::Unix(_)) => put(key!("endpoint"), Value::Text(&unix.to_string())),
            None => {}
        }
        if self.upstream_attempts > 1 {
            put(key!("upstream_attempts"), Value::Number(self.upstream_attempts.into()));
        }
        if let Some(failure) = self.upstream_failure {
            put(key!("upstream_failure"), Value::Text(failure));
        }
        put(key!("bytes_in"), Value::Number(self.bytes_in));
        put(key!("bytes_out"), Value::Number(self.bytes_out));
        put(key!("duration_ms"), Value::Millis(self.duration));
        if let Some(duration) = self.upstream_duration {
            put(key!("upstream_ms"), Value::Millis(duration));
        }
        if let Some(trace_id) = self.trace_id {
            put(key!("trace_id"), Value::Text(trace_id));
        }
        if let Some(user_agent) = self.user_agent {
            put(key!("user_agent"), Value::Text(&redact::credentials(user_agent)));
        }
    }
}

impl Line<'_> {
    fn put(&mut self, key: Key, value: Value<'_>) {
        match self.format {
            Format::Json => self.out.extend_from_slice(key.json.as_bytes()),
            Format::Text => self.out.extend_from_slice(key.text.as_bytes()),
        }
        match (value, self.format) {
            (Value::Text(text), Format::Json) => push_json_text(self.out, text),
            (Value::Text(text), Format::Text) => push_text_value(self.out, text),
            (Value::Number(number), _) => push_number(self.out, number),
            (Value::Millis(duration), _) => self.push_millis(duration),
            (Value::Time(time), _) => self.quoted(|line| line.push_time(time)),
            (Value::Peer(peer), _) => self.quoted(|line| push_peer(line.out, peer)),
            (Value::Address(address), _) => self.quoted(|line| push_address(line.out, address)),
        }
    }

    /// Writes a value that has no characters to escape: in quotes as JSON, without quotes as text.
    fn quoted(&mut self, push: impl FnOnce(&mut Self)) {
        let quote: &[u8] = match self.format {
            Format::Json => b"\"",
            Format::Text => b"",
        };
        self.out.extend_from_slice(quote);
        push(self);
        self.out.extend_from_slice(quote);
    }

    fn push_time(&mut self, time: Timestamp) {
        let unix_secs = time.as_unix_secs();
        if self.second.unix_secs != unix_secs || self.second.text.is_empty() {
            let whole = rfc3339(Timestamp::from_unix_secs(unix_secs)).to_string();
            // Only `jiff::Timestamp::MAX` has milliseconds here, for every later time: do not cache it.
            let Some(text) = whole.strip_suffix("000Z") else {
                return self.out.extend_from_slice(whole.as_bytes());
            };
            text.clone_into(&mut self.second.text);
            self.second.unix_secs = unix_secs;
        }
        let millis = time.as_unix_millis() % 1000;
        self.out.extend_from_slice(self.second.text.as_bytes());
        self.out.extend_from_slice(&three_digits(millis));
        self.out.push(b'Z');
    }

    /// Writes milliseconds with up to three decimals. JSON has at least one decimal, so that readers see one number
    /// type.
    fn push_millis(&mut self, duration: Duration) {
        // At most `u64::MAX` microseconds, 584 000 years.
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        push_number(self.out, micros / 1000);
        let digits = three_digits(micros % 1000);
        let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        let decimals = match (zeros, self.format) {
            (3, Format::Json) => &digits[..1],
            (zeros, _) => &digits[..3 - zeros],
        };
        if !decimals.is_empty() {
            self.out.push(b'.');
            self.out.extend_from_slice(decimals);
        }
    }
}

fn push_json_text(out: &mut Vec<u8>, text: &str) {
    // Nearly every text is printable ASCII. The loop has no early exit, so that the compiler checks sixteen bytes at
    // once.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        escape::push_json(out, text).expect("text is always JSON");
    }
}

/// Writes `text` without quotes if all of it is visible ASCII other than `"`, `=` and `\`. Otherwise writes a JSON
/// string, which `logfmt` readers understand.
pub(super) fn push_text_value(out: &mut Vec<u8>, text: &str) {
    let is_bare = |byte: u8| byte.is_ascii_graphic() & (byte != b'"') & (byte != b'=') & (byte != b'\\');
    if !text.is_empty() && text.bytes().fold(true, |all, byte| all & is_bare(byte)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_json_text(out, text);
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer {
        SocketAddr::V4(v4) => {
            push_address(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            push_number(out, peer.port().into());
        }
        SocketAddr::V6(_) => write!(out, "{peer}").expect(MEMORY_WRITE),
    }
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let [first, rest @ ..] = v4.octets();
            push_number(out, first.into());
            for octet in rest {
                out.push(b'.');
                push_number(out, octet.into());
            }
        }
        // The standard library abbreviates the zeros of IPv6 addresses.
        IpAddr::V6(v6) => write!(out, "{v6}").expect(MEMORY_WRITE),
    }
}

const MEMORY_WRITE: &str = "memory takes what is written to it";

/// Returns the decimal digits of `number`, which is below 1000.
fn three_digits(number: u64) -> [u8; 3] {
    [100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8)
}
