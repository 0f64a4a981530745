//! Frames of `vxmesh network verify`: they go from router to router of an encrypted
//! network, as every frame of it does, and come back.
//!
//! ```text
//!  0                6              12       14                30     31
//! | router's MAC   | router's MAC | 0x88B5 | "vxmesh verify 1\0" | kind | mark … |
//! ```
//!
//! The EtherType is one that IEEE 802 leaves for local experiments. Containers cannot
//! send such frames: the router's MAC is not theirs.

use super::frame::View;
use super::mac::Mac;

/// Local Experimental EtherType 1 (IEEE 802, clause 9.2.4).
const ETHERTYPE: u16 = 0x88b5;
const MAGIC: &[u8; 16] = b"vxmesh verify 1\0";
const KIND: usize = View::L3 + MAGIC.len();

/// Bytes in front of the mark.
pub const HEADER: usize = KIND + 1;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To be sent back.
    Ask = 1,
    /// Sent back.
    Answer = 2,
}

/// A frame of the network whose router has this MAC.
pub fn frame(router: Mac, kind: Kind, mark: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + mark.len());
    frame.extend(router.0);
    frame.extend(router.0);
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.extend(MAGIC);
    frame.push(kind as u8);
    frame.extend(mark);
    frame
}

/// What kind of such a frame of the network this is, and its mark; `None` for all others.
pub fn parse<'a>(router: Mac, view: &View, frame: &'a [u8]) -> Option<(Kind, &'a [u8])> {
    if view.ethertype != ETHERTYPE || view.src != router || view.dst != router {
        return None;
    }
    let (magic, rest) = frame.get(View::L3..)?.split_first_chunk::<16>()?;
    let (kind, mark) = rest.split_first()?;
    let kind = [Kind::Ask, Kind::Answer].into_iter().find(|k| *k as u8 == *kind)?;
    (magic == MAGIC).then_some((kind, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Mac = Mac([2, 0x42, 10, 0, 0, 1]);

    #[test]
    fn written_and_read() {
        for kind in [Kind::Ask, Kind::Answer] {
            let frame = frame(ROUTER, kind, b"mark");
            let view = View::parse(&frame).unwrap();
            assert_eq!(parse(ROUTER, &view, &frame), Some((kind, &b"mark"[..])));
            assert_eq!(frame.len(), HEADER + 4);
        }
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let good = frame(ROUTER, Kind::Ask, b"");
        for at in 0..good.len() {
            let mut other = good.clone();
            other[at] ^= 0x80;
            let read = View::parse(&other).ok().and_then(|v| parse(ROUTER, &v, &other));
            assert_eq!(read, None, "byte {at}");
        }
        for len in 0..good.len() {
            let short = &good[..len];
            let read = View::parse(short).ok().and_then(|v| parse(ROUTER, &v, short));
            assert_eq!(read, None, "{len} bytes");
        }
    }
}
