//! A connection of HTTP/2 behind the text of HTTP/1.1, so that one test can speak both: requests are written and
//! responses read as text, and travel as frames.

use super::PATIENCE;
use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use h2::client::ResponseFuture;
use h2::client::SendRequest;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Response;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// One connection. Requests must be well formed: others cannot be sent as frames.
pub struct Http2Bridge {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    /// Ends with the connection.
    driver: JoinHandle<()>,
    /// The bytes that were written and not sent yet.
    written: Vec<u8>,
    upload: Option<Upload>,
    awaited: VecDeque<(ResponseFuture, bool)>,
    download: Option<Download>,
    /// The text that was received and not read yet.
    received: VecDeque<u8>,
    pub patience: Duration,
    /// `true` after the connection has ended or a stream was reset. A client of HTTP/1.1 would see a closed connection.
    has_ended: bool,
}

/// A request whose body is not complete.
struct Upload {
    stream: SendStream<Bytes>,
    rest: BodyRest,
}

enum BodyRest {
    Bytes(usize),
    /// The next line is the size of a chunk.
    ChunkSize,
    /// The bytes of a chunk, without the line end after them.
    Chunk(usize),
    /// The fields after the last chunk, as far as they were read.
    Trailers(HeaderMap),
}

/// A response whose body is not complete.
struct Download {
    stream: RecvStream,
    chunked: bool,
}

impl Http2Bridge {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(async { tcp(address).await })
    }

    /// Connects over TLS, asks for `name`, and offers HTTP/2 (ALPN, RFC 7301).
    #[track_caller]
    pub fn connect_tls(config: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> Self {
        let mut config = ClientConfig::clone(config);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self::over(async move {
            let session = connector.connect(name, tcp(address).await).await;
            let session = session.expect("the handshake succeeds");
            assert_eq!(session.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            session
        })
    }

    /// Speaks HTTP/2 over the stream that `connecting` returns.
    #[track_caller]
    fn over<S>(connecting: impl Future<Output = S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (requests, connection) = runtime.block_on(async {
            let stream = connecting.await;
            h2::client::handshake(stream)
                .await
                .expect("the client side cannot fail")
        });
        let driver = runtime.spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
        Self {
            runtime,
            requests,
            driver,
            written: Vec::new(),
            upload: None,
            awaited: VecDeque::new(),
            download: None,
            received: VecDeque::new(),
            patience: PATIENCE,
            has_ended: false,
        }
    }

    /// Sends as much of the written bytes as is complete.
    ///
    /// # Errors
    /// The connection is closed, or the text is no request.
    fn send(&mut self) -> io::Result<()> {
        loop {
            match &mut self.upload {
                Some(upload) => {
                    if !upload.advance(&mut self.written)? {
                        return Ok(());
                    }
                    self.upload = None;
                }
                None => {
                    let Some(end) = find(&self.written, b"\r\n\r\n") else {
                        return Ok(());
                    };
                    let head: Vec<u8> = self.written.drain(..end + 4).collect();
                    let (request, rest) = request(&head).map_err(|error| broken(&error))?;
                    let is_head = request.method() == http::Method::HEAD;
                    let requests = self.requests.clone();
                    let sent = self.runtime.block_on(async {
                        let ready = timeout(PATIENCE, requests.ready()).await;
                        let mut ready = ready.map_err(|_| h2::Error::from(h2::Reason::CANCEL))??;
                        ready.send_request(request, rest.is_none())
                    });
                    let (response, stream) = sent.map_err(|error: h2::Error| broken(&error))?;
                    self.awaited.push_back((response, is_head));
                    self.upload = rest.map(|rest| Upload { stream, rest });
                }
            }
        }
    }

    /// Receives more text. Returns `false` where the connection or the stream has ended.
    async fn receive(&mut self) -> bool {
        if let Some(download) = &mut self.download {
            match download.stream.data().await {
                Some(Ok(data)) => {
                    // Read at once, so that the server may send more.
                    let _ = download.stream.flow_control().release_capacity(data.len());
                    if download.chunked && !data.is_empty() {
                        self.received.extend(format!("{:x}\r\n", data.len()).bytes());
                    }
                    self.received.extend(&data);
                    if download.chunked && !data.is_empty() {
                        self.received.extend(b"\r\n");
                    }
                }
                Some(Err(error)) => {
                    eprintln!("stream: {error}");
                    self.download = None;
                    return false;
                }
                None => {
                    let Ok(trailers) = download.stream.trailers().await else {
                        self.download = None;
                        return false;
                    };
                    if download.chunked {
                        self.received.extend(b"0\r\n");
                        put_fields(&mut self.received, &trailers.unwrap_or_default());
                        self.received.extend(b"\r\n");
                    }
                    self.download = None;
                }
            }
            return true;
        }
        // The response stays in the list until it is there: this future may be dropped before.
        let Some((response, is_head)) = self.awaited.front_mut() else {
            let _ = (&mut self.driver).await;
            return false;
        };
        let is_head = *is_head;
        let response = response.await;
        self.awaited.pop_front();
        match response {
            Ok(response) => {
                self.begin(response, is_head);
                true
            }
            Err(error) => {
                eprintln!("response: {error}");
                false
            }
        }
    }

    fn begin(&mut self, response: Response<RecvStream>, is_head: bool) {
        let (head, stream) = response.into_parts();
        let is_bodiless = is_head || matches!(head.status.as_u16(), 204 | 304);
        let chunked = !is_bodiless && !head.headers.contains_key("content-length");
        self.received
            .extend(format!("HTTP/1.1 {} {}\r\n", head.status.as_u16(), "-").bytes());
        put_fields(&mut self.received, &head.headers);
        if chunked {
            self.received.extend(b"transfer-encoding: chunked\r\n");
        }
        self.received.extend(b"\r\n");
        self.download = Some(Download { stream, chunked });
    }
}

async fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).await.expect("the server accepts");
    tcp.set_nodelay(true).unwrap();
    tcp
}

impl Upload {
    /// Sends what is there of the body. Returns whether the body is complete.
    fn advance(&mut self, written: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match self.rest {
                BodyRest::Bytes(length) => {
                    let take = length.min(written.len());
                    let data: Vec<u8> = written.drain(..take).collect();
                    self.rest = BodyRest::Bytes(length - take);
                    return self.send(data, length == take).map(|()| length == take);
                }
                BodyRest::ChunkSize => {
                    let Some(end) = find(written, b"\r\n") else {
                        return Ok(false);
                    };
                    let line: Vec<u8> = written.drain(..end + 2).collect();
                    let digits = String::from_utf8_lossy(&line);
                    let size = usize::from_str_radix(digits.trim(), 16).map_err(|error| broken(&error))?;
                    self.rest = match size {
                        0 => BodyRest::Trailers(HeaderMap::new()),
                        size => BodyRest::Chunk(size),
                    };
                }
                BodyRest::Trailers(ref mut trailers) => {
                    let Some(end) = find(written, b"\r\n") else {
                        return Ok(false);
                    };
                    let line: Vec<u8> = written.drain(..end + 2).collect();
                    match String::from_utf8_lossy(&line[..end]).split_once(':') {
                        Some((name, value)) => {
                            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| broken(&error))?;
                            let value = HeaderValue::from_str(value.trim()).map_err(|error| broken(&error))?;
                            trailers.append(name, value);
                        }
                        None => {
                            let trailers = std::mem::take(trailers);
                            let _ = if trailers.is_empty() {
                                self.stream.send_data(Bytes::new(), true)
                            } else {
                                self.stream.send_trailers(trailers)
                            };
                            return Ok(true);
                        }
                    }
                }
                BodyRest::Chunk(size) => {
                    if written.len() < size + 2 {
                        return Ok(false);
                    }
                    let mut data: Vec<u8> = written.drain(..size + 2).collect();
                    data.truncate(size);
                    self.rest = BodyRest::ChunkSize;
                    self.send(data, false)?;
                }
            }
        }
    }

    fn send(&mut self, data: Vec<u8>, is_end: bool) -> io::Result<()> {
        // A stream that the server has reset takes no more; its response says why.
        let _ = self.stream.send_data(Bytes::from(data), is_end);
        Ok(())
    }
}

impl Read for Http2Bridge {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.received.is_empty() {
            if self.has_ended {
                return Ok(0);
            }
            let handle = self.runtime.handle().clone();
            let patience = self.patience;
            match handle.block_on(async { timeout(patience, self.receive()).await }) {
                Ok(true) => {}
                Ok(false) => self.has_ended = true,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        self.received.read(bytes)
    }
}

impl Write for Http2Bridge {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        let sent = self.send();
        if let Err(error) = &sent {
            eprintln!("not sent: {error}");
            // A server of HTTP/1.1 would answer; here nothing comes.
            self.has_ended = true;
        }
        sent.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the request with `head`, and the rest of it; `None` for a request without a body.
fn request(head: &[u8]) -> Result<(Request<()>, Option<BodyRest>), String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut start = lines.next().unwrap_or_default().splitn(3, ' ');
    let (method, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let mut fields = Vec::new();
    let (mut host, mut rest) = (String::new(), None);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line}"))?;
        let (name, value) = (name.to_lowercase(), value.trim());
        match name.as_str() {
            "host" => value.clone_into(&mut host),
            "connection" | "upgrade" | "keep-alive" => {}
            "transfer-encoding" => rest = Some(BodyRest::ChunkSize),
            _ => {
                if name == "content-length" {
                    let length = value.parse().map_err(|_| format!("no length: {value}"))?;
                    rest = (length > 0).then_some(BodyRest::Bytes(length));
                }
                fields.push((name, value.to_owned()));
            }
        }
    }
    let uri = if target.starts_with("http://") {
        target.to_owned()
    } else {
        format!("http://{host}{target}")
    };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(name, value);
    }
    request
        .body(())
        .map(|request| (request, rest))
        .map_err(|error| error.to_string())
}

fn put_fields(out: &mut VecDeque<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        out.extend(name.as_str().bytes());
        out.extend(b": ");
        out.extend(value.as_bytes());
        out.extend(b"\r\n");
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn broken(error: &impl ToString) -> io::Error {
    io::Error::other(error.to_string())
}
