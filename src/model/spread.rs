//! How do numbers that follow each other become ones that look random?

/// Returns a number that looks random, a different one for each `bits` (the finalizer of SplitMix64). It guards nothing: anybody
/// can compute it.
pub const fn spread(bits: u64) -> u64 {
    let mut bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
