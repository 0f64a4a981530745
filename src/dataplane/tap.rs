//! TAP devices: the fast kind and the plain kind.
//!
//! The fast kind is opened here, by ioctl, because no crate sets what it needs:
//! IFF_VNET_HDR and TUNSETOFFLOAD, so that frames pass as super-frames of up to
//! 64 KiB with their checksums still to be done. The plain kind is the tun-tap
//! crate's: one whole, complete frame a call.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::wire::vnet;

/// How a TAP works. A persistent device keeps its kind for life, because the
/// kernel refuses to re-open a multi-queue device as a single-queue one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// virtio headers, super-frames and checksum offload.
    Fast,
    /// One whole frame a call, nothing offloaded (the tun-tap crate).
    Plain,
}

/// An open TAP. Reads and writes never block.
#[derive(Debug)]
pub struct Tap {
    device: Device,
}

#[derive(Debug)]
enum Device {
    Fast(File),
    Plain(tun_tap::Iface),
}

/// Longest name of an interface, in bytes.
const NAME_MAX: usize = libc::IFNAMSIZ - 1;

impl Tap {
    /// Bytes in front of a frame in the buffer of [`Tap::read`].
    pub(super) const HEADROOM: usize = vnet::LEN;

    /// Opens (and makes, if it does not exist) the TAP of this name in the
    /// calling thread's network namespace. The device is gone when the last
    /// descriptor closes, unless [`Tap::persist`] was called. The reason is a
    /// sentence, if `Fast` works but lacks something (USO on kernels before 6.2).
    ///
    /// The descriptor keeps the namespace alive in which it was opened.
    pub fn open(name: &str, kind: Kind) -> io::Result<(Tap, Option<String>)> {
        if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("'{name}' cannot name a TAP: use 1 to {NAME_MAX} bytes"),
            ));
        }
        let opened = match kind {
            Kind::Fast => open_fast(name).map(|(file, lack)| (Device::Fast(file), lack)),
            Kind::Plain => open_plain(name).map(|iface| (Device::Plain(iface), None)),
        };
        let (device, lack) = opened.map_err(|e| explain(name, kind, &e))?;
        Ok((Tap { device }, lack))
    }

    /// Whether the device outlives its descriptors.
    pub fn persist(&self, yes: bool) -> io::Result<()> {
        // SAFETY: TUNSETPERSIST takes its argument by value; the descriptor is open.
        check(unsafe {
            libc::ioctl(self.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(yes))
        })
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.device {
            Device::Fast(_) => Kind::Fast,
            Device::Plain(_) => Kind::Plain,
        }
    }

    /// Reads one frame behind its virtio header: `slot` begins with
    /// [`Tap::HEADROOM`] bytes for the header (all zero from a plain TAP, which
    /// says "nothing left to do"), and the frame follows. Returns the frame's
    /// length. `WouldBlock` if there is none; any other error means that the
    /// device is gone.
    pub(super) fn read(&self, slot: &mut [u8]) -> io::Result<usize> {
        match &self.device {
            Device::Fast(file) => Ok((&*file).read(slot)?.saturating_sub(Tap::HEADROOM)),
            Device::Plain(iface) => {
                let (header, frame) = slot.split_at_mut(Tap::HEADROOM);
                header.fill(0);
                iface.recv(frame)
            }
        }
    }

    /// Writes a frame that is given in pieces behind its virtio header, which a
    /// plain TAP has no use for.
    ///
    /// # Errors
    /// `EINVAL` if the kernel does not take such a super-frame, `EIO` if the
    /// interface is down, `EBADFD` if it is gone.
    pub(super) fn write(&self, header_and_frame: &[IoSlice<'_>]) -> io::Result<()> {
        match &self.device {
            Device::Fast(file) => (&*file).write_vectored(header_and_frame)?,
            Device::Plain(iface) => match header_and_frame {
                [_, frame] => iface.send(frame)?,
                [_, pieces @ ..] => iface.send(&concat(pieces))?,
                [] => 0,
            },
        };
        Ok(())
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        match &self.device {
            Device::Fast(file) => file.as_raw_fd(),
            Device::Plain(iface) => iface.as_raw_fd(),
        }
    }
}

/// The pieces in one.
pub(super) fn concat(pieces: &[IoSlice<'_>]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole
}

fn open_plain(name: &str) -> io::Result<tun_tap::Iface> {
    let iface = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tap)?;
    // SAFETY: the descriptor is open for as long as `iface` is borrowed here.
    let fd = unsafe { BorrowedFd::borrow_raw(iface.as_raw_fd()) };
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
    Ok(iface)
}

fn open_fast(name: &str) -> io::Result<(File, Option<String>)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    attach(&file, name)?;
    let header = vnet::LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int from the pointer, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) })?;
    let lack = offload(&file)?;
    Ok((file, lack))
}

/// TUNSETIFF: makes the device, or takes up a persistent one.
fn attach(file: &File, name: &str) -> io::Result<()> {
    // SAFETY: ifreq is plain data for which all-zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// Asks for as much offload as the kernel has; `Some` says what is missing.
/// The setting is the device's, so it is made on each open.
fn offload(file: &File) -> io::Result<Option<String>> {
    const TSO: libc::c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    const USO: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let set = |flags: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value; the descriptor is open.
        check(unsafe {
            libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags))
        })
    };
    if set(libc::TUN_F_CSUM | TSO | USO).is_ok() {
        return Ok(None);
    }
    if set(libc::TUN_F_CSUM | TSO).is_ok() {
        let lack = "the kernel's TAPs do not segment UDP (USO came with Linux 6.2)";
        return Ok(Some(lack.into()));
    }
    set(libc::TUN_F_CSUM)?;
    Ok(Some("the kernel's TAPs refuse segmentation offload, only checksums are offloaded".into()))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn explain(name: &str, kind: Kind, error: &io::Error) -> io::Error {
    let advice = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "; load the tun module or give the sandbox /dev/net/tun"
        }
        Some(libc::EPERM | libc::EACCES) => "; CAP_NET_ADMIN and access to /dev/net/tun are needed",
        Some(libc::EINVAL) => "; an interface of this name and another kind may exist",
        Some(libc::EBUSY) => "; another program has it open",
        _ => "",
    };
    let kind = match kind {
        Kind::Fast => "with offloads",
        Kind::Plain => "without offloads",
    };
    io::Error::new(error.kind(), format!("cannot open TAP {name} {kind}: {error}{advice}"))
}
