//! How are the bytes of a connection held until they are parsed or sent?

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// The smallest capacity in bytes of a buffer with bytes. Most heads fit, and the allocator is quick with so little.
const SMALL_BYTES: usize = 1024;
/// The bytes that a buffer without room reads at most.
const FIRST_BYTES: usize = 4096;
/// The bytes by which a larger buffer grows at least when bytes are put into it.
const STEP_BYTES: usize = 8192;
/// The smallest free space in bytes that is worth a system call.
const ROOM_BYTES: usize = 1024;

/// A queue of bytes that lives as long as its connection, so that no request allocates a buffer.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The offset of the first byte that was not consumed.
    start: usize,
    /// The capacity in bytes up to which the buffer grows when a read fills it. A head that is not whole yet may need
    /// more.
    fill_max: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            fill_max: FIRST_BYTES,
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Buffer {
    // Inlined, and growing apart: a head is written in twenty pieces, nearly all into room that is there.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.grow_for(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    #[cold]
    fn grow_for(&mut self, bytes: usize) {
        let capacity = self.bytes.capacity();
        if capacity == 0 {
            self.bytes.reserve(bytes.max(SMALL_BYTES));
        } else if capacity >= STEP_BYTES {
            // A vector would double, and hold twice the bytes that wait for a client.
            self.bytes.reserve_exact(bytes.max(STEP_BYTES));
        }
    }

    /// Sets the capacity in bytes up to which reads of a body enlarge the buffer.
    pub const fn set_fill_max(&mut self, bytes: usize) {
        self.fill_max = bytes;
    }

    /// Returns the memory in bytes that the buffer holds.
    #[cfg(test)]
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Removes `count` bytes from the front.
    ///
    /// # Panics
    /// Fewer than `count` bytes are in the buffer.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "{count} of {} bytes", self.len());
        self.start += count;
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Shrinks a large buffer to a small one if its bytes fit. For a connection that waits for its next request.
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > 2 * FIRST_BYTES && self.len() <= FIRST_BYTES {
            let mut small = Self::default();
            small.put(self);
            *self = small;
        }
    }

    /// Gives back the room of an empty buffer.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Reads from `stream` once and returns the number of bytes; 0 is the end of the stream.
    pub fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() == 0 {
            return self.poll_first(stream, cx);
        }
        if self.bytes.capacity() - self.bytes.len() < ROOM_BYTES {
            self.bytes.drain(..self.start);
            self.start = 0;
            self.bytes.reserve(ROOM_BYTES);
        }
        // The future of `read_buf` keeps no state between polls, so each poll can create a new future.
        let count = ready!(pin!(stream.read_buf(&mut self.bytes)).poll(cx))?;
        let capacity = self.bytes.capacity();
        if self.bytes.len() == capacity && capacity < self.fill_max {
            // Most responses fit into the double. Further steps would leave a trail of freed pieces in the allocator.
            let more = if capacity < 2 * FIRST_BYTES {
                capacity
            } else {
                self.fill_max
            };
            self.bytes.reserve_exact(more.min(self.fill_max - capacity));
        }
        Poll::Ready(Ok(count))
    }

    /// Reads like [`Self::poll_fill`], and makes room for what has arrived: a connection that waits has none.
    fn poll_first(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); FIRST_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        self.put(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Writes the whole buffer to `stream` and flushes the stream.
    pub fn poll_flush(&mut self, stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, self))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.consume(count),
            }
        }
        Pin::new(stream).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn put_bytes_are_taken_in_order(pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9_000), 0.0..1.0_f64), 0..12)) {
            let (mut buffer, mut put, mut taken) = (Buffer::default(), Vec::new(), Vec::new());
            for (piece, part) in pieces {
                buffer.put(&piece);
                put.extend(piece);
                let count = (buffer.len() as f64 * part) as usize;
                taken.extend_from_slice(&buffer[..count]);
                buffer.consume(count);
                buffer.shrink();
            }
            taken.extend_from_slice(&buffer);
            prop_assert_eq!(taken, put);
        }
    }

    #[tokio::test]
    async fn a_buffer_grows_while_it_is_filled_and_shrinks_again() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
        const FILL_MAX: usize = 50_000;
        let (mut buffer, mut source, mut read) = (Buffer::default(), &bytes[..], Vec::new());
        buffer.set_fill_max(FILL_MAX);
        let mut largest = 0;
        loop {
            let count = std::future::poll_fn(|cx| buffer.poll_fill(&mut source, cx))
                .await
                .unwrap();
            largest = largest.max(count);
            read.extend_from_slice(&buffer);
            buffer.consume(buffer.len());
            if count == 0 {
                break;
            }
        }
        assert!(read == bytes);
        assert_eq!((largest, buffer.capacity()), (FILL_MAX, FILL_MAX));
        buffer.put(b"few");
        buffer.shrink();
        assert_eq!((&*buffer, buffer.capacity()), (&b"few"[..], SMALL_BYTES));
        buffer.release();
        assert_eq!(&*buffer, b"few", "bytes stay");
        buffer.clear();
        buffer.release();
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn a_buffer_of_bytes_that_wait_holds_little_more_than_them() {
        let mut buffer = Buffer::default();
        for piece in [300, 60_000, 2, 7, 2, 30_000, 5] {
            buffer.put(&vec![b'a'; piece]);
            assert!(
                buffer.capacity() <= buffer.len() + STEP_BYTES,
                "{} for {}",
                buffer.capacity(),
                buffer.len()
            );
        }
    }
}
