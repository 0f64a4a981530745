//! Raw sockets: whole frames inside a container, whole IP packets on the underlay.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use super::netns::Netns;

/// A packet socket bound to one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Sends and hears every frame of an interface.
    pub(crate) fn open(ns: &Netns, interface: &str) -> PacketSocket {
        let socket = ns.enter(|| PacketSocket::open_here(interface));
        socket.unwrap_or_else(|e| panic!("a packet socket on {interface}: {e}"))
    }

    /// As [`PacketSocket::open`], where every frame has a virtio header before
    /// it: the sender's own word on checksums and segments.
    pub(crate) fn with_vnet_hdr(ns: &Netns, interface: &str) -> PacketSocket {
        let socket = PacketSocket::open(ns, interface);
        let on: libc::c_int = 1;
        // SAFETY: the option's value is an int that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                socket.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_VNET_HDR,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "PACKET_VNET_HDR: {}", io::Error::last_os_error());
        socket
    }

    fn open_here(interface: &str) -> io::Result<PacketSocket> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is handed over.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: sockaddr_ll is plain data for which all zeros is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = if_nametoindex(interface)?.cast_signed();
        // SAFETY: the address is a sockaddr_ll and its length is given.
        let bound = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(PacketSocket(fd)) }
    }

    /// Sends one frame as it is. The kernel refuses some lies itself.
    pub(crate) fn try_send(&self, frame: &[u8]) -> nix::Result<usize> {
        nix::unistd::write(&self.0, frame)
    }

    /// Sends one frame that the kernel must take.
    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(self.try_send(frame), Ok(frame.len()));
    }

    /// Whether one of the frames heard since the last call holds these bytes.
    pub(crate) fn has_heard(&self, bytes: &[u8]) -> bool {
        self.frames().iter().any(|frame| frame.windows(bytes.len()).any(|w| w == bytes))
    }

    /// The frames heard since the last call.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let (mut frames, mut frame) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(length) = nix::unistd::read(&self.0, &mut frame) {
            frames.push(frame[..length].to_vec());
        }
        frames
    }
}

/// Sends a whole IPv4 packet from a namespace, whatever source it claims.
pub(crate) fn send_ipv4(ns: &Netns, to: IpAddr, packet: &[u8]) {
    ns.enter(|| {
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(raw)).unwrap();
        socket.send_to(packet, &SocketAddr::new(to, 0).into()).unwrap();
    });
}
