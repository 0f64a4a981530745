//! The VXLAN header, RFC 7348 section 5: eight bytes between the outer UDP
//! header and the inner Ethernet frame.
//!
//! ```text
//!  0                   1                   2                   3
//! |R|R|R|R|I|R|R|R|            Reserved                           |
//! |                VXLAN Network Identifier (VNI) |   Reserved    |
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// The UDP port that IANA gave to VXLAN.
pub const PORT: u16 = 4789;
/// Bytes of the header.
pub const LEN: usize = 8;
/// What the tunnel takes from an IPv4 path: outer IPv4 and UDP, VXLAN, inner Ethernet.
pub const OVERHEAD_V4: u16 = 20 + 8 + LEN as u16 + 14;
/// What the tunnel takes from an IPv6 path.
pub const OVERHEAD_V6: u16 = OVERHEAD_V4 + 20;

const FLAG_I: u8 = 0x08;

/// A VXLAN Network Identifier: 24 bits that name one network on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The highest VNI, 2^24 − 1.
    pub const MAX: u32 = 0x00ff_ffff;

    /// `None` above [`Vni::MAX`].
    pub fn new(vni: u32) -> Option<Vni> {
        (vni <= Vni::MAX).then_some(Vni(vni))
    }

    /// From its three bytes, in network order.
    pub(super) fn from_bytes([a, b, c]: [u8; 3]) -> Vni {
        Vni(u32::from_be_bytes([0, a, b, c]))
    }

    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = String;

    fn try_from(vni: u32) -> Result<Vni, String> {
        Vni::new(vni).ok_or_else(|| {
            format!("VNI {vni} does not fit 24 bits: choose one from 1 to {}", Vni::MAX)
        })
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a datagram on the VXLAN port is no VXLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer than eight bytes.
    Truncated,
    /// The I flag is clear, so the VNI means nothing.
    NoVni,
}

/// The header in front of a frame of `vni`; reserved bits are zero.
pub fn header(vni: Vni) -> [u8; LEN] {
    let [_, a, b, c] = vni.0.to_be_bytes();
    [FLAG_I, 0, 0, 0, a, b, c, 0]
}

/// The VNI of a datagram that is VXLAN.
pub fn peek(datagram: &[u8]) -> Option<Vni> {
    let header = datagram.first_chunk::<LEN>()?;
    (header[0] & FLAG_I != 0).then(|| Vni::from_bytes([header[4], header[5], header[6]]))
}

/// Splits a datagram into its VNI and the inner frame. Reserved bits are
/// ignored, as RFC 7348 asks of a receiver.
pub fn parse(datagram: &mut [u8]) -> Result<(Vni, &mut [u8]), Error> {
    let (header, frame) = datagram.split_at_mut_checked(LEN).ok_or(Error::Truncated)?;
    if header[0] & FLAG_I == 0 {
        return Err(Error::NoVni);
    }
    Ok((Vni::from_bytes([header[4], header[5], header[6]]), frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_rfc_7348s() {
        let vni = Vni::new(0x0012_3456).unwrap();
        assert_eq!(header(vni), [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
        let mut datagram = [header(vni).as_slice(), b"frame"].concat();
        assert_eq!(peek(&datagram), Some(vni));
        assert_eq!(parse(&mut datagram).unwrap(), (vni, b"frame".to_vec().as_mut_slice()));
    }

    #[test]
    fn reserved_bits_are_ignored_on_receipt() {
        assert_eq!(parse(&mut [0xff, 1, 2, 3, 0, 0, 7, 0xff]).unwrap().0, Vni(7));
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(parse(&mut [8; 7]), Err(Error::Truncated));
        assert_eq!(parse(&mut [0xf7, 0, 0, 0, 0, 0, 1, 0]), Err(Error::NoVni));
        assert_eq!((peek(&[8; 7]), peek(&[0xf7, 0, 0, 0, 0, 0, 1, 0])), (None, None));
    }
}
