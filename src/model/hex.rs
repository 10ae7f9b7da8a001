//! How are bytes written as hexadecimal digits, and read back?

/// The entry for a byte that is no digit. All bits are set, so that one such entry is visible in the OR of many.
const NO_NIBBLE: u8 = 0xFF;

/// The value of each byte as a lower-case digit. Without this table a digest took a
/// thousand instructions, and a keys file may have a million digests.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_NIBBLE; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    nibbles
};

/// Writes `bytes` as lower-case digits, two for each byte, to the front of `out`; stops at the end of `out`.
pub fn write(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 0xF)];
    }
}

/// Returns `bytes` as lower-case digits.
pub fn text(bytes: &[u8]) -> String {
    let mut digits = vec![0; 2 * bytes.len()];
    write(bytes, &mut digits);
    String::from_utf8(digits).expect("hexadecimal digits are ASCII")
}

/// Returns the `N` bytes that `digits` encode; `None` unless `digits` are `2 * N` lower-case digits.
pub fn read<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    let mut all = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
        all |= high | low;
        *byte = (high << 4) | (low & 0x0F);
    }
    (all != NO_NIBBLE).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_digits_read_back(bytes in any::<[u8; 16]>()) {
            prop_assert_eq!(read::<16>(text(&bytes).as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn anything_but_lower_case_digits_of_the_length_is_none() {
        assert_eq!(text(&[0x00, 0x9F, 0xFF]), "009fff");
        assert_eq!(read::<2>(b"00ff"), Some([0, 0xFF]));
        for digits in ["00fF", "00f", "00fff", "00ffff", "00f ", "00fg", "0x00", ""] {
            assert_eq!(read::<2>(digits.as_bytes()), None, "{digits:?}");
        }
    }
}
