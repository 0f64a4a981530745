//! What balancing looks at in a packet: ports, TCP's flags and numbers, fragments.

use crate::wire::frame::{Net, Piece, View, protocol};

/// A TCP segment's part in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its flags.
    pub flags: u8,
    /// Its sequence number.
    pub sequence: u32,
    /// Its acknowledgement number.
    pub acknowledged: u32,
    /// Bytes of payload.
    pub len: u32,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Segment {
    fn read(tcp: &[u8], len: usize) -> Option<Segment> {
        let header = tcp.first_chunk::<20>()?;
        let number = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (sequence, acknowledged) = (number(4), number(8));
        Some(Segment { flags: header[13], sequence, acknowledged, len: len as u32 })
    }

    /// Whether it asks for a new connection.
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    pub(super) fn syn(&self) -> bool {
        self.flags & SYN != 0
    }

    pub(super) fn fin(&self) -> bool {
        self.flags & FIN != 0
    }

    pub(super) fn ack(&self) -> bool {
        self.flags & ACK != 0
    }

    /// Whether it breaks the connection off.
    pub fn rst(&self) -> bool {
        self.flags & RST != 0
    }

    /// The sequence number of what follows it: SYN and FIN count.
    pub(super) fn end(&self) -> u32 {
        let len = self.len.wrapping_add(u32::from(self.syn())).wrapping_add(u32::from(self.fin()));
        self.sequence.wrapping_add(len)
    }

    /// Sequence, acknowledgement number and flags of the reset that answers it where
    /// there is no connection (RFC 9293 section 3.10.7.1).
    pub fn refusal(&self) -> (u32, u32, u8) {
        if self.ack() { (self.acknowledged, 0, RST) } else { (0, self.end(), RST | ACK) }
    }
}

/// A packet as balancing sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Ports are there; `piece` if it is a first fragment.
    Headed {
        /// Source and destination port.
        ports: (u16, u16),
        /// Of TCP.
        segment: Option<Segment>,
        /// Of a fragment.
        piece: Option<Piece>,
    },
    /// A fragment without the transport's header.
    Later(Piece),
    /// Too short for a transport header.
    Short,
    /// Of a transport that is not balanced.
    Other,
}

impl Packet {
    /// Looks at a packet. `view` must be of this `frame`.
    pub fn read(frame: &[u8], view: &View) -> Packet {
        let header = match view.protocol {
            _ if !matches!(view.net, Net::V4 | Net::V6) => return Packet::Other,
            protocol::TCP => 20,
            protocol::UDP => 8,
            protocol::SCTP => 12,
            _ => return Packet::Other,
        };
        let piece = view.piece(frame);
        if let Some(piece) = piece.filter(|piece| !piece.first) {
            return Packet::Later(piece);
        }
        let Some(transport) = frame.get(view.l4..view.end).filter(|t| t.len() >= header) else {
            return Packet::Short;
        };
        let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let segment = match view.protocol {
            protocol::TCP => Segment::read(transport, view.end.saturating_sub(view.payload)),
            _ => None,
        };
        Packet::Headed { ports: (port(0), port(2)), segment, piece }
    }
}
