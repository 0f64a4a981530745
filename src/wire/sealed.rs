//! What rides on the VXLAN port beside VXLAN: sealed frames, and the handshakes
//! that make their keys.
//!
//! The first byte says which. Bit 3 is clear in all of them: where VXLAN has the I
//! flag, so that whoever only knows VXLAN drops them (RFC 7348 section 5).
//!
//! A sealed frame takes the place of `VXLAN header, frame`:
//!
//! ```text
//!  0        1        2                 6                          14
//! | type 4 | lane   | key index (u32) | counter (u64)            |
//! | VNI (24 bits), reserved (8 bits) | Ethernet frame …          |  sealed
//! | tag (16 bytes)                                                |
//! ```
//!
//! Numbers are big-endian. The first 14 bytes are authenticated, the second word of
//! the VXLAN header and the frame are encrypted too. Without both, and with the tag
//! alone, it is a sign of life. With 26 bytes more than plain VXLAN a container's
//! packet has 1424 bytes left of an underlay's 1500.

use super::vxlan::{self, Vni};

/// The first message of a handshake.
pub const INITIATION: u8 = 1;
/// The second message of a handshake.
pub const RESPONSE: u8 = 2;
/// What a host under load answers instead: proof of the sender's address.
pub const COOKIE: u8 = 3;
/// A sealed frame.
pub const DATA: u8 = 4;

/// Bytes of the header that is authenticated and not encrypted.
pub const HEADER: usize = 14;
/// Bytes in front of the Ethernet frame.
pub const HEADROOM: usize = HEADER + WORD;
/// Bytes of the tag behind it.
pub const TAG: usize = 16;
/// The VNI and a reserved byte, as in VXLAN.
const WORD: usize = 4;

/// What sealing takes from a path, beside what plain VXLAN takes of it.
pub const OVERHEAD: u16 = (HEADROOM + TAG - vxlan::LEN) as u16;

/// Whether a datagram on the VXLAN port is not VXLAN, by its first byte.
pub fn is_sealed(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|kind| (INITIATION..=DATA).contains(kind))
}

/// The part of a sealed frame that is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which worker of the sender sealed it: each has its own key and counter.
    pub lane: u8,
    /// The receiver's number for the session.
    pub index: u32,
    /// Counts the lane's datagrams; never used twice.
    pub counter: u64,
}

impl Header {
    /// As bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = DATA;
        bytes[1] = self.lane;
        bytes[2..6].copy_from_slice(&self.index.to_be_bytes());
        bytes[6..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// Of a sealed frame or sign of life; `None` if it is neither, by its type or
    /// its length.
    pub fn parse(datagram: &[u8]) -> Option<Header> {
        let (header, sealed) = datagram.split_first_chunk::<HEADER>()?;
        let [DATA, lane, i0, i1, i2, i3, counter @ ..] = *header else { return None };
        let fits = sealed.len() == TAG || sealed.len() > WORD + TAG;
        let index = u32::from_be_bytes([i0, i1, i2, i3]);
        fits.then_some(Header { lane, index, counter: u64::from_be_bytes(counter) })
    }
}

/// The word between header and frame, before it is encrypted.
pub fn word(vni: Vni) -> [u8; WORD] {
    let [_, a, b, c] = vni.get().to_be_bytes();
    [a, b, c, 0]
}

/// The VNI of such a word. The reserved byte is ignored, as VXLAN's is.
pub fn vni([a, b, c, _]: [u8; WORD]) -> Vni {
    Vni::from_bytes([a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Header = Header { lane: 3, index: 0x0102_0304, counter: 0x1112_1314_1516_1718 };

    #[test]
    fn header_is_as_written_above() {
        let bytes = HEAD.bytes();
        assert_eq!(bytes, [4, 3, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        let datagram = [&bytes[..], &[0; 4 + 1 + TAG]].concat();
        assert_eq!(Header::parse(&datagram), Some(HEAD));
        assert_eq!(Header::parse(&datagram[..HEADER + TAG]), Some(HEAD), "a sign of life");
    }

    #[test]
    fn every_other_length_and_type_is_refused() {
        let datagram = [&HEAD.bytes()[..], &[0; 100]].concat();
        let fits = |len: &usize| Header::parse(&datagram[..*len]).is_some();
        let fitting: Vec<usize> = (0..=datagram.len()).filter(fits).collect();
        assert_eq!(fitting[..2], [HEADER + TAG, HEADROOM + 1 + TAG]);
        for kind in (0..=u8::MAX).filter(|kind| *kind != DATA) {
            let mut other = datagram.clone();
            other[0] = kind;
            assert_eq!(Header::parse(&other), None, "{kind}");
        }
    }

    #[test]
    fn no_type_can_be_taken_for_vxlan() {
        for kind in [INITIATION, RESPONSE, COOKIE, DATA] {
            let mut datagram = [0; 64];
            datagram[0] = kind;
            assert!(is_sealed(&datagram));
            assert_eq!(vxlan::parse(&mut datagram), Err(vxlan::Error::NoVni));
        }
        assert!(!is_sealed(&vxlan::header(Vni::new(7).unwrap())));
        assert!(!is_sealed(&[]));
    }

    #[test]
    fn the_word_is_vxlans_second() {
        let id = Vni::new(0x0012_3456).unwrap();
        assert_eq!(word(id), vxlan::header(id)[4..]);
        assert_eq!(vni(word(id)), id);
        assert_eq!(OVERHEAD, 26);
    }
}
