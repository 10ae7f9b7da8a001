//! A client that sends frames of HTTP/2 (RFC 9113) one by one, including those that no library would send.

use super::PATIENCE;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// On DATA and HEADERS; on SETTINGS and PING it is `ACK`.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The end of what a server says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The head of a response, by its status where HPACK has an index for it (RFC 7541 appendix A), else 0.
    Status(u16),
    /// The stream was reset with this code (RFC 9113 section 7).
    Reset(u32),
    /// The connection was ended with this code.
    GoAway(u32),
    /// The connection was closed without a word.
    Closed,
    /// Nothing was said in time.
    Nothing,
}

/// One connection.
pub struct RawHttp2 {
    stream: TcpStream,
    /// The code of the last GOAWAY.
    goodbye: Option<u32>,
}

impl RawHttp2 {
    /// Connects and sends nothing.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        Self { stream, goodbye: None }
    }

    /// Connects and sends the preface and empty settings.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::silent(address);
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.frame(SETTINGS, 0, 0, b"");
        client
    }

    /// Sends `bytes` and returns whether the server still takes them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send(&frame(kind, flags, stream, payload))
    }

    /// Sends a request without a body on `stream`.
    pub fn request(&mut self, stream: u32, fields: &[(&[u8], &[u8])]) -> bool {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
    }

    /// Reads the next frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// None comes in time.
    pub fn read(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(error);
            }
            Err(_) => return Ok(None),
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if self.stream.read_exact(&mut payload).is_err() {
            return Ok(None);
        }
        if head[3] == GOAWAY {
            self.goodbye = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        Ok(Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7F, head[6], head[7], head[8]]),
            payload,
        }))
    }

    /// Reads until the server has said what becomes of the request on `stream`.
    #[track_caller]
    pub fn verdict(&mut self, stream: u32) -> Verdict {
        loop {
            let Some(frame) = self.read().expect("the server says something") else {
                return Verdict::Closed;
            };
            let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            match frame.kind {
                HEADERS if frame.stream == stream => return Verdict::Status(indexed_status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return Verdict::Reset(code(0)),
                GOAWAY if code(4) != 0 => return Verdict::GoAway(code(4)),
                SETTINGS if frame.flags == 0 => {
                    self.frame(SETTINGS, END_STREAM, 0, b"");
                }
                _ => {}
            }
        }
    }

    /// Reads until the server ends a stream or the connection with an error, or refuses a request.
    #[track_caller]
    pub fn first_error(&mut self) -> Verdict {
        loop {
            let Ok(frame) = self.read() else {
                return Verdict::Nothing;
            };
            let Some(frame) = frame else {
                return match self.goodbye {
                    Some(code) => Verdict::GoAway(code),
                    None => Verdict::Closed,
                };
            };
            let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            match frame.kind {
                RST_STREAM if code(0) != 0 => return Verdict::Reset(code(0)),
                GOAWAY if code(4) != 0 => return Verdict::GoAway(code(4)),
                HEADERS if indexed_status(&frame.payload) == 400 => return Verdict::Status(400),
                SETTINGS if frame.flags == 0 => {
                    self.frame(SETTINGS, END_STREAM, 0, b"");
                }
                _ => {}
            }
        }
    }

    /// Reads until the server closes the connection, and returns the code of its last GOAWAY.
    #[track_caller]
    pub fn wait_closed(&mut self) -> Option<u32> {
        while self.read().expect("the server closes the connection").is_some() {}
        self.goodbye
    }
}

/// Returns the bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Returns a field block with each field as a literal without indexing (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        put_text(&mut bytes, name);
        put_text(&mut bytes, value);
    }
    bytes
}

/// Writes a string literal without Huffman coding (RFC 7541 section 5.2).
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(u8::try_from(text.len()).unwrap());
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    out.extend_from_slice(text);
}

/// Returns the status that begins a field block as an index of the static table; 0 for another.
fn indexed_status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8C) => 400,
        Some(0x8D) => 404,
        Some(0x8E) => 500,
        _ => 0,
    }
}

/// Returns the pseudo-header fields of a GET, then `more`.
pub fn get<'f>(path: &'f [u8], more: &[(&'f [u8], &'f [u8])]) -> Vec<(&'f [u8], &'f [u8])> {
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"gate.test"),
        (b":path", path),
    ];
    [&pseudo[..], more].concat()
}
