//! Many datagrams a system call: sendmmsg with UDP_SEGMENT, recvmmsg with
//! UDP_GRO. Pointers live only inside one call.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

use socket2::{SockAddr, Socket};

use crate::wire::ecn::Ecn;

/// Bytes set aside for each received message; no UDP payload is longer.
const SLOT: usize = 1 << 16;
/// Messages taken by one call.
pub(super) const RECEIVE_BATCH: usize = 16;

/// Datagrams of one size (the last may be shorter) to one address. More than
/// one leave as one message that the kernel segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Which of the sending sockets it leaves from.
    pub(super) sender: usize,
    /// Where to.
    pub(super) to: SocketAddr,
    /// The outer header's congestion mark.
    pub(super) ecn: Ecn,
    /// The datagrams, one behind the other.
    pub(super) bytes: &'a [u8],
    /// Bytes of each datagram but the last, which may be shorter; never 0.
    pub(super) size: usize,
    /// The caller's number for the first datagram; the others count up from it.
    pub(super) first: usize,
}

impl<'a> Message<'a> {
    /// How many datagrams it is.
    pub(super) fn datagrams(&self) -> usize {
        self.bytes.len().div_ceil(self.size)
    }

    /// Each datagram as a message of its own.
    pub(super) fn alone(self) -> impl Iterator<Item = Message<'a>> {
        let alone = move |(i, bytes)| Message { bytes, first: self.first + i, ..self };
        self.bytes.chunks(self.size).enumerate().map(alone)
    }
}

/// A control message with up to one word of data. The kernel pads to words, so
/// an array of these is what it reads and writes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    data: [u8; size_of::<usize>()],
}

impl Control {
    const NONE: Control = Control {
        // SAFETY: cmsghdr is three integers (and padding) for which 0 is a value.
        header: unsafe { std::mem::zeroed() },
        data: [0; size_of::<usize>()],
    };

    fn new<const N: usize>(level: libc::c_int, kind: libc::c_int, data: [u8; N]) -> Control {
        let mut control = Control::NONE;
        control.header.cmsg_level = level;
        control.header.cmsg_type = kind;
        control.header.cmsg_len = (size_of::<libc::cmsghdr>() + N) as _;
        control.data[..N].copy_from_slice(&data);
        control
    }

    fn int(&self) -> libc::c_int {
        let mut bytes = [0; size_of::<libc::c_int>()];
        let len = bytes.len();
        bytes.copy_from_slice(&self.data[..len]);
        libc::c_int::from_ne_bytes(bytes)
    }
}

/// Hands messages to the kernel in one call. Returns how many it took; an error
/// speaks of the first.
pub(super) fn send(socket: &Socket, messages: &[Message<'_>]) -> io::Result<usize> {
    let mut names: Vec<SockAddr> = messages.iter().map(|m| m.to.into()).collect();
    let mut controls: Vec<[Control; 2]> = Vec::with_capacity(messages.len());
    let mut pieces: Vec<IoSlice<'_>> = messages.iter().map(|m| IoSlice::new(m.bytes)).collect();
    let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(messages.len());
    for ((message, name), piece) in messages.iter().zip(&mut names).zip(&mut pieces) {
        let (control, used) = send_control(message);
        controls.push(control);
        let control = controls.last_mut().map_or(ptr::null_mut(), |c| c.as_mut_ptr());
        headers.push(header(
            (name.as_ptr().cast_mut().cast(), name.len()),
            ((&raw mut *piece).cast(), 1),
            (if used == 0 { ptr::null_mut() } else { control }, used),
        ));
    }
    // SAFETY: `headers` point to names, pieces and controls that outlive the
    // call and do not move (`controls` was allocated for all of them); IoSlice
    // has the layout of iovec; sendmsg only reads what they point to.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as libc::c_uint, 0)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn send_control(message: &Message<'_>) -> ([Control; 2], usize) {
    let mut controls = [Control::NONE; 2];
    let mut used = 0;
    if message.datagrams() > 1 {
        let size = message.size as u16;
        controls[used] = Control::new(libc::SOL_UDP, libc::UDP_SEGMENT, size.to_ne_bytes());
        used += 1;
    }
    if message.ecn != Ecn::NotEct {
        let (level, kind) = match message.to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        controls[used] = Control::new(level, kind, (message.ecn as libc::c_int).to_ne_bytes());
        used += 1;
    }
    (controls, used)
}

fn header(
    name: (*mut libc::c_void, libc::socklen_t),
    pieces: (*mut libc::iovec, usize),
    controls: (*mut Control, usize),
) -> libc::mmsghdr {
    // SAFETY: mmsghdr is pointers and integers for which 0 is a value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name.0;
    header.msg_hdr.msg_namelen = name.1;
    header.msg_hdr.msg_iov = pieces.0;
    header.msg_hdr.msg_iovlen = pieces.1 as _;
    header.msg_hdr.msg_control = controls.0.cast();
    header.msg_hdr.msg_controllen = (controls.1 * size_of::<Control>()) as _;
    header
}

/// What one receive call brought.
pub(super) struct Inbox {
    /// The messages' bytes; [`Arrival::range`] says which.
    pub(super) memory: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<[Control; 2]>,
    arrivals: Vec<Arrival>,
}

/// One received message: a datagram, or several that the kernel has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Where in [`Inbox::memory`] its bytes are.
    pub(super) range: Range<usize>,
    /// Who sent it, and from which port.
    pub(super) source: SocketAddr,
    /// The outer header's congestion mark.
    pub(super) ecn: Ecn,
    /// What the kernel says of joined datagrams: each one's size but the last's.
    pub(super) gro_size: Option<usize>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        // SAFETY: sockaddr_storage is integers for which 0 is a value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Inbox {
            memory: vec![0; SLOT * RECEIVE_BATCH],
            names: vec![name; RECEIVE_BATCH],
            controls: vec![[Control::NONE; 2]; RECEIVE_BATCH],
            arrivals: Vec::with_capacity(RECEIVE_BATCH),
        }
    }

    /// Takes what has arrived, up to [`RECEIVE_BATCH`] messages. Fewer mean that
    /// nothing is left; `WouldBlock` that there was nothing at all.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.arrivals.clear();
        let mut pieces: [libc::iovec; RECEIVE_BATCH] =
            [libc::iovec { iov_base: ptr::null_mut(), iov_len: SLOT }; RECEIVE_BATCH];
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = std::array::from_fn(|i| {
            pieces[i].iov_base = self.memory[i * SLOT..][..SLOT].as_mut_ptr().cast();
            header(
                ((&raw mut self.names[i]).cast(), size_of::<libc::sockaddr_storage>() as _),
                (&raw mut pieces[i], 1),
                (self.controls[i].as_mut_ptr(), self.controls[i].len()),
            )
        });
        // SAFETY: each header points to a name, one piece of SLOT bytes and two
        // controls of its own, all of which outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (i, header) in headers[..received].iter().enumerate() {
            let arrival = self.arrival(i, header);
            self.arrivals.push(arrival);
        }
        Ok(received)
    }

    fn arrival(&self, i: usize, header: &libc::mmsghdr) -> Arrival {
        let mut arrival = Arrival {
            range: i * SLOT..i * SLOT + (header.msg_len as usize).min(SLOT),
            source: source(&self.names[i]),
            ecn: Ecn::NotEct,
            gro_size: None,
        };
        let used: usize = header.msg_hdr.msg_controllen as _;
        for control in self.controls[i].iter().take(used / size_of::<Control>()) {
            match (control.header.cmsg_level, control.header.cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    arrival.gro_size = usize::try_from(control.int()).ok().filter(|s| *s > 0);
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => arrival.ecn = Ecn::from_tos(control.data[0]),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    arrival.ecn = Ecn::from_tos(control.int() as u8);
                }
                _ => {}
            }
        }
        arrival
    }

    /// The messages of the last call.
    pub(super) fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }
}

/// The sender's address; a v4 socket has v4 peers, a v6 socket v6 ones.
fn source(name: &libc::sockaddr_storage) -> SocketAddr {
    // SAFETY: the kernel filled in as much as the family says, and the storage
    // is large and aligned enough for either.
    unsafe {
        if name.ss_family == libc::AF_INET6 as libc::sa_family_t {
            let v6 = &*(&raw const *name).cast::<libc::sockaddr_in6>();
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            SocketAddr::new(ip.into(), u16::from_be(v6.sin6_port))
        } else {
            let v4 = &*(&raw const *name).cast::<libc::sockaddr_in>();
            let ip = IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes());
            SocketAddr::new(ip, u16::from_be(v4.sin_port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::udp::Underlay;

    fn pair(ip: &str) -> (Underlay, SocketAddr) {
        let vtep = ip.parse().unwrap();
        let underlay = Underlay::bind(vtep, 0, 5).unwrap();
        let to = underlay.receiver.local_addr().unwrap().as_socket().unwrap();
        (underlay, to)
    }

    fn wait(socket: &Socket) {
        let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1, "nothing arrived");
    }

    fn round(ip: &str) {
        let (underlay, to) = pair(ip);
        let train = [&[1u8; 100][..], &[2; 100], &[3; 7]].concat();
        let single = [4; 55];
        let messages = [
            Message { sender: 3, to, ecn: Ecn::Ect0, bytes: &train, size: 100, first: 0 },
            Message { sender: 3, to, ecn: Ecn::NotEct, bytes: &single, size: 55, first: 3 },
        ];
        let from = underlay.senders[3].local_addr().unwrap().as_socket().unwrap();
        assert_eq!(send(&underlay.senders[3], &messages).unwrap(), 2);
        let mut inbox = Inbox::new();
        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
        while bytes.len() < 262 {
            wait(&underlay.receiver);
            inbox.receive(&underlay.receiver).unwrap();
            for arrival in inbox.arrivals() {
                assert_eq!(arrival.source, from);
                let data = &inbox.memory[arrival.range.clone()];
                if arrival.gro_size.is_some() {
                    assert_eq!(arrival.gro_size, Some(100));
                }
                bytes.extend_from_slice(data);
                marks.push(arrival.ecn);
            }
        }
        assert_eq!(bytes, [&train[..], &single].concat());
        assert_eq!(marks.first(), Some(&Ecn::Ect0));
        assert_eq!(marks.last(), Some(&Ecn::NotEct));
        let nothing = inbox.receive(&underlay.receiver).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn segmented_and_marked_over_ipv4() {
        round("127.0.0.1");
    }

    #[test]
    fn segmented_and_marked_over_ipv6() {
        round("::1");
    }

    #[test]
    fn a_message_falls_apart_into_its_datagrams() {
        let (to, ecn) = ("127.0.0.1:1".parse().unwrap(), Ecn::NotEct);
        let message = Message { sender: 0, to, ecn, bytes: &[0; 39], size: 28, first: 5 };
        assert_eq!(message.datagrams(), 2);
        let alone: Vec<_> = message.alone().map(|m| (m.first, m.bytes.len())).collect();
        assert_eq!(alone, [(5, 28), (6, 11)]);
    }
}
