//! Values of options, parsed into the types that the API uses, so that a slip
//! of the pen is a usage error that says how to write it.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::wire::vxlan::Vni;

/// `10.1.0.0/24`.
pub(super) fn subnet(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| {
        "not a subnet: write an address and a prefix length, 10.1.0.0/24 or fd00:1::/64".into()
    })
}

/// `10.0.0.0/8`.
pub(super) fn pool(text: &str) -> Result<Ipv4Net, String> {
    text.parse().map_err(|_| {
        "not an IPv4 pool: write an address and a prefix length, such as 10.0.0.0/8".into()
    })
}

/// `host-a`, `192.0.2.1:7946`, `fd00::1` or `[fd00::1]:7946`.
pub(super) fn host(text: &str) -> Result<String, String> {
    let address = text.parse::<IpAddr>().is_ok()
        || text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
    let (name, port) = text.split_once(':').unwrap_or((text, "7946"));
    let letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let named = !name.is_empty()
        && name.chars().all(letter)
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    if address || named {
        return Ok(text.into());
    }
    Err("not a host: write its name or address and, after a colon, a port if it is not 7946; \
         an IPv6 address with a port stands in brackets, [fd00::1]:7946"
        .into())
}

/// `10.1.0.2`.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        "not an IP address: write it without a prefix length, 10.1.0.2 or fd00:1::2".into()
    })
}

/// A number of 24 bits.
pub(super) fn vni(text: &str) -> Result<Vni, String> {
    let number: u32 =
        text.parse().map_err(|_| format!("not a VNI: write a number from 1 to {}", Vni::MAX))?;
    Vni::try_from(number)
}

/// `KEY=VALUE`, or `KEY` alone with an empty value, as Docker reads it.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("no key: write KEY=VALUE".into());
    }
    Ok((key.into(), value.into()))
}

/// `ENDPOINT=N`.
pub(super) fn weight(text: &str) -> Result<(String, u16), String> {
    let read = || {
        let (endpoint, weight) = text.rsplit_once('=')?;
        Some((endpoint.to_owned(), weight.parse().ok()?)).filter(|(name, _)| !name.is_empty())
    };
    read().ok_or_else(|| "not a weight: write ENDPOINT=N with a number from 0 to 65535".into())
}

/// A name under /run/netns, or a [`path`].
pub(super) fn netns(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("no name: write the name of a namespace, or a path with a slash".into());
    }
    if !text.contains('/') {
        return Ok(text.into());
    }
    path(text)
}

/// A path, made absolute because the daemon works in another directory than the
/// caller.
pub(super) fn path(text: &str) -> Result<String, String> {
    let path = std::path::absolute(text).map_err(|e| e.to_string())?;
    if path.starts_with("/proc/self") || path.starts_with("/proc/thread-self") {
        return Err("/proc/self is the daemon itself there: write /proc/PID, or use --pid".into());
    }
    path.into_os_string().into_string().map_err(|_| "the path is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_explained() {
        assert!(subnet("10.1.0.0").unwrap_err().contains("prefix length"));
        assert!(subnet("10.1.0.0/33").is_err());
        assert!(address("10.1.0.2/24").unwrap_err().contains("without a prefix length"));
        assert!(vni("16777216").unwrap_err().contains("24 bits"));
        assert!(vni("-1").unwrap_err().contains("number"));
        assert!(key_value("=x").is_err());
        assert!(pool("fd00::/8").unwrap_err().contains("IPv4"));
    }

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        let good =
            ["host-a", "a.example:7947", "192.0.2.1", "192.0.2.1:1", "fd00::1", "[fd00::1]:7946"];
        for text in good {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        let bad = [
            "",
            ":7946",
            "a:",
            "a:0",
            "a:65536",
            "192.0.2.1:0",
            "a b",
            "[fd00::1]:0",
            "a/b",
            "a:1:2",
        ];
        for text in bad {
            assert!(host(text).unwrap_err().contains("brackets"), "{text}");
        }
    }

    #[test]
    fn a_key_may_stand_alone() {
        assert_eq!(key_value("multicast").unwrap(), ("multicast".into(), String::new()));
        assert_eq!(key_value("a=b=c").unwrap(), ("a".into(), "b=c".into()));
    }

    #[test]
    fn names_stay_and_paths_become_absolute() {
        assert_eq!(netns("box1").unwrap(), "box1");
        assert_eq!(netns("/run/netns/box1").unwrap(), "/run/netns/box1");
        let here = std::env::current_dir().unwrap().join("ns/box1");
        assert_eq!(netns("./ns/box1").unwrap(), here.to_str().unwrap());
        assert!(netns("").is_err());
        assert!(netns("/proc/self/ns/net").unwrap_err().contains("--pid"));
    }
}
