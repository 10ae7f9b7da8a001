//! The client and the upstream: one thread each, keep-alive, as plain as can be.

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A round that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"answer\":true}";

/// What is sent again and again, and what must come back.
#[derive(Clone)]
pub struct Exchange {
    request: Vec<u8>,
    status: u16,
}

impl Exchange {
    pub fn new(path: &str, headers: &[String], status: u16) -> Self {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: api.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n{headers}\r\n"
        );
        Self {
            request: request.into_bytes(),
            status,
        }
    }
}

pub struct Load {
    client: Runtime,
    upstream: SocketAddr,
    connections: usize,
}

impl Load {
    pub fn start(connections: usize) -> Self {
        let upstream = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        upstream.set_nonblocking(true).expect("sockets can be non-blocking");
        let address = upstream.local_addr().expect("a bound socket has an address");
        std::thread::spawn(move || runtime().block_on(answer_all(upstream)));
        Self {
            client: runtime(),
            upstream: address,
            connections,
        }
    }

    pub fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Sends `requests` in all and checks every answer.
    pub fn run(&self, proxy: SocketAddr, exchange: &Exchange, requests: usize) {
        self.exchange(proxy, exchange, requests, true);
    }

    /// The first answers may be others: a limit has to be spent before it is.
    pub fn warm_up(&self, proxy: SocketAddr, exchange: &Exchange, requests: usize) {
        self.exchange(proxy, exchange, requests, false);
    }

    fn exchange(&self, proxy: SocketAddr, exchange: &Exchange, requests: usize, check: bool) {
        let each = requests / self.connections;
        self.client.block_on(async {
            let mut connections = JoinSet::new();
            for _ in 0..self.connections {
                let exchange = exchange.clone();
                connections.spawn(async move { converse(proxy, &exchange, each, check).await });
            }
            let all = async {
                while let Some(done) = connections.join_next().await {
                    done.expect("no connection panics").expect("every request is answered");
                }
            };
            tokio::time::timeout(PATIENCE, all).await.expect("a round ends");
        });
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a thread can run tasks")
}

async fn converse(proxy: SocketAddr, exchange: &Exchange, requests: usize, check: bool) -> io::Result<()> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 8192];
    for _ in 0..requests {
        stream.write_all(&exchange.request).await?;
        let status = read_answer(&mut stream, &mut buffer).await?;
        assert!(
            !check || status == exchange.status,
            "answered {status}, not {}",
            exchange.status
        );
    }
    Ok(())
}

/// Reads one answer with Content-Length, whole; gives its status.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<u16> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        let Some(head) = buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).map_err(io::Error::other)?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())
                .flatten()
        });
        let length = length.ok_or_else(|| io::Error::other("no content-length"))?;
        if filled >= head + 4 + length {
            return text[9..12].parse().map_err(io::Error::other);
        }
    }
}

async fn answer_all(listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("a socket of this runtime");
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

/// Requests without bodies, one after the other.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 8192];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            stream.write_all(ANSWER).await?;
        }
    }
}
