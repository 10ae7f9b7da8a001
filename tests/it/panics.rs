//! Is each panic inside the gate answered, recorded and counted, and is no request forwarded after it (S146)?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::issuer::AUDIENCE;
use crate::support::issuer::ISSUER;
use crate::support::issuer::claims;
use crate::support::issuer::jwk_set;
use crate::support::issuer::token;
use crate::support::wait_for;
use keygate::config;
use keygate::gate::Gate;
use keygate::gate::live::LiveState;
use keygate::gate::snapshot::Snapshot;
use keygate::gate::stage::Stage;
use keygate::jose::jwks::Jwks;
use keygate::jose::sign::SigningKey;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use keygate::observe::access::AccessLog;
use keygate::observe::log::Format;
use keygate::observe::panics;
use keygate::runtime::assemble;
use keygate::runtime::descriptors::Room;
use keygate::runtime::workers::DataListener;
use keygate::runtime::workers::Workers;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;

/// Collects the access records.
#[derive(Clone, Default)]
struct RecordBuffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for RecordBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn s146_a_panic_in_any_stage_is_a_500_on_record_and_lets_nothing_through() {
    let upstream = FakeUpstream::start();
    let key = SigningKey::generate_es256().unwrap();
    // Keys are set by hand, so no code connects to this URL.
    let issuer = format!("issuer: {ISSUER}\naudiences: [{AUDIENCE}]\njwks_url: https://issuer.example.test/jwks");
    let yaml = GatewayBuilder::new()
        .issuer("main", &issuer)
        .upstream("api", upstream.address())
        .route("open", "match: { path: /open }\npublic: true\nupstream: api")
        .route("api", "match: { path: /orders }\naccept: [jwt]\nupstream: api")
        .yaml();
    let config = config::parse(&yaml, "keygate.yaml".as_ref(), &|_| None).unwrap();
    let clock = SystemClock::new();
    let now = clock.now();
    let metrics = assemble::metrics(now.wall);
    // The hook of a running gate: a panic that it counted as well would count twice.
    panics::report(metrics.process.panics.clone());
    let panicking: Arc<Mutex<Option<Stage>>> = Arc::default();
    let probed = Arc::clone(&panicking);
    let mut live = LiveState::new(Arc::clone(&metrics), "127.0.0.1:9".parse().unwrap());
    live.probe = Some(Box::new(move |stage| {
        let chosen = *probed.lock().unwrap();
        assert_ne!(chosen, Some(stage), "on purpose");
    }));
    let snapshot = Snapshot::compile(&config, &live).unwrap();
    let set = jwk_set(&[key.public_jwk()]);
    let keys = snapshot.issuers[0].keys().unwrap();
    keys.start_attempt(now)
        .succeed(set.as_bytes(), Jwks::parse(set.as_bytes()).unwrap(), now);
    let buffer = RecordBuffer::default();
    let access = AccessLog::start(
        buffer.clone(),
        Format::Json,
        metrics.logs.access_records_dropped.clone(),
    )
    .unwrap();
    let gate = Gate::new(snapshot, Arc::new(live), Arc::new(clock), access);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let workers = Workers::start(
        1,
        &gate,
        vec![DataListener {
            socket: listener,
            settings: Arc::default(),
        }],
        Room::UNLIMITED,
    )
    .unwrap();

    let good = token(&key, &claims());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {good}\r\n\r\n");
    let mut records = 0;
    let mut forwarded = 0;
    let mut panics = 0;
    let stages = [
        Stage::Accept,
        Stage::Intake,
        Stage::Authenticate,
        Stage::Authorize,
        Stage::Limit,
    ];
    // Twice, so that a lock poisoned by the first panic would show.
    for stage in stages.into_iter().chain(stages) {
        *panicking.lock().unwrap() = Some(stage);
        let mut client = RawClient::connect(address);
        let response = client.exchange(request("/orders"));
        assert_eq!(response.status, 500, "{stage:?}: {}", response.text());
        assert_eq!(response.json()["type"], "urn:keygate:problem:internal-error");
        assert!(!response.text().contains("on purpose"));
        assert!(client.is_closed(), "{stage:?}");
        assert_eq!(upstream.received().len(), forwarded, "{stage:?} let it through");
        records += 1;
        panics += 1;
        assert_eq!(metrics.process.panics.get(), panics);
        let id = response.header("x-request-id").unwrap();
        assert_eq!(record(&gate, &buffer, records, id)["reason"], "internal_error");
        // A public route skips authentication and authorization.
        let status = RawClient::connect(address).exchange(request("/open")).status;
        records += 1;
        match stage {
            Stage::Authenticate | Stage::Authorize => {
                assert_eq!(status, 200, "{stage:?}");
                forwarded += 1;
            }
            Stage::Accept | Stage::Intake | Stage::Limit => {
                assert_eq!(status, 500, "{stage:?}");
                panics += 1;
            }
        }
        *panicking.lock().unwrap() = None;
        assert_eq!(
            RawClient::connect(address).exchange(request("/orders")).status,
            200,
            "{stage:?}"
        );
        records += 1;
        forwarded += 1;
    }
    workers.end();
    // The hook is of the whole process.
    drop(std::panic::take_hook());
}

/// Returns the record of request `id`, after `count` records have been written.
fn record(gate: &Gate, buffer: &RecordBuffer, count: usize, id: &str) -> serde_json::Value {
    wait_for("the records are written", || {
        gate.flush_records(PATIENCE);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let complete = lines.len() >= count;
        let found = lines.into_iter().find(|line| line["request_id"] == id);
        found.filter(|_| complete)
    })
}
