//! What does a request cost on each lane: HTTP/1.1 and HTTP/2, with and without TLS, gRPC, and a TLS handshake? Beside bare
//! pingora and HAProxy with the same certificate and protocol, in turn, in one run.

use crate::credentials;
use crate::gate::keys_file;
use crate::process::Process;
use crate::process::ProcessLauncher;
use crate::table::Table;
use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The rounds of each row; the table has their median.
const ROUNDS: usize = 7;
/// The requests of a round, and the connections or streams that send them.
const REQUESTS: usize = 10_000;
const AT_ONCE: usize = 100;
/// The handshakes of a round.
const HANDSHAKES: usize = 300;
/// The connections that stand idle while memory is read.
const IDLE: usize = 1_000;

const PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/dev-tls.pem");
const PRIVATE_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/dev-tls.private.pem");

/// The protocol of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
    Grpc,
    /// One request on a connection of its own, after a whole handshake.
    Handshake,
    /// The same after a resumed one.
    Resumption,
}

/// One line of the table. The first row of a protocol is what the others are compared with.
struct Row {
    name: &'static str,
    protocol: Protocol,
    process: usize,
    address: SocketAddr,
    /// The credential: name and value of a field.
    credential: Option<(&'static str, String)>,
}

/// Prints the processor time of a request in each row, and the memory of idle connections.
pub fn measure(is_short: bool) {
    let (rounds, share) = if is_short { (1, 100) } else { (ROUNDS, 1) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a thread can run tasks");
    let upstreams = runtime.block_on(async { (start_http1().await, start_http2().await) });
    let issuer = credentials::Issuer::new();
    let keys = credentials::api_keys(10_000);
    let token = credentials::tokens(&issuer.rs256, 0..1).remove(0);
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file can be written");
    put("keys.yaml", &keys_file(&keys));
    put("rs256.pem", &issuer.rs256.public_pem());
    let under = ProcessLauncher::FirstCore;
    let key = ("x-api-key", keys[0].clone());
    let token = ("authorization", format!("Bearer {token}"));

    let mut processes = Vec::new();
    let mut rows = Vec::new();
    let program = std::env::current_exe().expect("this program has a path");
    let bare: [SocketAddr; 4] = free();
    let arguments = [upstreams.0, upstreams.1].map(|address| address.to_string());
    let listening = bare.map(|address| address.to_string());
    let mut command = under.command(&program);
    command
        .arg("bare-lanes")
        .args(arguments)
        .args(listening)
        .stdin(Stdio::null());
    processes.push(Process::start_at(&mut command, &bare));
    for (name, protocol, address) in [
        ("bare pingora", Protocol::Http1, bare[0]),
        ("bare pingora", Protocol::Http1Tls, bare[1]),
        ("bare pingora", Protocol::Http2, bare[2]),
        ("bare pingora", Protocol::Http2Tls, bare[1]),
        ("bare pingora", Protocol::Grpc, bare[3]),
        ("bare pingora", Protocol::Handshake, bare[1]),
        ("bare pingora", Protocol::Resumption, bare[1]),
    ] {
        rows.push(Row {
            name,
            protocol,
            process: 0,
            address,
            credential: None,
        });
    }

    let gate: [SocketAddr; 4] = free();
    put("keygate.yaml", &configuration(&gate, upstreams));
    let mut command = under.command(crate::gate::program());
    command
        .args(["run", "--threads", "1", "--config"])
        .arg(folder.path().join("keygate.yaml"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    processes.push(Process::start_at(&mut command, &gate));
    for (name, protocol, address, credential) in [
        ("keygate: API key", Protocol::Http1, gate[0], &key),
        ("keygate: API key, `http1: pingora`", Protocol::Http1, gate[1], &key),
        ("keygate: API key", Protocol::Http1Tls, gate[3], &key),
        ("keygate: API key", Protocol::Http2, gate[2], &key),
        ("keygate: RS256 token", Protocol::Http2, gate[2], &token),
        ("keygate: API key", Protocol::Http2Tls, gate[3], &key),
        ("keygate: API key", Protocol::Grpc, gate[2], &key),
        ("keygate: API key", Protocol::Handshake, gate[3], &key),
        ("keygate: API key", Protocol::Resumption, gate[3], &key),
    ] {
        rows.push(Row {
            name,
            protocol,
            process: 1,
            address,
            credential: Some(credential.clone()),
        });
    }

    let haproxy: [SocketAddr; 3] = free();
    let lines: String = keys.iter().map(|key| format!("{key} billing\n")).collect();
    put("keys.map", &lines);
    let both = [PEM, PRIVATE_PEM].map(|file| std::fs::read_to_string(file).expect("a file of conf/"));
    put("both.pem", &both.concat());
    put(
        "haproxy.cfg",
        &haproxy_configuration(folder.path(), &haproxy, upstreams.0),
    );
    let mut command = under.command("haproxy");
    command
        .arg("-f")
        .arg(folder.path().join("haproxy.cfg"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if !is_short && Command::new("haproxy").arg("-v").output().is_ok() {
        processes.push(Process::start_at(&mut command, &haproxy));
        for (protocol, address) in [
            (Protocol::Http1, haproxy[0]),
            (Protocol::Http1Tls, haproxy[1]),
            (Protocol::Http2, haproxy[2]),
            (Protocol::Http2Tls, haproxy[1]),
            (Protocol::Handshake, haproxy[1]),
            (Protocol::Resumption, haproxy[1]),
        ] {
            let (name, process) = ("HAProxy: API key", 2);
            rows.push(Row {
                name,
                protocol,
                process,
                address,
                credential: Some(key.clone()),
            });
        }
    } else {
        println!("HAProxy is left out: apt-get install haproxy\n");
    }

    let mut times = vec![Vec::new(); rows.len()];
    // In turn, so that a change of the machine's speed is in every row.
    for round in 0..=rounds {
        for (row, times) in rows.iter().zip(&mut times) {
            let process = &processes[row.process];
            let before = process.cpu();
            let requests = runtime.block_on(row.send(share));
            let took = process.cpu().saturating_sub(before);
            // The first round fills caches and pools.
            if round > 0 || is_short {
                times.push(took.as_nanos() as f64 / requests as f64 / 1_000.0);
            }
        }
    }
    let mut table = Table::new(&["", "CPU µs", "ratio"]);
    for protocol in [
        Protocol::Http1,
        Protocol::Http1Tls,
        Protocol::Http2,
        Protocol::Http2Tls,
        Protocol::Grpc,
        Protocol::Handshake,
        Protocol::Resumption,
    ] {
        let mut first = None;
        for (row, times) in rows.iter().zip(&mut times).filter(|(row, _)| row.protocol == protocol) {
            times.sort_by(f64::total_cmp);
            let median = times[times.len() / 2];
            let first = *first.get_or_insert(median);
            let name = format!("{}, {}", protocol.name(), row.name);
            table.row(&name, &[format!("{median:.1}"), format!("{:.2}", median / first)]);
        }
    }
    table.print();
    println!();
    let mut table = Table::new(&["", "KiB for an idle connection"]);
    for row in rows.iter().filter(|row| row.process == 1) {
        if matches!(
            row.protocol,
            Protocol::Http1 | Protocol::Http1Tls | Protocol::Http2 | Protocol::Http2Tls
        ) {
            let before = processes[1].resident_bytes();
            let connections = runtime.block_on(row.stand_idle(IDLE / share));
            let grown = processes[1].resident_bytes().saturating_sub(before);
            let each = grown as f64 / connections.len() as f64 / 1024.0;
            table.row(
                &format!("{}, {}", row.protocol.name(), row.name),
                &[format!("{each:.1}")],
            );
        }
    }
    table.print();
    println!(
        "\n{REQUESTS} requests a round, {AT_ONCE} at a time: on as many connections of HTTP/1.1, or on one of HTTP/2; \
         {HANDSHAKES} handshakes; the median of {rounds} rounds. Ratio to the first row of the protocol."
    );
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http1Tls => "HTTP/1.1 over TLS",
            Self::Http2 => "HTTP/2",
            Self::Http2Tls => "HTTP/2 over TLS",
            Self::Grpc => "gRPC",
            Self::Handshake => "TLS handshake and a request",
            Self::Resumption => "resumed handshake and a request",
        }
    }
}

impl Row {
    /// Sends the requests of a round, and returns how many they were.
    async fn send(&self, share: usize) -> usize {
        let each = REQUESTS / AT_ONCE / share.min(10);
        match self.protocol {
            Protocol::Http1 => {
                let streams = (0..AT_ONCE).map(|_| connect(self.address));
                let mut all = JoinSet::new();
                for stream in streams {
                    all.spawn(converse(stream, self.text(), each));
                }
                finish(all).await;
                AT_ONCE * each
            }
            Protocol::Http1Tls => {
                let config = Arc::new(client_config(&[b"http/1.1"], true));
                let mut all = JoinSet::new();
                for _ in 0..AT_ONCE {
                    let (config, address) = (Arc::clone(&config), self.address);
                    all.spawn(converse(async move { tls(&config, address).await }, self.text(), each));
                }
                finish(all).await;
                AT_ONCE * each
            }
            Protocol::Http2 => self.send_streams(connect(self.address).await, each).await,
            Protocol::Http2Tls => {
                let config = Arc::new(client_config(&[b"h2"], true));
                let stream = tls(&config, self.address).await;
                self.send_streams(stream, each).await
            }
            Protocol::Grpc => self.send_streams(connect(self.address).await, each).await,
            Protocol::Handshake | Protocol::Resumption => {
                let config = Arc::new(client_config(&[b"http/1.1"], self.protocol == Protocol::Resumption));
                let count = HANDSHAKES / share;
                for _ in 0..count {
                    let (config, address) = (Arc::clone(&config), self.address);
                    converse(async move { tls(&config, address).await }, self.text(), 1).await;
                }
                count
            }
        }
    }

    /// Returns the text of a request of HTTP/1.1.
    fn text(&self) -> Vec<u8> {
        let field = self
            .credential
            .as_ref()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "GET /v1/orders HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            field.unwrap_or_default()
        )
        .into_bytes()
    }

    async fn send_streams<S>(&self, stream: S, each: usize) -> usize
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut all = JoinSet::new();
        for _ in 0..AT_ONCE {
            all.spawn(stream_after_stream(
                requests.clone(),
                self.request(),
                self.protocol == Protocol::Grpc,
                each,
            ));
        }
        finish(all).await;
        driver.abort();
        AT_ONCE * each
    }

    fn request(&self) -> Request<()> {
        let is_grpc = self.protocol == Protocol::Grpc;
        let mut request = Request::builder().uri(if is_grpc {
            "http://localhost/shop.Orders/Get"
        } else {
            "http://localhost/v1/orders"
        });
        if is_grpc {
            request = request
                .method("POST")
                .header("content-type", "application/grpc")
                .header("te", "trailers");
        }
        if let Some((name, value)) = &self.credential {
            request = request.header(*name, value);
        }
        request.body(()).expect("a request")
    }

    /// Opens connections, sends a request on each, and keeps them open.
    async fn stand_idle(&self, count: usize) -> Vec<Box<dyn std::any::Any>> {
        let mut open: Vec<Box<dyn std::any::Any>> = Vec::new();
        let config = |alpn: &[u8]| Arc::new(client_config(&[alpn], true));
        for _ in 0..count {
            match self.protocol {
                Protocol::Http1 => open.push(Box::new(converse(connect(self.address), self.text(), 1).await)),
                Protocol::Http1Tls => {
                    let (config, address) = (config(b"http/1.1"), self.address);
                    let stream = async move { tls(&config, address).await };
                    open.push(Box::new(converse(stream, self.text(), 1).await));
                }
                Protocol::Http2 => open.push(self.open_http2(connect(self.address).await).await),
                _ => open.push(self.open_http2(tls(&config(b"h2"), self.address).await).await),
            }
        }
        open
    }

    async fn open_http2<S>(&self, stream: S) -> Box<dyn std::any::Any>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        stream_after_stream(requests.clone(), self.request(), false, 1).await;
        Box::new((requests, driver))
    }
}

async fn finish<T: 'static>(mut all: JoinSet<T>) {
    while let Some(done) = all.join_next().await {
        done.expect("every request is answered");
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the proxy listens");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

async fn tls(config: &Arc<ClientConfig>, address: SocketAddr) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::clone(config));
    connector
        .connect(name, connect(address).await)
        .await
        .expect("the handshake succeeds")
}

fn client_config(alpn: &[&[u8]], resumes: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(PEM).expect("a certificate of conf/");
    roots.add(certificate).expect("it can be a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    config
}

/// Sends `text` so often on one connection, and returns the connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = S>,
    text: Vec<u8>,
    times: usize,
) -> S {
    let mut stream = connecting.await;
    let mut buffer = vec![0; 4096];
    for _ in 0..times {
        stream.write_all(&text).await.expect("the proxy reads");
        let mut filled = 0;
        // Every response ends with this text.
        while !buffer[..filled].ends_with(b"{\"answer\":true}") {
            let count = stream.read(&mut buffer[filled..]).await.expect("the proxy answers");
            assert!(count > 0, "closed: {}", String::from_utf8_lossy(&buffer[..filled]));
            filled += count;
        }
        assert!(
            buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&buffer[..filled])
        );
    }
    stream
}

async fn stream_after_stream(requests: SendRequest<Bytes>, request: Request<()>, is_grpc: bool, times: usize) {
    for _ in 0..times {
        let mut ready = requests.clone().ready().await.expect("an open connection");
        let (response, mut body) = ready.send_request(request.clone(), !is_grpc).expect("a request");
        if is_grpc {
            body.send_data(Bytes::from_static(b"\0\0\0\0\x05order"), true)
                .expect("a message");
        }
        let response = response.await.expect("a response");
        assert_eq!(response.status(), 200, "{request:?}");
        let mut received = response.into_body();
        while let Some(data) = received.data().await {
            let length = data.expect("a body").len();
            let _ = received.flow_control().release_capacity(length);
        }
        let trailers = received.trailers().await.expect("an end");
        assert_eq!(trailers.is_some(), is_grpc);
    }
}

/// Starts an upstream of HTTP/1.1 on the runtime of the client.
async fn start_http1() -> SocketAddr {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"answer\":true}";
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 8192];
                let mut filled = 0;
                loop {
                    match stream.read(&mut buffer[filled..]).await {
                        Ok(count @ 1..) => filled += count,
                        Ok(0) | Err(_) => return Ok::<_, io::Error>(()),
                    }
                    if buffer[..filled].ends_with(b"\r\n\r\n") {
                        filled = 0;
                        stream.write_all(ANSWER).await?;
                    }
                }
            });
        }
    });
    address
}

/// Starts an upstream that answers each request of HTTP/2 with a gRPC message.
async fn start_http2() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await?;
                while let Some(accepted) = connection.accept().await {
                    let (request, mut respond) = accepted?;
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(data) = body.data().await {
                            let _ = body.flow_control().release_capacity(data?.len());
                        }
                        let head = http::Response::builder().header("content-type", "application/grpc");
                        let mut stream = respond.send_response(head.body(()).expect("a head"), false)?;
                        stream.send_data(Bytes::from_static(b"\0\0\0\0\x05reply"), false)?;
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", HeaderValue::from_static("0"));
                        stream.send_trailers(trailers)
                    });
                }
                Ok::<_, h2::Error>(())
            });
        }
    });
    address
}

/// Returns addresses that were free a moment ago.
fn free<const N: usize>() -> [SocketAddr; N] {
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
        .collect();
    std::array::from_fn(|index| listeners[index].local_addr().expect("a bound socket has an address"))
}

fn configuration(listeners: &[SocketAddr; 4], (http1, http2): (SocketAddr, SocketAddr)) -> String {
    let [own, pingora, h2c, tls] = listeners;
    let (issuer, audience) = (credentials::ISSUER, credentials::AUDIENCE);
    format!(
        "
listeners:
  - address: {own}
  - {{ address: {pingora}, http1: pingora }}
  - {{ address: {h2c}, protocol: h2c }}
  - {{ address: {tls}, tls: {{ certificate: {PEM}, private_key: {PRIVATE_PEM} }} }}
requests: {{ requests_per_connection: 10000000 }}
issuers:
  main:
    issuer: {issuer}
    audiences: [{audience}]
    public_key_files: [rs256.pem]
api_keys: {{ file: keys.yaml }}
upstreams:
  orders: {{ endpoints: [\"{http1}\"] }}
  grpc: {{ endpoints: [\"{http2}\"], protocol: h2c }}
routes:
  - name: orders
    match: {{ path: /v1/orders }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    upstream: orders
  - name: grpc
    match: {{ path: /shop.Orders/Get }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    upstream: grpc
"
    )
}

fn haproxy_configuration(folder: &Path, listeners: &[SocketAddr; 3], upstream: SocketAddr) -> String {
    let folder = folder.display();
    let [http1, tls, h2c] = listeners;
    format!(
        "global
    nbthread 1
    maxconn 4000
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend in
    bind {http1}
    bind {tls} ssl crt {folder}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2
    bind {h2c} proto h2
    acl known req.hdr(x-api-key),map_str({folder}/keys.map) -m found
    http-request deny deny_status 401 unless known
    http-request set-header x-client %[req.hdr(x-api-key),map_str({folder}/keys.map)]
    http-request del-header x-api-key
    default_backend up
backend up
    http-reuse always
    server up {upstream}
"
    )
}
