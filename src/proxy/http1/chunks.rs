//! Where does a chunked body end, and which bytes are its content (RFC 9112 section 7.1)? Bytes that two parsers could
//! read differently are rejected, because the end of the body decides where the next request begins (S101). Chunk
//! extensions and trailer fields are dropped.

use crate::proxy::http1::buffer::Buffer;

/// The limit of the line that begins a chunk, in bytes: size, extensions and CRLF together.
const LINE_BYTES_MAX: usize = 256;
/// The limit of all trailer fields of one body together, in bytes.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// The limit of hexadecimal digits in a chunk size. 15 digits are 60 bits, so the size fits a `u64`.
const SIZE_DIGITS_MAX: usize = 15;

/// A chunk or a trailer field is malformed or too long, so the end of the body cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunk")]
pub struct ChunkError;

/// Decodes one chunked body, which may arrive in pieces of any size.
#[derive(Debug)]
pub struct ChunkDecoder {
    state: ChunkState,
    trailer_bytes: usize,
}

#[derive(Debug)]
enum ChunkState {
    ChunkSize,
    ChunkData {
        remaining: u64,
    },
    /// The CRLF after the data of a chunk.
    ChunkDataEnd,
    TrailerSection,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self {
            state: ChunkState::ChunkSize,
            trailer_bytes: 0,
        }
    }
}

impl ChunkDecoder {
    /// Removes the bytes of the body from `received`, and calls `data` with each piece of its content. Returns whether
    /// the last chunk and the trailer section were read.
    ///
    /// # Errors
    /// A chunk or a trailer field is malformed or too long.
    pub fn decode(&mut self, received: &mut Buffer, mut data: impl FnMut(&[u8])) -> Result<bool, ChunkError> {
        loop {
            match &mut self.state {
                ChunkState::ChunkSize => {
                    let Some(line) = line(received, LINE_BYTES_MAX)? else {
                        return Ok(false);
                    };
                    let size = size(&received[..line])?;
                    received.consume(line + 2);
                    self.state = match size {
                        0 => ChunkState::TrailerSection,
                        remaining => ChunkState::ChunkData { remaining },
                    };
                }
                ChunkState::ChunkData { remaining } => {
                    let count = received.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    if count == 0 {
                        return Ok(false);
                    }
                    data(&received[..count]);
                    received.consume(count);
                    *remaining -= count as u64;
                    if *remaining == 0 {
                        self.state = ChunkState::ChunkDataEnd;
                    }
                }
                ChunkState::ChunkDataEnd => match received[..] {
                    [b'\r', b'\n', ..] => {
                        received.consume(2);
                        self.state = ChunkState::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(ChunkError),
                },
                ChunkState::TrailerSection => {
                    let room = TRAILER_BYTES_MAX - self.trailer_bytes;
                    let Some(line) = line(received, room)? else {
                        return Ok(false);
                    };
                    received.consume(line + 2);
                    if line == 0 {
                        return Ok(true);
                    }
                    self.trailer_bytes += line + 2;
                }
            }
        }
    }
}

/// Returns the length of the first line without its CRLF; `None` while the line is incomplete.
///
/// # Errors
/// The line is longer than `bytes_max`, CRLF included, or has a bare CR or LF.
fn line(received: &[u8], bytes_max: usize) -> Result<Option<usize>, ChunkError> {
    let end = received.iter().position(|&byte| byte == b'\n' || byte == b'\r');
    match end {
        Some(end) if end + 2 > bytes_max => Err(ChunkError),
        Some(end) => match received[end..] {
            [b'\r', b'\n', ..] => Ok(Some(end)),
            [b'\r'] => Ok(None),
            _ => Err(ChunkError),
        },
        None if received.len() >= bytes_max => Err(ChunkError),
        None => Ok(None),
    }
}

/// Parses `chunk-size [ chunk-ext ]` and returns the size in bytes.
///
/// # Errors
/// The size is not 1 to 15 hexadecimal digits, or an extension has control bytes. A space before `;`, which RFC 9112
/// section 7.1.1 calls bad whitespace, is an error too: some parsers end the size there.
fn size(line: &[u8]) -> Result<u64, ChunkError> {
    let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extensions) = line.split_at(digits);
    if !extensions.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()) {
        return Err(ChunkError);
    }
    if !(1..=SIZE_DIGITS_MAX).contains(&digits.len()) {
        return Err(ChunkError);
    }
    digits.iter().try_fold(0, |size: u64, byte| {
        let digit = char::from(*byte).to_digit(16).ok_or(ChunkError)?;
        Ok(size << 4 | u64::from(digit))
    })
}

/// Writes `data` as one chunk. `data` must not be empty: an empty chunk would end the body.
pub fn put_chunk(out: &mut Buffer, data: &[u8]) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut size = data.len();
    while size > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[size & 0xF];
        size >>= 4;
    }
    out.put(&digits[at..]);
    out.put(b"\r\n");
    out.put(data);
    out.put(b"\r\n");
}

/// The last chunk, without trailer fields.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoded_chunks_decode_to_their_content(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8), step in 1..50_usize) {
            let mut sent = Buffer::default();
            for piece in &pieces {
                put_chunk(&mut sent, piece);
            }
            sent.put(LAST_CHUNK);
            let (mut decoder, mut received, mut content, mut done) = (ChunkDecoder::default(), Buffer::default(), Vec::new(), false);
            for bytes in sent.chunks(step) {
                prop_assert!(!done);
                received.put(bytes);
                done = decoder.decode(&mut received, |data| content.extend_from_slice(data)).unwrap();
            }
            prop_assert!(done && received.is_empty());
            prop_assert_eq!(content, pieces.concat());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..20_usize) {
            let (mut decoder, mut received) = (ChunkDecoder::default(), Buffer::default());
            for piece in bytes.chunks(step) {
                received.put(piece);
                if decoder.decode(&mut received, |_| {}).is_err() {
                    break;
                }
            }
        }
    }
}
