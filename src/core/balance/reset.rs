//! TCP resets, as the other side of a connection would send them.

use std::net::IpAddr;

use crate::wire::checksum;
use crate::wire::frame::{self, protocol};
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
    out.clear();
    let mut tcp = [0; 20];
    tcp[0..2].copy_from_slice(&from.port.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    tcp[12..14].copy_from_slice(&[5 << 4, flags]);
    let (ethertype, mut ip, addresses) = match (from.ip, to.ip) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let head = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol::TCP, 0, 0];
            (frame::IPV4, head.to_vec(), [source.octets(), destination.octets()].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let head = [0x60, 0, 0, 0, 0, 20, protocol::TCP, 64];
            (frame::IPV6, head.to_vec(), [source.octets(), destination.octets()].concat())
        }
        _ => return,
    };
    let pseudo = checksum::pseudo_header(&addresses, protocol::TCP, tcp.len());
    let sum = checksum::finish(pseudo + checksum::sum(&tcp));
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    ip.extend(addresses);
    if ethertype == frame::IPV4 {
        let sum = !checksum::fold(checksum::sum(&ip));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    for piece in [&to.mac.0[..], &from.mac.0, &ethertype.to_be_bytes(), &ip, &tcp] {
        out.extend_from_slice(piece);
    }
}
