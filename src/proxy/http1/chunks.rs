//! What do chunks hold (RFC 9112 section 7.1)? Read strictly: what two parsers could read differently is refused, because
//! where a chunk ends decides where the next request begins (S101). Extensions and trailers are dropped.

use crate::proxy::http1::buffer::Buffer;

/// Size, extensions and line end of one chunk.
const LINE_BYTES_MAX: usize = 256;
/// All trailer fields of one body.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Hexadecimal digits of a size: what fits 60 bits, far above any body.
const SIZE_DIGITS_MAX: usize = 15;

/// Where the chunks end cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunk")]
pub struct BrokenChunks;

/// How far a body in chunks was read.
#[derive(Debug)]
pub struct Chunks {
    at: At,
    trailer_bytes: usize,
}

#[derive(Debug)]
enum At {
    Size,
    Content {
        left: u64,
    },
    /// The line end behind a chunk's content.
    ContentEnd,
    Trailer,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            at: At::Size,
            trailer_bytes: 0,
        }
    }
}

impl Chunks {
    /// Takes what `arrived` holds of them; `true` once the last one and its trailer were taken.
    ///
    /// # Errors
    /// They are broken.
    pub fn take(&mut self, arrived: &mut Buffer, mut data: impl FnMut(&[u8])) -> Result<bool, BrokenChunks> {
        loop {
            match &mut self.at {
                At::Size => {
                    let Some(line) = line(arrived, LINE_BYTES_MAX)? else {
                        return Ok(false);
                    };
                    let size = size(&arrived[..line])?;
                    arrived.take(line + 2);
                    self.at = match size {
                        0 => At::Trailer,
                        left => At::Content { left },
                    };
                }
                At::Content { left } => {
                    let count = arrived.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if count == 0 {
                        return Ok(false);
                    }
                    data(&arrived[..count]);
                    arrived.take(count);
                    *left -= count as u64;
                    if *left == 0 {
                        self.at = At::ContentEnd;
                    }
                }
                At::ContentEnd => match arrived[..] {
                    [b'\r', b'\n', ..] => {
                        arrived.take(2);
                        self.at = At::Size;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(BrokenChunks),
                },
                At::Trailer => {
                    let room = TRAILER_BYTES_MAX - self.trailer_bytes;
                    let Some(line) = line(arrived, room)? else {
                        return Ok(false);
                    };
                    arrived.take(line + 2);
                    if line == 0 {
                        return Ok(true);
                    }
                    self.trailer_bytes += line + 2;
                }
            }
        }
    }
}

/// The length of the first line without its CRLF; `None` while it has not arrived.
fn line(arrived: &[u8], bytes_max: usize) -> Result<Option<usize>, BrokenChunks> {
    let end = arrived.iter().position(|&byte| byte == b'\n' || byte == b'\r');
    match end {
        Some(end) if end + 2 > bytes_max => Err(BrokenChunks),
        Some(end) => match arrived[end..] {
            [b'\r', b'\n', ..] => Ok(Some(end)),
            [b'\r'] => Ok(None),
            _ => Err(BrokenChunks),
        },
        None if arrived.len() >= bytes_max => Err(BrokenChunks),
        None => Ok(None),
    }
}

/// `chunk-size [ chunk-ext ]`. No space before `;`, which RFC 9112 section 7.1.1 calls bad and some take for the end.
fn size(line: &[u8]) -> Result<u64, BrokenChunks> {
    let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extensions) = line.split_at(digits);
    if !extensions.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()) {
        return Err(BrokenChunks);
    }
    if !(1..=SIZE_DIGITS_MAX).contains(&digits.len()) {
        return Err(BrokenChunks);
    }
    digits.iter().try_fold(0, |size: u64, byte| {
        let digit = char::from(*byte).to_digit(16).ok_or(BrokenChunks)?;
        Ok(size << 4 | u64::from(digit))
    })
}

/// Writes `data`, which is not empty, as one chunk.
pub fn put(out: &mut Buffer, data: &[u8]) {
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

/// The end of a body in chunks.
pub const LAST: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8), step in 1..50_usize) {
            let mut sent = Buffer::default();
            for piece in &pieces {
                put(&mut sent, piece);
            }
            sent.put(LAST);
            let (mut chunks, mut arrived, mut content, mut done) = (Chunks::default(), Buffer::default(), Vec::new(), false);
            for bytes in sent.chunks(step) {
                prop_assert!(!done);
                arrived.put(bytes);
                done = chunks.take(&mut arrived, |data| content.extend_from_slice(data)).unwrap();
            }
            prop_assert!(done && arrived.is_empty());
            prop_assert_eq!(content, pieces.concat());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..20_usize) {
            let (mut chunks, mut arrived) = (Chunks::default(), Buffer::default());
            for piece in bytes.chunks(step) {
                arrived.put(piece);
                if chunks.take(&mut arrived, |_| {}).is_err() {
                    break;
                }
            }
        }
    }
}
