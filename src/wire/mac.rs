//! Ethernet addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit Ethernet address. Written `02:42:0a:00:00:02`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// The address that Docker gives to an endpoint: 02:42 and the last four
    /// bytes of its IP address.
    pub fn for_ip(ip: IpAddr) -> Mac {
        let [a, b, c, d] = match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let o = ip.octets();
                [o[12], o[13], o[14], o[15]]
            }
        };
        Mac([0x02, 0x42, a, b, c, d])
    }

    /// The first six bytes of `bytes`; `None` if there are fewer.
    pub fn read(bytes: &[u8]) -> Option<Mac> {
        bytes.first_chunk::<6>().map(|b| Mac(*b))
    }

    /// Group addresses (multicast and broadcast) have the lowest bit of the
    /// first byte set.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether one station can own this address: neither a group nor all zero.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self.0 != [0; 6]
    }

    /// The link-local address that Linux derives from this MAC (EUI-64,
    /// RFC 4291 appendix A).
    pub fn link_local(self) -> std::net::Ipv6Addr {
        let m = self.0;
        std::net::Ipv6Addr::from([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            m[0] ^ 2,
            m[1],
            m[2],
            0xff,
            0xfe,
            m[3],
            m[4],
            m[5],
        ])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not six two-digit hexadecimal numbers joined by colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a MAC address: write it as six pairs of hexadecimal digits, 02:42:0a:00:00:02"
)]
pub struct BadMac(String);

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Mac, BadMac> {
        let bad = || BadMac(text.to_owned());
        let mut out = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut out {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Mac(out)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Mac, BadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let mac: Mac = "02:42:0a:00:00:fe".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:00:00:fe");
        for bad in
            ["", "02:42:0a:00:00", "02:42:0a:00:00:fe:01", "2:42:a:0:0:fe", "+2:42:0a:00:00:fe"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn derives_docker_and_link_local_addresses() {
        let mac = Mac::for_ip("10.1.2.3".parse().unwrap());
        assert_eq!(mac.to_string(), "02:42:0a:01:02:03");
        assert_eq!(mac.link_local().to_string(), "fe80::42:aff:fe01:203");
    }
}
