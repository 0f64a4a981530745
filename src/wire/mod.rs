//! Bytes to meaning and back. Total functions over slices: no state, no clock,
//! no allocation, no panic on any input.
//!
//! | module | what it reads or writes | from |
//! | --- | --- | --- |
//! | [`mac`] | Ethernet addresses | IEEE 802 |
//! | [`frame`] | one Ethernet frame, looked at once, as a [`frame::View`] | IEEE 802.3, RFC 791, 8200 |
//! | [`vxlan`] | the eight bytes in front of a frame on UDP 4789 | RFC 7348 |
//! | [`sealed`] | sealed frames, and what else rides on that port | – |
//! | [`verify`] | frames with which `network verify` looks at an encrypted network | – |
//! | [`vnet`] | the ten bytes in front of a frame on a TAP | virtio 1.2, 5.1.6 |
//! | [`checksum`] | Internet checksums, whole, partial and incremental | RFC 1071, 1624 |
//! | [`mss`] | the segment size that a TCP SYN announces, lowered to what a path takes | RFC 9293, 6691 |
//! | [`ecn`] | congestion marks across a tunnel's ends | RFC 6040 |
//! | [`gso`] | a super-frame cut into frames that fit the path | – |
//! | [`coalesce`] | neighbouring frames of a flow joined into a super-frame | – |
//! | [`quote`] | the packet that an ICMP error quotes | RFC 792, 4443 |
//! | [`readdress`] | another address in a packet, with its checksums | RFC 1624 |
//! | [`partial`] | frames out of a tunnel that an offload should have finished | – |
//!
//! Everything here is reached by bytes that a container or a stranger chose, so
//! every parser has a fuzz target under `fuzz/`.

pub mod checksum;
pub mod coalesce;
pub mod ecn;
pub mod frame;
pub mod gso;
pub mod mac;
pub mod mss;
pub mod partial;
pub mod quote;
pub mod readdress;
pub mod sealed;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod vnet;
pub mod vxlan;

/// The big-endian number at `at`.
fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a big-endian number at `at`.
fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
