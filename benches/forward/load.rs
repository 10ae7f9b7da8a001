//! How do the client and the upstream exchange requests through a proxy, on one thread and with little work?

use crate::exchange::Exchange;
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

/// The timeout of a round. Far longer than a round takes, even under valgrind.
const PATIENCE: Duration = Duration::from_secs(120);

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"answer\":true}";

/// The client's runtime and the upstream. The upstream responds only while a [`Session`] runs: both
/// are tasks of one thread, so that neither takes the core from the other in the middle of a request.
pub struct Load {
    pub(crate) runtime: Runtime,
    upstream: SocketAddr,
}

impl Load {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a thread can run tasks");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        let upstream = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(respond_all(listener));
        Self { runtime, upstream }
    }

    pub fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Opens `connections` connections to `proxy` and keeps them open. The bench panics if the proxy closes one.
    pub fn session(&self, proxy: SocketAddr, connections: usize) -> Session<'_> {
        let connected = self.runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..connections {
                let stream = TcpStream::connect(proxy).await?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            Ok::<_, io::Error>(streams)
        });
        Session {
            load: self,
            streams: connected.expect("the proxy listens"),
        }
    }
}

/// Connections to one proxy.
pub struct Session<'a> {
    pub(crate) load: &'a Load,
    pub(crate) streams: Vec<TcpStream>,
}

impl Session<'_> {
    /// Sends `requests` in all, rounded up to the same number for each connection, and checks the status of every
    /// response.
    pub fn run(&mut self, exchange: &Exchange, requests: usize) {
        self.exchange(exchange, requests, true);
    }

    /// Does the same as [`Session::run`], but does not check the responses, for example until a limit is spent.
    pub fn warm_up(&mut self, exchange: &Exchange, requests: usize) {
        self.exchange(exchange, requests, false);
    }

    /// Sends one request and returns the status of the response.
    pub fn status(&mut self, exchange: &Exchange) -> u16 {
        let stream = &mut self.streams[0];
        let response = self.load.runtime.block_on(async {
            stream.write_all(exchange.next()).await?;
            read_response(stream, &mut [0; 8192]).await
        });
        response.expect("the request is answered")
    }

    fn exchange(&mut self, exchange: &Exchange, requests: usize, check: bool) {
        let each = requests.div_ceil(self.streams.len());
        let streams = std::mem::take(&mut self.streams);
        self.streams = self.load.runtime.block_on(async {
            let mut connections = JoinSet::new();
            for stream in streams {
                connections.spawn(converse(stream, exchange.clone(), each, check));
            }
            let all = async {
                let mut streams = Vec::new();
                while let Some(done) = connections.join_next().await {
                    streams.push(done.expect("no connection panics").expect("every request is answered"));
                }
                streams
            };
            tokio::time::timeout(PATIENCE, all).await.expect("a round ends")
        });
    }
}

async fn converse(mut stream: TcpStream, exchange: Exchange, requests: usize, check: bool) -> io::Result<TcpStream> {
    let mut buffer = vec![0; 8192];
    for _ in 0..requests {
        stream.write_all(exchange.next()).await?;
        let status = read_response(&mut stream, &mut buffer).await?;
        if check {
            exchange.check(status);
        }
    }
    Ok(stream)
}

/// Reads one response with Content-Length to its end and returns the status.
pub async fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<u16> {
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

async fn respond_all(listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("a socket of this runtime");
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(respond(stream));
    }
}

/// Responds to requests without bodies, one after the other.
async fn respond(mut stream: TcpStream) -> io::Result<()> {
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
