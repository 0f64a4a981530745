//! Names below in-addr.arpa (RFC 1035) and ip6.arpa (RFC 3596): addresses
//! written backwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What a reversed name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reverse {
    /// All addresses whose names are at or below it.
    pub(super) net: IpNet,
    /// Whether it has more labels in front, which are no part of an address.
    pub(super) below: bool,
}

impl Reverse {
    /// `None` if the name is of neither tree.
    pub(super) fn read(name: &Name) -> Option<Reverse> {
        let mut labels = name.iter().rev();
        if !labels.next()?.eq_ignore_ascii_case(b"arpa") {
            return None;
        }
        let tree = labels.next()?;
        let (net, read) = if tree.eq_ignore_ascii_case(b"in-addr") {
            let mut octets = [0; 4];
            let read = fill(&mut octets, labels, decimal);
            (Ipv4Net::new(Ipv4Addr::from(octets), 8 * read).ok()?.into(), read)
        } else if tree.eq_ignore_ascii_case(b"ip6") {
            let mut digits = [0; 32];
            let read = fill(&mut digits, labels, nibble);
            let bits = digits.iter().fold(0, |bits, digit| bits << 4 | u128::from(*digit));
            (Ipv6Net::new(Ipv6Addr::from(bits), 4 * read).ok()?.into(), read)
        } else {
            return None;
        };
        Some(Reverse { net, below: name.iter().count() > usize::from(read) + 2 })
    }

    /// The address that it names in full.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let whole = self.net.prefix_len() == self.net.max_prefix_len() && !self.below;
        whole.then(|| self.net.addr())
    }
}

/// Reads parts of an address until one is none. How many were read.
fn fill<'a>(
    parts: &mut [u8],
    labels: impl Iterator<Item = &'a [u8]>,
    read: impl Fn(&[u8]) -> Option<u8>,
) -> u8 {
    let mut count = 0;
    for (part, value) in parts.iter_mut().zip(labels.map_while(read)) {
        *part = value;
        count += 1;
    }
    count
}

/// `0` to `255`, without leading zeros: those would be other names.
fn decimal(label: &[u8]) -> Option<u8> {
    let digits =
        label.iter().all(u8::is_ascii_digit) && (label == b"0" || !label.starts_with(b"0"));
    if !digits {
        return None;
    }
    std::str::from_utf8(label).ok()?.parse().ok()
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit] => char::from(*digit).to_digit(16).map(|d| d as u8),
        _ => None,
    }
}

/// Whether addresses are of no meaning outside, so that nobody there may be asked
/// about them (RFC 6303, RFC 7793).
pub(super) fn is_private(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => PRIVATE_V4.iter().any(|private| private.contains(net)),
        IpNet::V6(net) => PRIVATE_V6.iter().any(|private| private.contains(net)),
    }
}

const fn v4(a: u8, b: u8, c: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), len)
}

const fn v6(a: u16, b: u16, h: u16, len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, h), len)
}

const PRIVATE_V4: [Ipv4Net; 10] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 2, 24),
    v4(192, 168, 0, 16),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
];

const PRIVATE_V6: [Ipv6Net; 5] = [
    v6(0, 0, 0, 128),
    v6(0, 0, 1, 128),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0xfc00, 0, 0, 7),
    v6(0xfe80, 0, 0, 10),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Option<(String, bool)> {
        let name = Name::from_labels(name.split('.').map(str::as_bytes)).unwrap();
        Reverse::read(&name).map(|r| (r.net.to_string(), r.below))
    }

    fn net(name: &str) -> String {
        let (net, below) = read(name).unwrap();
        assert!(!below, "{name}");
        net
    }

    #[test]
    fn addresses_and_what_lies_above_them() {
        assert_eq!(net("7.0.1.10.in-addr.arpa"), "10.1.0.7/32");
        assert_eq!(net("1.10.IN-ADDR.Arpa"), "10.1.0.0/16");
        assert_eq!(net("in-addr.arpa"), "0.0.0.0/0");
        assert_eq!(net("d.f.ip6.arpa"), "fd00::/8");
        let address = format!("2.{}1.{}0.0.d.f.ip6.arpa", "0.".repeat(18), "0.".repeat(8));
        assert_eq!(net(&address), "fd00:0:0:1000::2/128");
        assert_eq!(read("arpa"), None);
        assert_eq!(read("7.0.1.10.in-addr.example"), None);
    }

    #[test]
    fn what_is_no_part_of_an_address_lies_below() {
        for (name, net) in [
            ("x.7.0.1.10.in-addr.arpa", "10.1.0.7/32"),
            ("1.7.0.1.10.in-addr.arpa", "10.1.0.7/32"),
            ("256.1.10.in-addr.arpa", "10.1.0.0/16"),
            ("07.0.1.10.in-addr.arpa", "10.1.0.0/24"),
            ("+7.0.1.10.in-addr.arpa", "10.1.0.0/24"),
            ("g.d.f.ip6.arpa", "fd00::/8"),
            ("00.d.f.ip6.arpa", "fd00::/8"),
        ] {
            assert_eq!(read(name), Some((net.to_owned(), true)), "{name}");
        }
    }

    #[test]
    fn private_is_what_means_nothing_outside() {
        let private = |net: &str| is_private(&net.parse().unwrap());
        for net in ["10.0.0.0/8", "10.1.2.3/32", "172.31.0.0/16", "192.168.1.0/24", "fd00::/8"] {
            assert!(private(net), "{net}");
        }
        for net in ["0.0.0.0/0", "172.0.0.0/8", "172.32.0.0/16", "8.8.8.8/32", "2600::/16"] {
            assert!(!private(net), "{net}");
        }
    }
}
