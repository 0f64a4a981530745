//! Congestion marks across a tunnel, RFC 6040 (normal mode).

use super::checksum;
use super::frame::{Net, View};

/// The two ECN bits of a DS field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not know ECN.
    NotEct = 0,
    /// ECN capable, codepoint 1.
    Ect1 = 1,
    /// ECN capable, codepoint 0.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// From a TOS or traffic class byte.
    pub fn from_tos(tos: u8) -> Ecn {
        match tos & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }
}

/// The outer header carried a congestion mark that the inner packet's
/// transport would not understand; RFC 6040 section 4.2 says to drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongestionLost;

/// Copies the outer mark into the inner packet, as the tunnel's egress must
/// (RFC 6040 figure 4). Only two cells of the figure change anything: an outer
/// CE marks an ECN-capable packet, and an outer ECT(1) turns ECT(0) into it.
pub fn decapsulate(outer: Ecn, frame: &mut [u8], view: &View) -> Result<(), CongestionLost> {
    if matches!(view.net, Net::Arp | Net::Other) {
        return Ok(());
    }
    let inner = Ecn::from_tos(view.tos);
    let mark = match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => return Err(CongestionLost),
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Ecn::Ce,
        (Ecn::Ect0, Ecn::Ect1) => Ecn::Ect1,
        _ => return Ok(()),
    };
    let ip = &mut frame[View::L3..];
    match view.net {
        Net::V4 => {
            let old = u16::from_be_bytes([ip[0], ip[1]]);
            ip[1] = ip[1] & !3 | mark as u8;
            let new = u16::from_be_bytes([ip[0], ip[1]]);
            let sum = u16::from_be_bytes([ip[10], ip[11]]);
            ip[10..12].copy_from_slice(&checksum::update(sum, old, new).to_be_bytes());
        }
        _ => ip[1] = ip[1] & !0x30 | (mark as u8) << 4,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(tos: u8) -> Vec<u8> {
        let mut frame = vec![0u8; 14];
        frame[12] = 8;
        let mut ip = [0x45, tos, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = !checksum::fold(checksum::sum(&ip));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(ip);
        frame
    }

    fn after(inner: u8, outer: Ecn) -> Result<u8, CongestionLost> {
        let mut frame = packet(inner);
        let view = View::parse(&frame).unwrap();
        decapsulate(outer, &mut frame, &view)?;
        assert_eq!(checksum::fold(checksum::sum(&frame[14..34])), 0xffff, "header checksum");
        Ok(frame[15] & 3)
    }

    #[test]
    fn figure_4() {
        use Ecn::*;
        let rows = [
            (NotEct, [Ok(0), Ok(0), Ok(0), Err(CongestionLost)]),
            (Ect0, [Ok(2), Ok(1), Ok(2), Ok(3)]),
            (Ect1, [Ok(1), Ok(1), Ok(1), Ok(3)]),
            (Ce, [Ok(3), Ok(3), Ok(3), Ok(3)]),
        ];
        for (inner, expected) in rows {
            for (outer, want) in [NotEct, Ect1, Ect0, Ce].into_iter().zip(expected) {
                assert_eq!(after(inner as u8, outer), want, "{inner:?} inside {outer:?}");
            }
        }
    }
}
