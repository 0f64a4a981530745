//! TCP resets, as the other side of a connection would send them.

use std::net::IpAddr;

use crate::core::envelope::{Envelope, HOP_LIMIT};
use crate::wire::frame::protocol;
use crate::wire::mac::Mac;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

/// Sequence number, acknowledgement number and flags of a segment.
pub type Numbers = (u32, u32, u8);

/// Writes a frame with a TCP segment of no payload into `out`. Addresses of two
/// families give an empty frame.
pub fn write(out: &mut Vec<u8>, from: End, to: End, (sequence, acknowledged, flags): Numbers) {
    let mut tcp = [0; 20];
    tcp[0..2].copy_from_slice(&from.port.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    tcp[12..14].copy_from_slice(&[5 << 4, flags]);
    let envelope =
        Envelope { from: (from.mac, from.ip), to: (to.mac, to.ip), hop_limit: HOP_LIMIT };
    envelope.write(out, protocol::TCP, &[&tcp], 16);
}
