//! The underlay's sockets.
//!
//! One socket receives: it is bound to the VTEP's address and the VXLAN port
//! and never connected, because peers vary their source port. A pool of sockets
//! sends, each from its own port of the dynamic range: RFC 7348 section 5 wants
//! the source port to follow from the inner flow, so that routers and NICs
//! spread flows, and a socket for each port is how that goes together with
//! UDP_SEGMENT.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// How many source ports one host uses.
pub(super) const SENDERS: usize = 16;
/// The sending socket that has the VXLAN port itself.
pub(super) const VXLAN_PORT: usize = SENDERS;
/// RFC 7348 section 5 recommends the dynamic range of RFC 6335.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// Room for some hundreds of joined datagrams of 64 KiB: for as long as a worker may have
/// to wait for its core while others send at full speed.
const BUFFER: libc::c_int = 16 << 20;

/// All sockets of one VTEP.
#[derive(Debug)]
pub(super) struct Underlay {
    /// Where VXLAN arrives.
    pub(super) receiver: Socket,
    /// Where it leaves from.
    pub(super) senders: Vec<Socket>,
    /// Why the kernel does not join received datagrams, if so.
    pub(super) no_gro: Option<String>,
}

impl Underlay {
    /// Binds all sockets in the calling thread's network namespace. Another
    /// socket on the VXLAN port is an error, never shared with.
    pub(super) fn bind(vtep: IpAddr, port: u16, seed: u64) -> io::Result<Underlay> {
        let at = SocketAddr::new(vtep, port);
        let receiver = socket(at).map_err(|e| explain(at, &e))?;
        set_buffer(&receiver, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
        set_sending(&receiver, vtep)?;
        let (level, option) = match vtep {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVTOS),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
        };
        set(&receiver, level, option, 1)?;
        let no_gro = set(&receiver, libc::SOL_UDP, libc::UDP_GRO, 1)
            .err()
            .map(|e| format!("the kernel does not join received datagrams (UDP_GRO): {e}"));
        let senders = bind_senders(vtep, seed)?;
        Ok(Underlay { receiver, senders, no_gro })
    }
}

/// Datagrams that the kernel dropped because the receive socket was full.
pub(super) fn overflow(receiver: &Socket) -> u64 {
    let mut info = [0u32; 16];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which is that long.
    let result = unsafe {
        libc::getsockopt(
            receiver.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 { 0 } else { info[libc::SK_MEMINFO_DROPS as usize].into() }
}

/// The largest IP packet that reaches a VTEP, as the kernel knows from the
/// route and from what routers have reported.
pub(super) fn path_mtu(vtep: SocketAddr) -> io::Result<u16> {
    // Only a connected socket can be asked.
    let probe = Socket::new(Domain::for_address(vtep), Type::DGRAM, None)?;
    probe.connect(&vtep.into())?;
    let (level, option) = match vtep {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let mut mtu: libc::c_int = 0;
    let mut len = size_of_val(&mtu) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `mtu`, which is that long.
    let result = unsafe {
        libc::getsockopt(probe.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut len)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

fn socket(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    Ok(socket)
}

fn bind_senders(vtep: IpAddr, seed: u64) -> io::Result<Vec<Socket>> {
    let mut senders = Vec::with_capacity(SENDERS);
    let mut random = seed;
    for _ in 0..64 * SENDERS {
        if senders.len() == SENDERS {
            break;
        }
        let span = u64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
        let port = SOURCE_PORTS.start() + (split_mix(&mut random) % span) as u16;
        match socket(SocketAddr::new(vtep, port)) {
            Ok(socket) => senders.push(sender(socket, vtep)?),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            Err(e) => return Err(explain(SocketAddr::new(vtep, port), &e)),
        }
    }
    if senders.len() < SENDERS {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!(
                "cannot send VXLAN from {}: nearly all UDP ports from {} to {} are taken",
                vtep,
                SOURCE_PORTS.start(),
                SOURCE_PORTS.end()
            ),
        ));
    }
    Ok(senders)
}

fn sender(socket: Socket, vtep: IpAddr) -> io::Result<Socket> {
    // Nobody reads what arrives here; the kernel rounds up to its minimum.
    socket.set_recv_buffer_size(1)?;
    set_sending(&socket, vtep)?;
    Ok(socket)
}

/// What a socket needs that VXLAN is sent from.
fn set_sending(socket: &Socket, vtep: IpAddr) -> io::Result<()> {
    set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
    // The outer packet is never fragmented: the container hears of the path's
    // MTU instead.
    match vtep {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        IpAddr::V6(_) => {
            let discover = libc::IPV6_PMTUDISC_DO;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover)?;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
        }
    }
}

/// Lets what a socket sends leave whole or not at all, and whatever the kernel
/// believes of the path: so that the path can be measured. `ip` is of the
/// socket's family.
pub fn never_fragment(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    match ip {
        IpAddr::V4(_) => {
            set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
        }
        IpAddr::V6(_) => {
            let discover = libc::IPV6_PMTUDISC_PROBE;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover)?;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
        }
    }
}

/// Beyond the host's limit if we may, else up to it; a smaller buffer works.
fn set_buffer(socket: &Socket, force: libc::c_int, plain: libc::c_int) {
    if set(socket, libc::SOL_SOCKET, force, BUFFER).is_err() {
        let _ = set(socket, libc::SOL_SOCKET, plain, BUFFER);
    }
}

/// Sets an option that is one int.
pub(super) fn set(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one int from the pointer, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// SplitMix64: enough to make ports differ between daemons.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn explain(at: SocketAddr, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": the port is taken; end the other daemon, remove the kernel's vxlan device, or choose another data port"
        }
        io::ErrorKind::AddrNotAvailable => ": no interface of this host has that address",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot carry VXLAN at {at}: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn source_ports_are_distinct_and_dynamic() {
        let underlay = Underlay::bind(HERE, 0, 1).unwrap();
        let mut ports: Vec<u16> = underlay
            .senders
            .iter()
            .map(|s| s.local_addr().unwrap().as_socket().unwrap().port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), SENDERS);
        assert!(ports.iter().all(|p| SOURCE_PORTS.contains(p)));
    }

    #[test]
    fn a_taken_port_is_refused_with_a_sentence() {
        let first = Underlay::bind(HERE, 0, 2).unwrap();
        let port = first.receiver.local_addr().unwrap().as_socket().unwrap().port();
        let error = Underlay::bind(HERE, port, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("the port is taken"), "{error}");
    }

    #[test]
    fn an_address_of_another_host_is_refused_with_a_sentence() {
        let error = Underlay::bind([192, 0, 2, 1].into(), 0, 4).unwrap_err();
        assert!(error.to_string().contains("no interface of this host"), "{error}");
    }
}
