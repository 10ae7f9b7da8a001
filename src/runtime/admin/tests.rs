use crate::control::admin;
use crate::control::admin::access::Access;
use crate::control::admin::issuers::NoIssuers;
use crate::control::admin::upstreams::NoUpstreams;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::observe::access::AccessRecord;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use crate::observe::ready::Readiness;
use crate::runtime::admin::endpoints::Admin;
use crate::runtime::admin::endpoints::HostNames;
use crate::runtime::admin::listener::BOUNDS;
use crate::runtime::admin::listener::Bounds;
use crate::runtime::admin::listener::HEADERS_MAX;
use crate::runtime::admin::listener::serve_within;
use crate::runtime::admin::record::AccessRecorder;
use crate::runtime::admin::record::Records;
use crate::runtime::hand_over::Ownership;
use crate::runtime::test_server::exchange;
use crate::runtime::test_server::with_server;
use axum::Router;
use axum::routing::post;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;

const NO_REASONS: Reasons = Reasons {
    denials: &[],
    heads: &[],
    connections: &[],
};

/// Drops the records; tests/it reads those of a gate.
struct NoRecords;

impl AccessRecorder for NoRecords {
    fn write(&self, _: &AccessRecord<'_>) {}
}

/// Notifies of each record.
#[derive(Default)]
struct RecordSignal(Notify);

impl AccessRecorder for RecordSignal {
    fn write(&self, _: &AccessRecord<'_>) {
        self.0.notify_one();
    }
}

fn admin() -> Admin {
    let metrics = Arc::new(Metrics::new(&NO_REASONS, Timestamp::default()));
    Admin {
        readiness: Arc::new(Readiness::new()),
        api: admin::router(admin::AdminDependencies {
            control: None,
            issuers: Arc::new(NoIssuers),
            upstreams: Arc::new(NoUpstreams),
            access: Arc::new(Access::new(None)),
            client_jwks: None,
            keys: None,
            clock: Arc::new(SystemClock::new()),
        }),
        host_names: Arc::new(HostNames::new(vec!["keygate.internal".to_owned()])),
        records: Arc::new(Records {
            output: Arc::new(NoRecords),
            metrics: Arc::clone(&metrics),
            clock: Arc::new(SystemClock::new()),
        }),
        ownership: Ownership::default(),
        metrics,
    }
}

/// Serves `admin` within `bounds`, calls `client` with the address, and returns the result of `client`.
fn with_admin<T>(bounds: Bounds, admin: Admin, client: impl FnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let serve = move |listener, stop| serve_within(bounds, admin, listener, stop);
    with_server(listener, serve, client)
}

#[track_caller]
fn check(request: &str, status: u16) -> String {
    // `exchange` reads until the connection is closed.
    let closing = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let response = with_admin(BOUNDS, admin(), |address| exchange(address, closing));
    assert!(
        response.starts_with(&format!("HTTP/1.1 {status} ")),
        "{request:?} {response}"
    );
    assert!(response.contains("cache-control: no-store\r\n"), "{response}");
    response
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[test]
fn metrics_come_in_the_text_format() {
    let response = check(&get("/metrics", "127.0.0.1:9090"), 200);
    assert!(
        response.contains("content-type: text/plain; version=0.0.4"),
        "{response}"
    );
    assert!(response.contains("keygate_build_info{version="), "{response}");
}

#[test]
fn an_unready_process_is_alive() {
    check(&get("/livez", "localhost"), 200);
    let response = check(&get("/readyz", "localhost"), 503);
    assert!(
        response.contains(r#"{"name":"config","status":"failing""#),
        "{response}"
    );
}

#[test]
fn a_ready_process_answers_200() {
    let admin = admin();
    admin.readiness.config_loaded();
    let response = with_admin(BOUNDS, admin, |address| exchange(address, get("/readyz", "localhost")));
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn a_degraded_process_answers_200() {
    let admin = admin();
    admin.readiness.config_loaded();
    admin.readiness.config_reload_failed("line 3: unknown key");
    let response = with_admin(BOUNDS, admin, |address| exchange(address, get("/readyz", "localhost")));
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.contains(r#"{"status":"degraded","#), "{response}");
}

#[test]
fn any_other_path_or_method_is_not_found() {
    for request in [
        get("/", "localhost"),
        get("/metrics/", "localhost"),
        get("//metrics", "localhost"),
        get("/admin/v2/issuers", "localhost"),
        get("/admin", "localhost"),
        get("/debug/pprof", "localhost"),
        "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "DELETE /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    ] {
        let response = check(&request, 404);
        assert!(
            response.contains("content-type: application/problem+json\r\n"),
            "{response}"
        );
    }
}

#[test]
fn without_a_token_the_api_is_off_and_says_how_to_switch_it_on() {
    for path in ["/admin/v1/issuers", "/admin/v1/nothing"] {
        let response = check(&get(path, "localhost"), 403);
        assert!(
            response.contains("content-type: application/problem+json\r\n"),
            "{response}"
        );
        assert!(response.contains("set `admin.token`"), "{response}");
    }
}

#[test]
fn s151_a_foreign_host_is_refused() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:9090",
        "[::1]:9090",
        "localhost:9090",
        "LocalHost",
        "keygate.internal",
    ] {
        check(&get("/metrics", host), 200);
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil@localhost",
        "keygate.internal.",
        "0x7f.1",
        "",
    ] {
        let response = check(&get("/metrics", host), 421);
        assert!(response.contains("`admin.host_names`"), "{response}");
    }
    check("GET /metrics HTTP/1.1\r\n\r\n", 421);
    check(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        421,
    );
    check(
        "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        421,
    );
    check("GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
}

#[test]
fn s151_a_web_page_of_another_origin_is_refused() {
    check(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
        403,
    );
    check("GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403);
    let from =
        |origins: &str| format!("GET /metrics HTTP/1.1\r\nHost: localhost:9090\r\n{origins}Connection: close\r\n\r\n");
    // The page of the admin API, also behind a proxy that speaks TLS.
    check(&from("Origin: http://localhost:9090\r\n"), 200);
    check(&from("Origin: https://LocalHost:9090\r\n"), 200);
    for bad in [
        "Origin: http://localhost\r\n",
        "Origin: http://localhost:9091\r\n",
        "Origin: http://localhost:9090.evil.example\r\n",
        "Origin: http://evil.example/localhost:9090\r\n",
        "Origin: http://localhost:9090/\r\n",
        "Origin: localhost:9090\r\n",
        "Origin: ftp://localhost:9090\r\n",
        "Origin: \r\n",
        "Origin: http://localhost:9090\r\nOrigin: http://localhost:9090\r\n",
    ] {
        check(&from(bad), 403);
    }
    // A name that was pointed at this address is its own origin, and no name of this listener.
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n";
    check(rebound, 421);
}

#[test]
fn a_connection_serves_one_request_after_the_other_and_not_for_ever() {
    let open = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let three = format!("{open}{open}{}", get("/livez", "localhost"));
    let response = with_admin(BOUNDS, admin(), |address| exchange(address, three));
    assert_eq!(response.matches("HTTP/1.1 200 ").count(), 3, "{response}");
    assert_eq!(response.matches("connection: close\r\n").count(), 1, "{response}");
    // Without a further request the connection is closed.
    let bounds = Bounds {
        total: Duration::from_millis(50),
        ..BOUNDS
    };
    let response = with_admin(bounds, admin(), |address| exchange(address, open));
    assert_eq!(response.matches("HTTP/1.1 200 ").count(), 1, "{response}");
}

#[test]
fn a_head_that_never_ends_loses_its_connection_and_its_place() {
    let bounds = Bounds {
        connections: 1,
        head: Duration::from_millis(50),
        ..BOUNDS
    };
    with_admin(bounds, admin(), |address| {
        // The slow client has the only slot; the second is served because the first was cut off.
        let mut slow = TcpStream::connect(address).unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").unwrap();
        assert!(exchange(address, get("/livez", "localhost")).starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn a_change_goes_on_when_its_client_disconnects() {
    let (begun, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (client_is_gone, is_done) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let change = {
        let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
        let (client_is_gone, is_done) = (Arc::clone(&client_is_gone), Arc::clone(&is_done));
        async move || {
            begun.notify_one();
            client_is_gone.notified().await;
            is_done.store(true, Ordering::SeqCst);
            done.notify_one();
        }
    };
    let recorded = Arc::new(RecordSignal::default());
    let mut admin = admin();
    admin.api = Router::new().route("/admin/v1/change", post(change));
    admin.records = Arc::new(Records {
        output: Arc::clone(&recorded) as Arc<dyn AccessRecorder>,
        metrics: Arc::clone(&admin.metrics),
        clock: Arc::new(SystemClock::new()),
    });
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let patience = Duration::from_secs(20);
    with_admin(BOUNDS, admin, |address| {
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"POST /admin/v1/change HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        waiting.block_on(async {
            tokio::time::timeout(patience, begun.notified()).await.unwrap();
            drop(client);
            // The record is written when the connection drops the request.
            tokio::time::timeout(patience, recorded.0.notified()).await.unwrap();
            client_is_gone.notify_one();
            tokio::time::timeout(patience, done.notified()).await.unwrap();
        });
    });
    assert!(is_done.load(Ordering::SeqCst));
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let many = format!(
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "A: b\r\n".repeat(HEADERS_MAX)
    );
    let response = with_admin(BOUNDS, admin(), |address| exchange(address, many));
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
}
