use super::line::Second;
use super::line::push_text_value;
use super::*;
use crate::observe::escape;
use crate::observe::log::Format;
use prometheus::IntCounter;
use proptest::prelude::*;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;

const EVIL: &str = "a b\"=\\\x1B[2J\r\nforged=1\0\u{202E}\u{9B}\u{2028}\x7F";

fn record() -> AccessRecord<'static> {
    AccessRecord {
        time: Timestamp::from_unix_millis(1_700_000_000_042),
        request_id: "r-1",
        peer: Some("127.0.0.1:5000".parse().unwrap()),
        client: Some("2001:db8::1".parse().unwrap()),
        method: Some("GET"),
        host: Some("api.example.com"),
        path: Some("/v1/orders"),
        status: Some(403),
        reason: Some("insufficient_scope"),
        bytes_out: 12,
        duration: Duration::from_micros(1_234),
        ..AccessRecord::default()
    }
}

fn line(record: &AccessRecord<'_>, format: Format) -> String {
    let mut out = Vec::new();
    record.push_line(&mut out, format, &mut Second::default());
    String::from_utf8(out).unwrap()
}

/// Keeps the written bytes in memory. The first write blocks until `opened` receives a message.
struct Gate {
    opened: Option<mpsc::Receiver<()>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl io::Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(opened) = self.opened.take() {
            opened.recv().unwrap();
        }
        self.taken.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn counter() -> IntCounter {
    IntCounter::new("dropped_total", "Dropped.").unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_record_is_one_json_line_in_a_fixed_order_without_unknown_fields() {
    assert_eq!(
        line(&record(), Format::Json),
        r#"{"time":"2023-11-14T22:13:20.042Z","request_id":"r-1","peer":"127.0.0.1:5000","client":"2001:db8::1","method":"GET","host":"api.example.com","path":"/v1/orders","status":403,"decision":"deny","reason":"insufficient_scope","bytes_in":0,"bytes_out":12,"duration_ms":1.234}"#
            .to_owned()
            + "\n"
    );
}

#[test]
fn a_record_is_one_text_line_of_keys_and_values() {
    assert_eq!(
        line(&record(), Format::Text),
        "time=2023-11-14T22:13:20.042Z request_id=r-1 peer=127.0.0.1:5000 client=2001:db8::1 method=GET \
         host=api.example.com path=/v1/orders status=403 decision=deny reason=insufficient_scope bytes_in=0 bytes_out=12 \
         duration_ms=1.234\n"
    );
}

#[test]
fn every_field_is_written() {
    let endpoint = EndpointAddress::Inet("127.0.0.1:9".parse().unwrap());
    // Without `..`, so that a new field does not compile before it is set here.
    let full = AccessRecord {
        claim: Some("roles"),
        time: record().time,
        request_id: "r-1",
        listener: Some("admin"),
        actor: Some("client_1"),
        peer: Some("127.0.0.1:5000".parse().unwrap()),
        client: Some("2001:db8::1".parse().unwrap()),
        method: Some("GET"),
        host: Some("api.example.com"),
        path: Some("/v1/orders"),
        query: Some("q=1"),
        route: Some("orders"),
        status: Some(200),
        response: Some("cut"),
        decision: Decision::Allow,
        reason: Some("stream_ended"),
        rule: Some("writers"),
        would_deny: Some("limit_spent"),
        would_deny_by: Some("tried"),
        credential_type: Some("jwt"),
        subject: Some("alice"),
        client_id: Some("app"),
        organization: Some("org"),
        credential_id: Some("jti"),
        subscription: Some("sub-1"),
        plan: Some("gold"),
        issuer: Some("main"),
        limit: Some("per-key"),
        upstream: Some("billing"),
        endpoint: Some(&endpoint),
        upstream_attempts: 2,
        upstream_failure: Some("closed"),
        bytes_in: 7,
        bytes_out: 12,
        duration: Duration::from_millis(3),
        upstream_duration: Some(Duration::from_millis(2)),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
        user_agent: Some("curl"),
    };
    let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line(&full, Format::Json)).unwrap();
    assert_eq!(read.len(), 38);
    for (key, value) in [
        ("time", "2023-11-14T22:13:20.042Z"),
        ("request_id", "r-1"),
        ("listener", "admin"),
        ("actor", "client_1"),
        ("peer", "127.0.0.1:5000"),
        ("client", "2001:db8::1"),
        ("method", "GET"),
        ("host", "api.example.com"),
        ("path", "/v1/orders"),
        ("query", "q=1"),
        ("route", "orders"),
        ("response", "cut"),
        ("decision", "allow"),
        ("reason", "stream_ended"),
        ("claim", "roles"),
        ("rule", "writers"),
        ("would_deny", "limit_spent"),
        ("would_deny_by", "tried"),
        ("credential_type", "jwt"),
        ("subject", "alice"),
        ("client_id", "app"),
        ("organization", "org"),
        ("credential_id", "jti"),
        ("subscription", "sub-1"),
        ("plan", "gold"),
        ("issuer", "main"),
        ("limit", "per-key"),
        ("upstream", "billing"),
        ("endpoint", "127.0.0.1:9"),
        ("upstream_failure", "closed"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("user_agent", "curl"),
    ] {
        assert_eq!(read[key], value, "{key}");
    }
    for (key, value) in [
        ("status", 200.0),
        ("upstream_attempts", 2.0),
        ("bytes_in", 7.0),
        ("bytes_out", 12.0),
        ("duration_ms", 3.0),
        ("upstream_ms", 2.0),
    ] {
        assert_eq!(read[key].as_f64(), Some(value), "{key}");
    }
}

#[test]
fn s144_no_field_can_forge_a_line_a_key_or_a_terminal_command() {
    let evil = AccessRecord {
        host: Some(EVIL),
        path: Some(EVIL),
        subject: Some(EVIL),
        user_agent: Some(EVIL),
        ..record()
    };
    for format in [Format::Json, Format::Text] {
        let out = line(&evil, format);
        let line = out.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(escape::is_hidden), "{line:?}");
        assert!(line.contains("\\\"="), "a quote must not end the value: {line}");
    }
    let read: serde_json::Value = serde_json::from_str(&line(&evil, Format::Json)).unwrap();
    assert_eq!(read["path"], EVIL);
}

#[test]
fn text_values_are_quoted_when_bare_ones_could_be_misread() {
    for (text, expected) in [
        ("/v1/a?b", "/v1/a?b"),
        ("", r#""""#),
        ("a b", r#""a b""#),
        ("a=b", r#""a=b""#),
        (r#"a"b"#, r#""a\"b""#),
        (r"a\b", r#""a\\b""#),
        ("é", "\"é\""),
    ] {
        let mut out = Vec::new();
        push_text_value(&mut out, text);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn times_out_of_range_stay_at_the_end_of_the_calendar() {
    assert_eq!(
        rfc3339(Timestamp::from_unix_millis(0)).to_string(),
        "1970-01-01T00:00:00.000Z"
    );
    assert!(rfc3339(Timestamp::MAX).to_string().starts_with("9999-12-3"));
}

#[test]
fn a_slow_reader_costs_records_and_never_time() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (open, opened) = mpsc::channel();
    let gate = Gate {
        opened: Some(opened),
        taken: taken.clone(),
    };
    let dropped = counter();
    let length = line(&record(), Format::Text).len();
    let log = AccessLog::start_bounded(gate, Format::Text, dropped.clone(), 3 * length).unwrap();
    // The writing thread is blocked: three records are pending, and up to three more are in the blocked write.
    for _ in 0..20 {
        log.write(&record());
    }
    assert!((14..=17).contains(&dropped.get()), "{}", dropped.get());
    assert!(!log.flush(Duration::ZERO));
    open.send(()).unwrap();
    assert!(log.flush(PATIENCE));
    let written = taken.lock().unwrap().len() / length;
    assert_eq!(written as u64 + dropped.get(), 20);
}

#[test]
fn everything_written_before_a_flush_is_out_after_it() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate {
        opened: None,
        taken: taken.clone(),
    };
    let log = Arc::new(AccessLog::start(gate, Format::Json, counter()).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let log = log.clone();
            std::thread::spawn(move || (0..250).for_each(|_| log.write(&record())))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(log.flush(PATIENCE));
    let taken = taken.lock().unwrap();
    let lines: Vec<_> = std::str::from_utf8(&taken).unwrap().lines().collect();
    assert_eq!(lines.len(), 1000);
    assert!(
        lines
            .iter()
            .all(|it| serde_json::from_str::<serde_json::Value>(it).is_ok())
    );
}

#[test]
fn records_that_the_output_does_not_take_are_counted() {
    struct BrokenWriter;
    impl io::Write for BrokenWriter {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dropped = counter();
    let log = AccessLog::start(BrokenWriter, Format::Json, dropped.clone()).unwrap();
    log.write(&record());
    assert!(log.flush(PATIENCE));
    log.write(&record());
    assert!(log.flush(PATIENCE));
    assert_eq!(dropped.get(), 2);
}

#[test]
fn a_path_is_escaped_exactly_when_it_has_to_be() {
    for byte in 0..0x80_u8 {
        let text = char::from(byte).to_string();
        let record = AccessRecord {
            path: Some(&text),
            ..record()
        };
        let read: serde_json::Value = serde_json::from_str(&line(&record, Format::Json)).unwrap();
        assert_eq!(read["path"], text);
        let escaped = matches!(byte, b'"' | b'\\') || !(b' '..=b'~').contains(&byte);
        assert_eq!(
            line(&record, Format::Json).contains(&format!("\"{text}\"")),
            !escaped,
            "{byte}"
        );
    }
}

proptest! {
    #[test]
    fn times_numbers_and_addresses_read_as_the_library_writes_them(
        millis in prop_oneof![0_u64..4_102_444_800_000, any::<u64>()],
        micros in prop_oneof![0_u64..3_000_000, (0_u64..5_000).prop_map(|whole| whole * 1_000), 0_u64..1_000_000_000_000_000],
        bytes in any::<u64>(),
        peer in any::<SocketAddr>(),
        client in any::<IpAddr>(),
    ) {
        let time = Timestamp::from_unix_millis(millis);
        let duration = Duration::from_micros(micros);
        let record = AccessRecord {
            time,
            peer: Some(peer),
            client: Some(client),
            bytes_out: bytes,
            duration,
            ..record()
        };
        let read: serde_json::Value = serde_json::from_str(&line(&record, Format::Json)).unwrap();
        prop_assert_eq!(&read["time"], &rfc3339(time).to_string());
        prop_assert_eq!(&read["peer"], &peer.to_string());
        prop_assert_eq!(&read["client"], &client.to_string());
        prop_assert_eq!(read["bytes_out"].as_u64(), Some(bytes));
        let took = micros as f64 / 1000.0;
        prop_assert_eq!(&read["duration_ms"], &serde_json::json!(took));
        let text = line(&record, Format::Text);
        let expected = format!(" duration_ms={took}\n");
        prop_assert!(text.ends_with(&expected), "{} {}", text, expected);
    }

    #[test]
    fn a_second_that_is_remembered_is_the_second_that_is_written(times in prop::collection::vec(0_u64..5_000, 1..20)) {
        let mut second = Second::default();
        for millis in times {
            let record = AccessRecord { time: Timestamp::from_unix_millis(millis), ..record() };
            let mut out = Vec::new();
            record.push_line(&mut out, Format::Json, &mut second);
            prop_assert_eq!(String::from_utf8(out).unwrap(), line(&record, Format::Json));
        }
    }

    #[test]
    fn any_path_reads_back_and_any_text_line_stays_one(path in any::<String>()) {
        let record = AccessRecord { path: Some(&path), ..record() };
        let read: serde_json::Value = serde_json::from_str(&line(&record, Format::Json)).unwrap();
        prop_assert_eq!(read["path"].as_str(), Some(path.as_str()));
        let text = line(&record, Format::Text);
        prop_assert_eq!(text.lines().count(), 1);
    }
}
