//! Where does a message body end, and which bytes are its content (RFC 9112 section 6.3)?

use crate::proxy::head::Framing;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::http1::chunks::ChunkDecoder;
use crate::proxy::http1::chunks::ChunkError;

/// Reads one message body from the bytes of a connection. The bytes after the body stay in the buffer.
#[derive(Debug)]
pub struct BodyReader(State);

#[derive(Debug)]
enum State {
    ContentLength { remaining: u64 },
    Chunked(ChunkDecoder),
    CloseDelimited,
    Complete,
}

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::ContentLength(0) => State::Complete,
            Framing::ContentLength(remaining) => State::ContentLength { remaining },
            Framing::Chunked => State::Chunked(ChunkDecoder::default()),
            Framing::CloseDelimited => State::CloseDelimited,
        })
    }

    /// Returns whether the whole body was read.
    pub fn is_complete(&self) -> bool {
        matches!(self.0, State::Complete)
    }

    /// Returns whether the body ends where the connection is closed.
    pub fn is_close_delimited(&self) -> bool {
        matches!(self.0, State::CloseDelimited)
    }

    /// Removes the bytes of the body from `received`, and calls `data` with each piece of its content.
    ///
    /// # Errors
    /// A chunk is malformed, so the end of the body cannot be found.
    pub fn read(&mut self, received: &mut Buffer, mut data: impl FnMut(&[u8])) -> Result<(), ChunkError> {
        match &mut self.0 {
            State::ContentLength { remaining } => {
                let count = received.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                if count > 0 {
                    data(&received[..count]);
                    received.consume(count);
                    *remaining -= count as u64;
                }
                if *remaining == 0 {
                    self.0 = State::Complete;
                }
            }
            State::Chunked(decoder) => {
                if decoder.decode(received, data)? {
                    self.0 = State::Complete;
                }
            }
            State::CloseDelimited => {
                if !received.is_empty() {
                    data(received);
                    received.clear();
                }
            }
            State::Complete => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` in steps of `step`. Returns the content, whether the body is complete, and the bytes after the
    /// body.
    fn read(framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool, Vec<u8>), ChunkError> {
        let (mut reader, mut received, mut content) = (BodyReader::new(framing), Buffer::default(), Vec::new());
        for piece in bytes.chunks(step) {
            received.put(piece);
            reader.read(&mut received, |data| content.extend_from_slice(data))?;
        }
        Ok((content, reader.is_complete(), received.to_vec()))
    }

    #[track_caller]
    fn check(framing: Framing, bytes: &str, content: &str, done: bool, rest: &str) {
        for step in 1..=bytes.len() {
            let found = read(framing, bytes.as_bytes(), step).expect("well-formed");
            let found = (
                String::from_utf8(found.0).unwrap(),
                found.1,
                String::from_utf8(found.2).unwrap(),
            );
            assert_eq!(found, (content.into(), done, rest.into()), "{bytes:?} by {step}");
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        check(Framing::None, "GET /", "", true, "GET /");
        check(Framing::ContentLength(0), "GET /", "", true, "GET /");
        check(Framing::ContentLength(3), "abcGET /", "abc", true, "GET /");
        check(Framing::ContentLength(4), "abc", "abc", false, "");
        check(Framing::ContentLength(u64::MAX), "abc", "abc", false, "");
        check(Framing::CloseDelimited, "abc", "abc", false, "");
        check(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET /", "abc", true, "GET /");
        check(Framing::Chunked, "0\r\n\r\n", "", true, "");
        check(Framing::Chunked, "003\r\nabc\r\n00\r\n\r\n", "abc", true, "");
        check(
            Framing::Chunked,
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
            true,
            "",
        );
        check(
            Framing::Chunked,
            "1;a=b\r\nx\r\n0;c\r\nTrailer: 1\r\nOther: 2\r\n\r\nG",
            "x",
            true,
            "G",
        );
        check(Framing::Chunked, "3\r\nabc\r\n0\r\n", "abc", false, "");
    }

    #[test]
    fn s101_chunks_have_one_reading_or_none() {
        for broken in [
            "zz\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\nx\r\n",
            "1 \r\nx\r\n",
            "1\t;a\r\nx\r\n",
            "0x1\r\nx\r\n",
            "1\nx\r\n",
            "1\r\nx\n",
            "1\r\nxy\r\n",
            "1\r\nx0\r\n\r\n",
            "1\rx\r\n",
            "1;a\nb\r\nx\r\n",
            "1;a\rb\r\nx\r\n",
            "1;\0\r\nx\r\n",
            "ffffffffffffffff\r\nx",
            "10000000000000000\r\nx",
            "0\r\n\n",
            "0\r\nTrailer: 1\n\r\n",
            "0\r\n\rx",
        ] {
            for step in 1..=broken.len() {
                assert!(
                    read(Framing::Chunked, broken.as_bytes(), step).is_err(),
                    "{broken:?} by {step}"
                );
            }
        }
    }

    #[test]
    fn chunk_extensions_and_trailers_are_bounded() {
        let fits = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(200));
        assert!(read(Framing::Chunked, fits.as_bytes(), 7).is_ok_and(|found| found.1));
        let endless = format!("1;{}", "e".repeat(300));
        assert!(read(Framing::Chunked, endless.as_bytes(), 7).is_err());
        let trailers = format!("0\r\n{}", "T: 1\r\n".repeat(3_000));
        assert!(read(Framing::Chunked, trailers.as_bytes(), 1_000).is_err());
        let trailer = format!("0\r\nT: {}", "1".repeat(20_000));
        assert!(read(Framing::Chunked, trailer.as_bytes(), 1_000).is_err());
    }
}
