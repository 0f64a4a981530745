//! The Internet checksum (RFC 1071) and its incremental form (RFC 1624).
//!
//! Sums are kept as wide, unfolded numbers while they grow: [`sum`] a piece,
//! add the pieces, [`fold`] once, and complement for the wire.

/// Sum of the big-endian 16-bit words of `data`, unfolded; an odd last byte
/// counts as the high half of a word. Pieces may be added together if all but
/// the last have an even length.
pub fn sum(data: &[u8]) -> u64 {
    // Words are added as the machine reads them and the result is turned round
    // once: the one's-complement sum does not care (RFC 1071, 2(B)). Nor does
    // it care for the words' width, so four are taken at once (2(C)).
    let (blocks, rest) = data.as_chunks::<64>();
    let (quads, rest) = rest.as_chunks::<4>();
    let (pairs, last) = rest.as_chunks::<2>();
    let mut native = sum_blocks(blocks);
    for quad in quads {
        native += u64::from(u32::from_ne_bytes(*quad));
    }
    for pair in pairs {
        native += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [byte] = last {
        native += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    u64::from(u16::from_be(fold(native)))
}

/// Sum of native 32-bit words, in a form that compilers turn into four vectors
/// side by side, with nothing beyond the target's baseline. Of every 64-bit word
/// the high half is summed, and the whole, which wraps; the low halves are what
/// is left of that. It spares a vector operation in five.
fn sum_blocks(blocks: &[[u8; 64]]) -> u64 {
    let mut wholes = [0u64; 8];
    let mut highs = [0u64; 8];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (i, word) in words.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            wholes[i] = wholes[i].wrapping_add(word);
            highs[i] += word >> 32;
        }
    }
    let high: u64 = highs.iter().sum();
    let whole = wholes.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word));
    whole.wrapping_sub(high << 32) + high
}

/// Folds the carries of an unfolded sum back into 16 bits.
pub fn fold(sum: u64) -> u16 {
    // A number plus its halves exchanged has their sum in its upper half, the
    // carry out of the lower half included.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The checksum field for what sums up to `sum`. It is never 0, which means "no
/// checksum" to UDP (RFC 768); in one's complement 0xffff is the same number.
pub fn finish(sum: u64) -> u16 {
    match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// The checksum field after one 16-bit word that it covers changed from `old`
/// to `new` (RFC 1624, equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

/// As [`update`], for checksums of [`finish`]: never 0. `old` and `new` may be the
/// folded sums of several words.
pub fn update_finished(checksum: u16, old: u16, new: u16) -> u16 {
    match update(checksum, old, new) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Sum of the pseudo-header of TCP, UDP or ICMPv6 (RFC 9293 3.1, RFC 8200 8.1).
/// `addresses` are source and destination as they stand in the IP header,
/// 8 or 32 bytes; `len` is the length of the transport header and its payload.
pub fn pseudo_header(addresses: &[u8], protocol: u8, len: usize) -> u64 {
    sum(addresses) + u64::from(protocol) + (len as u64 & 0xffff) + (len as u64 >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(data: &[u8]) -> u16 {
        let words =
            data.chunks(2).map(|c| u64::from(c[0]) << 8 | c.get(1).map_or(0, |b| u64::from(*b)));
        fold(words.sum())
    }

    /// 0 and 0xffff are the same number in one's complement.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    #[test]
    fn rfc_1071s_example() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn a_finished_checksum_is_never_zero() {
        assert_eq!(finish(0xffff), 0xffff);
        assert_eq!(finish(0x1_2344), !0x2345);
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(data in proptest::collection::vec(any::<u8>(), 0..3000), skip in 0usize..9) {
            let data = &data[skip.min(data.len())..];
            prop_assert!(same(fold(sum(data)), naive(data)));
        }

        #[test]
        fn update_equals_a_new_sum(mut data in proptest::collection::vec(any::<u8>(), 2..64), at in 0usize..31, new: u16) {
            data.truncate(data.len() & !1);
            let at = at * 2 % data.len();
            let before = !fold(sum(&data));
            let old = u16::from_be_bytes([data[at], data[at + 1]]);
            data[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert!(same(update(before, old, new), !fold(sum(&data))));
        }
    }
}
