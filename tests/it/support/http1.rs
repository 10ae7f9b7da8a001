//! Where does a message end? Just enough of HTTP/1.1 framing (RFC 9112 section 6) to read one message after another.

use std::io;
use std::io::Read;

/// One response as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// In order, duplicates included, names as the server wrote them.
    pub headers: Vec<(String, String)>,
    /// The content of the chunks, joined.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the only value of `name`, compared without regard to case; `None` where the field is absent.
    ///
    /// # Panics
    /// When the field occurs several times: a test that expects one value would silently read the first.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers_named(name);
        assert!(values.len() <= 1, "{name} came {} times: {values:?}", values.len());
        values.first().copied()
    }

    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// A start line and header fields.
pub struct Head {
    pub start: String,
    pub headers: Vec<(String, String)>,
    /// The bytes of the head, with the empty line that ends it.
    pub raw: Vec<u8>,
}

/// Reads one head; `None` when the peer closed before the first byte.
///
/// # Errors
/// When reading fails, the connection ends within the head, or a line is not a header field.
pub fn read_head(stream: &mut impl Read) -> io::Result<Option<Head>> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return if raw.is_empty() {
                Ok(None)
            } else {
                Err(broken(format!("closed within a head: {}", raw.escape_ascii())))
            };
        }
        raw.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&raw).into_owned();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let headers = lines.map(header_line).collect::<io::Result<_>>()?;
    Ok(Some(Head { start, headers, raw }))
}

fn header_line(line: &str) -> io::Result<(String, String)> {
    match line.split_once(':') {
        Some((name, value)) => Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned())),
        None => Err(broken(format!("not a header field: {line:?}"))),
    }
}

pub fn named<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let same = headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value.as_str()).collect()
}

/// A body's content, and the bytes it took on the wire.
#[derive(Default)]
pub struct Body {
    pub content: Vec<u8>,
    pub raw: Vec<u8>,
}

/// Reads the body that `headers` announce. Without an announced length the
/// body ends with the connection if `until_close`, and is empty otherwise.
///
/// # Errors
/// When the body ends early, two framings are announced, or the framing is invalid.
pub fn read_body(stream: &mut impl Read, headers: &[(String, String)], until_close: bool) -> io::Result<Body> {
    let coding = named(headers, "transfer-encoding");
    let length = named(headers, "content-length");
    match (coding.as_slice(), length.as_slice()) {
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => read_chunks(stream),
        ([], [length]) => {
            let length = length
                .parse()
                .map_err(|_| broken(format!("content-length {length:?}")))?;
            let mut content = vec![0; length];
            stream.read_exact(&mut content)?;
            let raw = content.clone();
            Ok(Body { content, raw })
        }
        ([], []) if until_close => {
            let mut content = Vec::new();
            stream.read_to_end(&mut content)?;
            let raw = content.clone();
            Ok(Body { content, raw })
        }
        ([], []) => Ok(Body::default()),
        _ => Err(broken(format!("ambiguous framing: {headers:?}"))),
    }
}

fn read_chunks(stream: &mut impl Read) -> io::Result<Body> {
    let mut body = Body::default();
    loop {
        let line = read_line(stream, &mut body.raw)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| broken(format!("chunk size {line:?}")))?;
        if size == 0 {
            // The trailer section, up to the empty line.
            while !read_line(stream, &mut body.raw)?.is_empty() {}
            return Ok(body);
        }
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk)?;
        body.content.extend_from_slice(&chunk);
        body.raw.extend_from_slice(&chunk);
        if !read_line(stream, &mut body.raw)?.is_empty() {
            return Err(broken("a chunk is longer than it says".to_owned()));
        }
    }
}

fn read_line(stream: &mut impl Read, raw: &mut Vec<u8>) -> io::Result<String> {
    let begin = raw.len();
    while !raw[begin..].ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        raw.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&raw[begin..raw.len() - 2]).into_owned())
}

pub fn broken(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
