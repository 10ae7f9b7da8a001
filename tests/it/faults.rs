//! When a fetch of an issuer's keys fails, does the gate respond with
//! 503, never with 401, forward nothing, and recover?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::issuer::claims;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::jwk_set;
use crate::support::issuer::token;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// The server's response to a fetch.
#[derive(Clone)]
enum FetchResponse {
    /// These bytes, then a close.
    Whole(Vec<u8>),
    /// These bytes, then silence until the client closes.
    Hangs(&'static str),
    /// These bytes, one by one and slowly.
    Drips(Vec<u8>),
}

/// A server that responds to every connection in the same way.
struct Server {
    address: SocketAddr,
    response: Arc<Mutex<FetchResponse>>,
}

impl Server {
    fn start(response: FetchResponse) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let response = Arc::new(Mutex::new(response));
        let answering = Arc::clone(&response);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let response = answering.lock().unwrap().clone();
                std::thread::spawn(move || serve(stream.unwrap(), response));
            }
        });
        Self { address, response }
    }

    fn respond_with(&self, response: FetchResponse) {
        *self.response.lock().unwrap() = response;
    }
}

fn serve(mut stream: TcpStream, response: FetchResponse) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    match response {
        FetchResponse::Whole(bytes) => drop(stream.write_all(&bytes)),
        FetchResponse::Hangs(bytes) => {
            let _ = stream.write_all(bytes.as_bytes());
            let _ = stream.read(&mut byte);
        }
        FetchResponse::Drips(bytes) => {
            // The read timeout is the pause between two bytes.
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            for byte in bytes {
                if stream.write_all(&[byte]).is_err() || matches!(stream.read(&mut [0]), Ok(0)) {
                    return;
                }
            }
        }
    }
}

fn ok(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Returns ways in which a fetch of `set` can fail, each with its name and the server's response.
fn faults(set: &str) -> Vec<(&'static str, FetchResponse)> {
    let whole = |text: &str| FetchResponse::Whole(text.as_bytes().to_vec());
    let status = |status: &str| {
        whole(&format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    let cut = ok(set);
    vec![
        ("closes", whole("")),
        ("closes in its head", whole("HTTP/1.1 200 OK\r\nContent-")),
        (
            "closes in its body",
            FetchResponse::Whole(cut[..cut.len() - 9].to_vec()),
        ),
        ("is no HTTP", whole("SSH-2.0-x\r\n\r\n")),
        ("hangs", FetchResponse::Hangs("")),
        ("hangs in its head", FetchResponse::Hangs("HTTP/1.1 200 OK\r\n")),
        (
            "hangs in its body",
            FetchResponse::Hangs("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"keys\":["),
        ),
        ("drips", FetchResponse::Drips(ok(set))),
        ("500", status("500 Internal Server Error")),
        ("404", status("404 Not Found")),
        ("204", status("204 No Content")),
        ("304", status("304 Not Modified")),
        ("a redirect", status("302 Found\r\nLocation: http://127.0.0.1:1/")),
        ("a page", FetchResponse::Whole(ok("<html>sign in</html>"))),
        ("nothing", FetchResponse::Whole(ok(""))),
        ("half a set", FetchResponse::Whole(ok(&set[..set.len() / 2]))),
        ("a set of none", FetchResponse::Whole(ok(r#"{"keys":[]}"#))),
        ("a set and more", FetchResponse::Whole(ok(&format!("{set}{set}")))),
        (
            "private parts",
            FetchResponse::Whole(ok(&set.replace("\"kty\"", "\"d\":\"AA\",\"kty\""))),
        ),
        (
            "too much",
            FetchResponse::Whole(ok(&format!("{set}{}", " ".repeat(1100 * 1024)))),
        ),
    ]
}

fn gate(issuer: SocketAddr, upstream: &FakeUpstream) -> LocalGate {
    let issuer = format!(
        "{}\njwks_url: http://{issuer}/jwks\nallow_http: true\nallow_private_addresses: true\n\
         cooldown: 1s\nwait: 400ms\ntimeout: 600ms",
        identity_yaml()
    );
    let yaml = GatewayBuilder::new()
        .top("failed_authentication: off")
        .issuer("main", &issuer)
        .upstream("api", upstream.address())
        .route("api", "match: { path: /a }\naccept: [jwt]\nupstream: api");
    LocalGate::start(&yaml.yaml())
}

fn ask(gate: &RunningGate, token: &str) -> Response {
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    RawClient::connect(gate.data()).exchange(request)
}

#[track_caller]
fn assert_503(what: &str, response: &Response) {
    assert_eq!(response.status, 503, "{what}: {}", response.text());
    assert_eq!(
        response.json()["type"],
        "urn:keygate:problem:keys-unavailable",
        "{what}"
    );
    assert!(response.header("retry-after").is_some(), "{what}");
    assert_eq!(
        response.header("www-authenticate"),
        None,
        "{what}: nobody's credential is wrong"
    );
}

#[track_caller]
fn ask_until(gate: &RunningGate, token: &str, status: u16, meanwhile: u16, what: &str) {
    let mut client = RawClient::connect(gate.data());
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    wait_until(&format!("{what}: {status}"), || {
        let response = client.exchange(&request);
        let reached = response.status == status;
        assert!(reached || response.status == meanwhile, "{what}: {}", response.text());
        reached
    });
}

#[test]
fn s043_s050_a_fetch_that_fails_in_any_way_is_503_and_never_401_or_through() {
    let (known, new) = (
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    );
    let (one, both) = (
        jwk_set(&[known.public_jwk()]),
        jwk_set(&[known.public_jwk(), new.public_jwk()]),
    );
    let (old_token, new_token) = (token(&known, &claims()), token(&new, &claims()));
    let check = |(what, fault): (&'static str, FetchResponse)| {
        let upstream = FakeUpstream::start();
        let server = Server::start(fault.clone());
        let gate = gate(server.address, &upstream);
        // At the start: without keys, no token is refused as invalid.
        for _ in 0..2 {
            assert_503(what, &ask(&gate, &old_token));
        }
        assert_eq!(upstream.received().len(), 0, "{what}");
        server.respond_with(FetchResponse::Whole(ok(&one)));
        ask_until(&gate, &old_token, 200, 503, what);
        // Later: tokens of known keys pass, and tokens of unknown keys get 503, whatever happens to the fetch.
        // Until the fault is in place, a fetch may still show that the key is absent (401).
        server.respond_with(fault);
        ask_until(&gate, &new_token, 503, 401, what);
        let forwarded = upstream.received().len();
        for _ in 0..2 {
            assert_503(what, &ask(&gate, &new_token));
        }
        assert_eq!(upstream.received().len(), forwarded, "{what}");
        assert_eq!(ask(&gate, &old_token).status, 200, "{what}: the good keys are kept");
        server.respond_with(FetchResponse::Whole(ok(&both)));
        ask_until(&gate, &new_token, 200, 503, what);
    };
    // Five at a time: each check mostly waits.
    let mut faults = faults(&both);
    while !faults.is_empty() {
        let some: Vec<_> = faults.drain(..faults.len().min(5)).collect();
        std::thread::scope(|scope| {
            for fault in some {
                scope.spawn(|| check(fault));
            }
        });
    }
}

#[test]
fn s050_an_issuer_that_nobody_listens_for_is_503() {
    let (upstream, key) = (FakeUpstream::start(), SigningKey::generate_es256().unwrap());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = gate(gone, &upstream);
    for _ in 0..3 {
        assert_503("refused", &ask(&gate, &token(&key, &claims())));
    }
    // A malformed token needs no keys to be refused as invalid.
    assert_eq!(ask(&gate, "a.b.c").status, 401);
    assert_eq!(upstream.received().len(), 0);
}
