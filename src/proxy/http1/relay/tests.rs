use super::*;
use crate::config;
use crate::gate::Gate;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::Digester;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyRecord;
use crate::observe::access::AccessLog;
use crate::observe::log::Format;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::NextStep;
use pingora::protocols::Stream;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;
use tokio::time::sleep;

/// The time of the wall clock, in Unix seconds, which stands still. tokio's clock advances when all tasks wait.
const NOW: u64 = 1_700_000_000;
/// The capacity of a connection in bytes: if one end does not read, the other end can write no more than this.
const WIRE_BYTES: usize = 256;

/// The head of each request that is relayed.
const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";

const BODY_READ: Duration = Duration::from_millis(1_000);
const CLIENT_WRITE: Duration = Duration::from_millis(2_000);
const UPSTREAM_READ: Duration = Duration::from_millis(3_000);
const UPSTREAM_WRITE: Duration = Duration::from_millis(4_000);
const TOTAL: Duration = Duration::from_millis(10_000);
const TICK: Duration = Duration::from_millis(1);

/// The path of the configuration, for relative paths in it: `keys.yaml` is in the same folder.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/keygate.yaml");

const YAML: &str = "
listeners: [{ address: 127.0.0.1:0 }]
requests: { body_read_timeout: 1s, idle_timeout: 2s }
api_keys: { file: keys.yaml }
upstreams:
  api:
    endpoints: [\"127.0.0.1:9\"]
    read_timeout: 3s
    write_timeout: 4s
    total_timeout: 10s
routes:
  - { name: open, match: { path: /open }, public: true, upstream: api }
  - { name: expects, match: { path: /expects }, public: true, upstream: api }
  - { name: keyed, match: { path: /keyed }, accept: [api_key], upstream: api }
  - { name: patient, match: { path: /patient }, public: true, upstream: api, read_timeout: 6s, write_timeout: 7s }
  - { name: quick, match: { path: /quick }, public: true, upstream: api, total_timeout: 5s }
";

/// A gate and an API key that it accepts.
struct Fixture {
    gate: Arc<Gate>,
    key: ApiKeyText,
}

/// Returns a gate and an API key that expires `key_lifetime` after [`NOW`].
fn fixture(key_lifetime: Option<Duration>) -> Fixture {
    fixture_of(YAML, key_lifetime)
}

fn fixture_of(yaml: &str, key_lifetime: Option<Duration>) -> Fixture {
    let config = config::parse(yaml, Path::new(FILE), &|_| None).unwrap();
    let clock = ManualClock::at(Timestamp::from_unix_secs(NOW));
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    let metrics = Arc::new(Metrics::new(&reasons, clock.now().wall));
    let dropped = metrics.logs.access_records_dropped.clone();
    let live = LiveState::new(metrics, "127.0.0.1:9".parse().unwrap());
    let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    live.directory.replace(vec![KeyRecord {
        expires_at: key_lifetime.map(|lifetime| Timestamp::from_unix_secs(NOW).saturating_add(lifetime)),
        ..KeyRecord::unrestricted(key.id(), Digester::new(None).digest(key.expose()))
    }]);
    let snapshot = Snapshot::compile(&config, &live).unwrap();
    let access = AccessLog::start(std::io::sink(), Format::Json, dropped).unwrap();
    Fixture {
        gate: Gate::new(snapshot, Arc::new(live), Arc::new(clock), access),
        key,
    }
}

/// The result of a relay, and its duration.
type End = (Result<Persistence, RelayError>, Duration);

impl Fixture {
    async fn exchange(&self, path: &str) -> Box<Exchange> {
        let request = http::Request::post(path)
            .header("host", "api.example.com")
            .header("x-api-key", self.key.expose());
        let request = if path != "/keyed" {
            http::Request::post(path).header("host", "api.example.com")
        } else {
            request
        };
        let request = match path {
            "/expects" => request.header("expect", "100-continue"),
            _ => request,
        };
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let from = Arc::new(Connection::new("192.0.2.7:50000".parse().unwrap(), None));
        let mut exchange = Exchange::begin(&self.gate, self.gate.snapshot(), parts, &from, self.gate.clock.now());
        let admitted = exchange.admit(pending()).await.unwrap();
        assert!(matches!(admitted, NextStep::Forward));
        exchange
    }

    /// Relays a request to `path` with a body of `body_bytes` between peers that behave as `client` and `upstream`.
    async fn carry(
        &self,
        path: &str,
        body_bytes: u64,
        client: impl AsyncFnOnce(DuplexStream),
        upstream: impl AsyncFnOnce(DuplexStream),
    ) -> End {
        let (near_client, far_client) = duplex(WIRE_BYTES);
        let (near_upstream, far_upstream) = duplex(WIRE_BYTES);
        let mut exchange = self.exchange(path).await;
        // The peers do not return before the relay ends.
        tokio::select! {
            end = relay(&mut exchange, body_bytes, Box::new(near_client), Box::new(near_upstream)) => end,
            ((), ()) = async { tokio::join!(client(far_client), upstream(far_upstream)) } => unreachable!("the relay ends first"),
        }
    }
}

/// Relays `exchange`, whose request has a body of `body_bytes`, between two connections.
async fn relay(exchange: &mut Exchange, body_bytes: u64, client: Stream, upstream: Stream) -> End {
    let mut downstream = Downstream::new(client);
    let mut wire = UpstreamConn::new(upstream);
    wire.write_buf.put(HEAD);
    let (_end, shutdown) = watch::channel(false);
    let spec = RelaySpec {
        chunked: false,
        downstream: ResponseMode {
            is_http10: false,
            is_persistent: true,
        },
        is_reused: false,
        shutdown: &shutdown,
    };
    let mut body = BodyReader::new(Framing::ContentLength(body_bytes));
    let began = Instant::now();
    let result = Relay::new(&spec, exchange, &mut downstream, &mut wire, &mut body, false)
        .run()
        .await;
    (result, began.elapsed())
}

/// Keeps the connection open and does nothing, for ever.
async fn hold(stream: DuplexStream) {
    let _open = stream;
    pending().await
}

async fn stay_silent(stream: DuplexStream) {
    hold(stream).await;
}

/// Reads until the connection ends.
async fn read_on(mut stream: DuplexStream) {
    let mut bytes = [0; 64];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    hold(stream).await;
}

/// Sends an empty 200 response after `pause`.
async fn respond_after(mut stream: DuplexStream, pause: Duration) {
    sleep(pause).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    hold(stream).await;
}

#[track_caller]
fn check_denied(end: &End, expected: &str, after: Duration) {
    match &end.0 {
        Err(RelayError::Interrupted(Interruption::Denied(denial))) => assert_eq!(denial.reason(), expected),
        other => panic!("{other:?}"),
    }
    check_time(end, after);
}

/// Checks that the relay lasted `after`, to two ticks: the paused clock advances only to the next timer.
#[track_caller]
fn check_time(end: &End, after: Duration) {
    assert!(end.1 >= after && end.1 < after + TICK * 2, "{:?} for {after:?}", end.1);
}

#[track_caller]
fn check_carried(end: &End) {
    assert!(end.0.is_ok(), "{:?}", end.0);
}

/// The system tells a reset once: here to the write of the body, so that the read sees the end alone.
#[tokio::test(start_paused = true)]
async fn a_reset_that_a_write_meets_is_a_reset_and_no_close() {
    use std::io::ErrorKind;
    for (write_error, failure) in [
        (ErrorKind::ConnectionReset, UpstreamFailure::Reset),
        // The upstream had closed its side before it got the bytes.
        (ErrorKind::BrokenPipe, UpstreamFailure::Closed),
    ] {
        let fixture = fixture(None);
        let mut exchange = fixture.exchange("/open").await;
        let (client, mut far_client) = duplex(WIRE_BYTES);
        far_client.write_all(b"ok").await.unwrap();
        let upstream = tokio_test::io::Builder::new()
            .write(HEAD)
            .write_error(write_error.into())
            .build();
        let end = relay(&mut exchange, 2, Box::new(client), Box::new(upstream)).await;
        check_denied(&end, "upstream_failed", Duration::ZERO);
        assert_eq!(exchange.upstream_failure(), Some(failure));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_speaks_something_else_is_not_waited_for() {
    for greeting in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"220 mail\r\n", b"\x15\x03", b"HTTX"] {
        let fixture = fixture(None);
        let mut exchange = fixture.exchange("/open").await;
        let (client, _far_client) = duplex(WIRE_BYTES);
        let (upstream, mut far_upstream) = duplex(WIRE_BYTES);
        far_upstream.write_all(greeting).await.unwrap();
        let end = relay(&mut exchange, 0, Box::new(client), Box::new(upstream)).await;
        check_denied(&end, "upstream_failed", Duration::ZERO);
        assert_eq!(exchange.upstream_failure(), Some(UpstreamFailure::NoHttp));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_has_its_read_timeout_to_respond_and_no_longer() {
    let fixture = fixture(None);
    let end = fixture
        .carry("/open", 0, read_on, async |stream| {
            respond_after(stream, UPSTREAM_READ - TICK).await;
        })
        .await;
    check_carried(&end);
    let end = fixture.carry("/open", 0, read_on, stay_silent).await;
    check_denied(&end, "upstream_timeout", UPSTREAM_READ);
}

#[tokio::test(start_paused = true)]
async fn the_timeouts_of_a_route_win_over_those_of_its_upstream() {
    let fixture = fixture(None);
    let longer = UPSTREAM_READ * 2;
    let end = fixture
        .carry("/patient", 0, read_on, async |stream| {
            respond_after(stream, longer - TICK).await;
        })
        .await;
    check_carried(&end);
    let end = fixture.carry("/patient", 0, read_on, stay_silent).await;
    check_denied(&end, "upstream_timeout", longer);
    let end = fixture
        .carry("/quick", 0, read_on, async |stream| trickle(stream, "text/plain").await)
        .await;
    check_denied(&end, "upstream_timeout", TOTAL / 2);
    let body = vec![b'a'; WIRE_BYTES * 8];
    let send = async |mut stream: DuplexStream| {
        stream.write_all(&body).await.unwrap();
        read_on(stream).await;
    };
    let end = fixture.carry("/patient", body.len() as u64, send, stay_silent).await;
    check_denied(&end, "upstream_timeout", Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn each_part_of_a_response_starts_the_read_timeout_anew() {
    let end = fixture(None)
        .carry("/open", 0, read_on, async |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                .await
                .unwrap();
            sleep(UPSTREAM_READ - TICK).await;
            stream.write_all(b"a").await.unwrap();
            stay_silent(stream).await;
        })
        .await;
    check_denied(&end, "upstream_timeout", UPSTREAM_READ * 2 - TICK);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_has_its_write_timeout_to_take_each_part_of_a_request() {
    let body = vec![b'a'; WIRE_BYTES * 8];
    let send = async |mut stream: DuplexStream| {
        stream.write_all(&body).await.unwrap();
        read_on(stream).await;
    };
    let fixture = fixture(None);
    let length = body.len() as u64;
    let end = fixture.carry("/open", length, send, stay_silent).await;
    check_denied(&end, "upstream_timeout", UPSTREAM_WRITE);
    let end = fixture
        .carry("/open", length, send, async |mut stream| {
            sleep(UPSTREAM_WRITE - TICK).await;
            let mut taken = vec![0; HEAD.len() + body.len()];
            stream.read_exact(&mut taken).await.unwrap();
            respond_after(stream, Duration::ZERO).await;
        })
        .await;
    check_carried(&end);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_the_body_timeout_for_each_part_of_its_body() {
    let send_after = |pause: Duration| {
        async move |mut stream: DuplexStream| {
            stream.write_all(b"1234").await.unwrap();
            sleep(pause).await;
            stream.write_all(b"567890").await.unwrap();
            read_on(stream).await;
        }
    };
    let serve = async |mut stream: DuplexStream| {
        let mut taken = vec![0; HEAD.len() + 10];
        stream.read_exact(&mut taken).await.unwrap();
        respond_after(stream, Duration::ZERO).await;
    };
    let fixture = fixture(None);
    let end = fixture.carry("/open", 10, send_after(BODY_READ - TICK), serve).await;
    check_carried(&end);
    let end = fixture.carry("/open", 10, send_after(BODY_READ + TICK), serve).await;
    check_denied(&end, "body_timeout", BODY_READ);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_the_body_timeout_also_where_the_upstreams_are_shorter() {
    let stall = async |mut stream: DuplexStream| {
        stream.write_all(b"1234").await.unwrap();
        hold(stream).await;
    };
    let patient = YAML.replace("body_read_timeout: 1s", "body_read_timeout: 7s");
    let end = fixture_of(&patient, None).carry("/open", 10, stall, read_on).await;
    check_denied(&end, "body_timeout", Duration::from_secs(7));
    let longer = YAML.replace("body_read_timeout: 1s", "body_read_timeout: 20s");
    let end = fixture_of(&longer, None).carry("/open", 10, stall, read_on).await;
    check_denied(&end, "body_timeout", TOTAL);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_has_its_read_timeout_from_the_end_of_the_body_on() {
    let patient = YAML.replace("body_read_timeout: 1s", "body_read_timeout: 7s");
    let send_late = async |mut stream: DuplexStream| {
        stream.write_all(b"1234").await.unwrap();
        sleep(UPSTREAM_READ * 2).await;
        stream.write_all(b"567890").await.unwrap();
        read_on(stream).await;
    };
    let end = fixture_of(&patient, None).carry("/open", 10, send_late, read_on).await;
    check_denied(&end, "upstream_timeout", UPSTREAM_READ * 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_100_continue_waits_as_long_as_for_a_response_and_blames_no_endpoint() {
    let fixture = fixture(None);
    let mut exchange = fixture.exchange("/expects").await;
    let (client, _far_client) = duplex(WIRE_BYTES);
    let (upstream, _far_upstream) = duplex(WIRE_BYTES);
    let end = relay(&mut exchange, 10, Box::new(client), Box::new(upstream)).await;
    check_denied(&end, "body_timeout", UPSTREAM_READ);
    assert_eq!(exchange.upstream_failure(), None);
    let end = fixture
        .carry("/expects", 10, read_on, async |mut stream| {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            hold(stream).await;
        })
        .await;
    check_denied(&end, "body_timeout", BODY_READ);
}

#[tokio::test(start_paused = true)]
async fn the_good_part_of_a_broken_response_is_sent_also_to_a_slow_client() {
    // Good part and fault arrive in one read; with the head for the client, the good part does not fit into its wire.
    let good = "a".repeat(WIRE_BYTES / 2);
    let response = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{good}\r\nzz\r\n",
        good.len()
    );
    let read_late = async |stream: DuplexStream| {
        sleep(CLIENT_WRITE - TICK).await;
        read_on(stream).await;
    };
    let respond = async |mut stream: DuplexStream| {
        stream.write_all(response.as_bytes()).await.unwrap();
        hold(stream).await;
    };
    // The relay fails when the client has taken the good part, and not when it finds the fault.
    let end = fixture(None).carry("/open", 0, read_late, respond).await;
    check_denied(&end, "upstream_failed", CLIENT_WRITE - TICK);
    // A client that takes nothing is blamed itself.
    let end = fixture(None).carry("/open", 0, stay_silent, respond).await;
    check_denied(&end, "client_gone", CLIENT_WRITE);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_response_is_given_up() {
    let body = vec![b'a'; WIRE_BYTES * 8];
    let respond = async |mut stream: DuplexStream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        hold(stream).await;
    };
    let fixture = fixture(None);
    let end = fixture.carry("/open", 0, stay_silent, respond).await;
    check_denied(&end, "client_gone", CLIENT_WRITE);
    let end = fixture
        .carry(
            "/open",
            0,
            async |stream| {
                sleep(CLIENT_WRITE - TICK).await;
                read_on(stream).await;
            },
            respond,
        )
        .await;
    check_carried(&end);
}

/// Sends an event before each read timeout is over, until the connection ends.
async fn trickle(mut stream: DuplexStream, content_type: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    while stream.write_all(b"data: 1\n\n").await.is_ok() {
        sleep(UPSTREAM_READ - TICK).await;
    }
    hold(stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_trickles_ends_with_the_total_timeout() {
    let end = fixture(None)
        .carry("/open", 0, read_on, async |stream| trickle(stream, "text/plain").await)
        .await;
    check_denied(&end, "upstream_timeout", TOTAL);
}

#[tokio::test(start_paused = true)]
async fn s038_a_stream_outlasts_the_total_timeout_and_ends_with_its_credential() {
    for lifetime in [TOTAL / 2, TOTAL * 3] {
        let end = fixture(Some(lifetime))
            .carry("/keyed", 0, read_on, async |stream| {
                trickle(stream, "text/event-stream").await;
            })
            .await;
        let stream_ended = matches!(end.0, Err(RelayError::Interrupted(Interruption::StreamEnded)));
        assert!(stream_ended, "{:?}", end.0);
        check_time(&end, lifetime);
    }
}

#[tokio::test(start_paused = true)]
async fn s038_a_stream_ends_within_a_second_of_the_revocation_of_its_key() {
    let fixture = fixture(None);
    let (gate, id) = (Arc::clone(&fixture.gate), fixture.key.id());
    let revoked_at = TOTAL * 2 + TICK;
    let end = fixture
        .carry(
            "/keyed",
            0,
            async |stream| {
                let revoke = async {
                    sleep(revoked_at).await;
                    gate.live.directory.revoke(id);
                };
                tokio::join!(revoke, read_on(stream));
            },
            async |stream| trickle(stream, "text/event-stream").await,
        )
        .await;
    let stream_ended = matches!(end.0, Err(RelayError::Interrupted(Interruption::StreamEnded)));
    assert!(stream_ended, "{:?}", end.0);
    assert!(
        end.1 >= revoked_at && end.1 <= revoked_at + Duration::from_secs(1),
        "{:?}",
        end.1
    );
}
