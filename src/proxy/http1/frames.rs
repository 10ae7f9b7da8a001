//! Is the stream of a WebSocket between two frames (RFC 6455 section 5.2)? Only there another frame can be put into it.

/// A Close frame with the status 1001, "going away" (RFC 6455 section 7.4.1), as a server sends it: without a mask.
pub const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xE9];

/// The longest head of a frame: two bytes, eight of the length, four of the mask.
const HEAD_MAX: usize = 14;

/// The position in the frames of one direction.
#[derive(Debug, Default)]
pub struct FramePosition {
    head: [u8; HEAD_MAX],
    /// The number of bytes of the head that were read.
    head_read: usize,
    /// The number of bytes of the payload that are missing.
    payload_left: u64,
}

impl FramePosition {
    /// Moves on by `bytes` of the stream.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len());
                self.payload_left -= taken as u64;
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.head_read] = bytes[0];
            self.head_read += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.payload_length() {
                self.head_read = 0;
                self.payload_left = length;
            }
        }
    }

    /// Returns whether the next byte begins a frame.
    pub const fn is_between_frames(&self) -> bool {
        self.head_read == 0 && self.payload_left == 0
    }

    /// Returns the length of the payload, once the head is complete.
    fn payload_length(&self) -> Option<u64> {
        let head = &self.head[..self.head_read];
        let second = *head.get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let extended = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if head.len() < 2 + extended + mask {
            return None;
        }
        let long = |bytes: &[u8]| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        Some(match extended {
            0 => u64::from(second & 0x7F),
            _ => long(&head[2..2 + extended]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a frame with a payload of `length` bytes.
    fn frame(length: usize, mask: bool) -> Vec<u8> {
        let mut frame = vec![0x82];
        let bit = if mask { 0x80 } else { 0 };
        match length {
            0..=125 => frame.push(bit | length as u8),
            126..=0xFFFF => {
                frame.push(bit | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0xFF, length + if mask { 4 } else { 0 }));
        frame
    }

    #[test]
    fn a_close_frame_is_one_whole_frame() {
        let mut position = FramePosition::default();
        position.advance(GOING_AWAY);
        assert!(position.is_between_frames());
    }

    proptest! {
        #[test]
        fn only_the_end_of_a_frame_is_between_frames(
            frames in prop::collection::vec((prop_oneof![0..200_usize, 65_500..65_600_usize], any::<bool>()), 1..4),
            cuts in 1..64_usize,
        ) {
            let mut position = FramePosition::default();
            for (length, mask) in frames {
                let frame = frame(length, mask);
                let (last, rest) = frame.split_last().unwrap();
                for part in rest.chunks(cuts) {
                    position.advance(part);
                    prop_assert!(!position.is_between_frames());
                }
                position.advance(&[*last]);
                prop_assert!(position.is_between_frames());
            }
        }
    }
}
