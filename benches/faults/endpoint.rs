//! How does an endpoint behave, well or badly? It runs in a process of its own and is told over its standard input.

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The first argument of an endpoint's process.
pub const ROLE: &str = "endpoint";

/// The path of health checks, to which an endpoint always responds well, unless it speaks nonsense.
const HEALTH: &str = "/healthz";

pub const BODY_BYTES: usize = 4096;

/// The way in which an endpoint answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Well,
    ResetMidBody,
    Garbage,
    Slow,
}

impl Behaviour {
    const ALL: [Self; 4] = [Self::Well, Self::ResetMidBody, Self::Garbage, Self::Slow];
}

/// A process that serves HTTP/1.1. Killed when dropped.
pub struct Endpoint {
    address: SocketAddr,
    child: Child,
}

impl Endpoint {
    /// Starts an endpoint at `address`; over TLS, with the certificate and the key in the file `pem`.
    pub fn start(address: SocketAddr, pem: Option<&Path>) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args([ROLE, &address.to_string()]).args(pem);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // Its first line says that it listens.
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "listens\n", "{address}");
        Self { address, child }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn behave(&mut self, behaviour: Behaviour) {
        let number = behaviour as u8;
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(&[number]).expect("the endpoint reads");
        stdin.flush().expect("the endpoint reads");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the endpoint runs");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("the endpoint runs");
        self.child.wait().expect("the endpoint ends");
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves as an endpoint until standard input ends; `arguments` are its address and the file of its certificate.
pub fn serve(arguments: &[String]) -> ! {
    let address: SocketAddr = arguments[0].parse().expect("an address");
    let tls = arguments.get(1).map(|pem| tls(Path::new(pem)));
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    println!("listens");
    let behaviour = Arc::new(AtomicU8::new(Behaviour::Well as u8));
    let told = Arc::clone(&behaviour);
    std::thread::spawn(move || {
        for number in io::stdin().lock().bytes() {
            told.store(number.expect("standard input"), Ordering::SeqCst);
        }
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().expect("a connection");
        let (behaviour, tls) = (Arc::clone(&behaviour), tls.clone());
        std::thread::spawn(move || {
            stream.set_nodelay(true).expect("an option");
            let raw = stream.try_clone().expect("a socket");
            // The proxy may close at any time.
            let _ = match tls {
                None => serve_connection(stream, &raw, &behaviour),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).expect("a configuration");
                    serve_connection(StreamOwned::new(connection, stream), &raw, &behaviour)
                }
            };
        });
    }
}

fn tls(pem: &Path) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(pem).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(pem).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    Arc::new(config)
}

/// Answers requests without bodies, one after the other.
fn serve_connection(stream: impl Read + Write, raw: &TcpStream, behaviour: &AtomicU8) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let is_check = head.split(' ').nth(1) == Some(HEALTH) || head.starts_with("OPTIONS ");
        let number = behaviour.load(Ordering::SeqCst);
        let behaviour = Behaviour::ALL[usize::from(number)];
        let out = stream.get_mut();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        match behaviour {
            Behaviour::Garbage => return out.write_all(b"\x16\x03\x01 220 ready\r\n\r\n"),
            Behaviour::ResetMidBody if !is_check => {
                out.write_all(head.as_bytes())?;
                out.write_all(&[b'.'; BODY_BYTES / 2])?;
                out.flush()?;
                // With nothing left to send, an end without a wait is a reset.
                rustix::net::sockopt::set_socket_linger(raw, Some(Duration::ZERO))?;
                return Ok(());
            }
            Behaviour::Slow if !is_check => pause(Duration::from_millis(300)),
            Behaviour::ResetMidBody | Behaviour::Slow | Behaviour::Well => {}
        }
        out.write_all(head.as_bytes())?;
        out.write_all(&[b'.'; BODY_BYTES])?;
        out.flush()?;
    }
}

/// Lets real time pass, as the measured programs see it.
pub fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "other processes are measured meanwhile")]
    std::thread::sleep(time);
}
