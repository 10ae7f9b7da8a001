//! Where does a chunked body end, whatever its bytes?

use keygate::proxy::http1::buffer::Buffer;
use keygate::proxy::http1::chunks::ChunkDecoder;

/// Asserts that content, end and refusals do not depend on how the bytes are cut, and
/// that an accepted body follows RFC 9112 section 7.1 as a slow second parser reads it.
pub fn check(bytes: &[u8]) {
    let whole = read(bytes, bytes.len().max(1));
    for step in [1, 2, 3, 7] {
        let cut = read(bytes, step);
        match (&whole, &cut) {
            (Ok(whole), Ok(cut)) => assert_eq!(whole, cut, "by {step}: {bytes:?}"),
            (Err(()), Err(())) => {}
            _ => panic!("by {step}: {whole:?} and {cut:?} of {bytes:?}"),
        }
    }
    if let Ok((content, Some(rest))) = &whole {
        let consumed = &bytes[..bytes.len() - rest];
        assert_eq!(reference_decode(consumed).as_ref(), Some(content), "{bytes:?}");
    }
}

/// The content and, if the end was reached, the number of bytes after it.
type ReadOutcome = (Vec<u8>, Option<usize>);

fn read(bytes: &[u8], step: usize) -> Result<ReadOutcome, ()> {
    let (mut decoder, mut arrived, mut content) = (ChunkDecoder::default(), Buffer::default(), Vec::new());
    let mut ended = false;
    for piece in bytes.chunks(step) {
        arrived.put(piece);
        if !ended {
            let take = decoder.decode(&mut arrived, |data| content.extend_from_slice(data));
            ended = take.map_err(|_| ())?;
        }
    }
    Ok((content, ended.then_some(arrived.len())))
}

/// Returns the content of one chunked body; `None` where `bytes` is not exactly one body by the grammar.
fn reference_decode(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(bytes[..end].split(|byte| *byte == b';').next()?).ok()?;
        let is_size = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(line, 16).ok().filter(|_| is_size)?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        content.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        bytes = &bytes[end + 2..];
        if end == 0 {
            return bytes.is_empty().then_some(content);
        }
    }
}
