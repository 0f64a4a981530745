//! Offload features of interfaces, by name, through the ETHTOOL ioctl: what
//! `ethtool -K` sets.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::namespace::Namespace;

// linux/ethtool.h
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const SFEATURES: u32 = 0x3b;
const STRING_SET_FEATURES: u32 = 4;
const STRING: usize = 32;
/// 32-bit words in front of the strings, and of the feature blocks.
const GSTRINGS_HEADER: usize = 3;
const SFEATURES_HEADER: usize = 2;

/// Switches every feature of the interface whose name is in `names` on or off.
/// Names that this kernel does not know, and features that the device cannot
/// change, are passed over: they are not in effect either way.
pub fn set_features(
    namespace: &Namespace,
    ifname: &str,
    names: &[&str],
    on: bool,
) -> io::Result<()> {
    namespace.run(|| {
        let known = feature_names(ifname)?;
        // A block is two words: which features are meant, and their values.
        let mut request = vec![0; SFEATURES_HEADER + known.len().div_ceil(32) * 2];
        request[0] = SFEATURES;
        request[1] = known.len().div_ceil(32) as u32;
        let wanted = known.iter().enumerate().filter(|(_, name)| names.contains(&name.as_str()));
        for (bit, _) in wanted {
            let (block, mask) = (SFEATURES_HEADER + bit / 32 * 2, 1 << (bit % 32));
            request[block] |= mask;
            request[block + 1] |= if on { mask } else { 0 };
        }
        ethtool(ifname, &mut request)
    })
}

/// The names of the kernel's features, in the order of their bits.
fn feature_names(ifname: &str) -> io::Result<Vec<String>> {
    // command, reserved, a 64-bit mask of string sets, one length.
    let mut info = [GSSET_INFO, 0, 0, 0, 0];
    let mask = (1u64 << STRING_SET_FEATURES).to_ne_bytes();
    info[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
    info[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
    ethtool(ifname, &mut info)?;
    let count = info[4] as usize;

    let mut strings = vec![0; GSTRINGS_HEADER + count * STRING / size_of::<u32>()];
    strings[..GSTRINGS_HEADER].copy_from_slice(&[GSTRINGS, STRING_SET_FEATURES, count as u32]);
    ethtool(ifname, &mut strings)?;
    let bytes: Vec<u8> =
        strings[GSTRINGS_HEADER..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = |raw: &[u8]| {
        let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
        String::from_utf8_lossy(&raw[..end]).into_owned()
    };
    Ok(bytes.chunks(STRING).map(text).collect())
}

/// One ETHTOOL request about an interface of the calling thread's namespace.
/// `request` must have the layout, and the room for the answer, that its
/// command (the first word) asks for.
fn ethtool(ifname: &str, request: &mut [u32]) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is integers and pointers for which 0 is a value.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    if ifname.len() >= ifreq.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in ifreq.ifr_name.iter_mut().zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: `ifreq` has a terminated name and points to `request`, which
    // outlives the call; the kernel writes no more than the lengths in it say,
    // for which the callers above have made room.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut ifreq) };
    // Above zero are remarks, such as that a feature cannot be changed.
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::link::{self, End};
    use super::*;

    fn enabled(namespace: &Namespace, ifname: &str, feature: &str) -> bool {
        const GFEATURES: u32 = 0x3a;
        namespace
            .run(|| {
                let names = feature_names(ifname)?;
                let bit = names.iter().position(|name| name == feature).unwrap();
                // A block is four words: available, requested, active, never changed.
                let blocks = names.len().div_ceil(32);
                let mut request = vec![0; 2 + blocks * 4];
                request[..2].copy_from_slice(&[GFEATURES, blocks as u32]);
                ethtool(ifname, &mut request)?;
                Ok::<_, io::Error>(request[2 + bit / 32 * 4 + 2] >> (bit % 32) & 1 == 1)
            })
            .unwrap()
    }

    #[test]
    fn features_go_off_and_on_by_name() {
        let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let end = |namespace| End { namespace, name: "eth0" };
        link::veth(end(&a), end(&b), 1500).unwrap();
        let names = ["tx-tcp-segmentation", "no-such-feature"];
        assert!(enabled(&a, "eth0", names[0]));
        set_features(&a, "eth0", &names, false).unwrap();
        assert!(!enabled(&a, "eth0", names[0]));
        assert!(enabled(&b, "eth0", names[0]), "the other end is not concerned");
        set_features(&a, "eth0", &names, true).unwrap();
        assert!(enabled(&a, "eth0", names[0]));
        assert!(set_features(&a, "eth7", &names, true).is_err());
    }
}
