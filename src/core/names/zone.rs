//! The names of a network, and what one asker may see of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::reverse;

/// What stands behind some names of a network: an endpoint and its aliases.
///
/// A service is to be one more of these, with its VIP or the addresses of all its
/// endpoints behind it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its own name, to which its addresses point back.
    pub name: &'a str,
    /// Further names.
    pub aliases: &'a [String],
    /// Its addresses, of both families.
    pub addresses: &'a [IpAddr],
}

/// All names of one network. Immutable, as the data plane's networks are.
#[derive(Debug)]
pub struct Zone {
    name: String,
    internal: bool,
    /// By name in lower case. Several entries may share a name.
    names: BTreeMap<String, Vec<IpAddr>>,
    /// `name.network` by address.
    pointers: BTreeMap<IpAddr, String>,
}

impl Zone {
    /// The names of the network called `network`; `internal` if those on it have
    /// no business outside.
    pub fn new<'a>(
        network: &str,
        internal: bool,
        entries: impl IntoIterator<Item = Entry<'a>>,
    ) -> Zone {
        let name = network.to_ascii_lowercase();
        let mut zone = Zone { name, internal, names: BTreeMap::new(), pointers: BTreeMap::new() };
        for entry in entries {
            let aliases = entry.aliases.iter().map(String::as_str);
            let names = std::iter::once(entry.name).chain(aliases);
            // An alias may repeat the name.
            let names: BTreeSet<String> = names.map(str::to_ascii_lowercase).collect();
            for name in names {
                zone.names.entry(name).or_default().extend(entry.addresses);
            }
            for ip in entry.addresses {
                zone.pointers.insert(*ip, format!("{}.{network}", entry.name));
            }
        }
        zone
    }

    fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.names.get(name).map(Vec::as_slice)
    }

    /// What stands before `.network` in a name.
    fn inside<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_suffix(self.name.as_str())?.strip_suffix('.')
    }
}

/// What the endpoints of one sandbox may see: the networks that they are on.
#[derive(Clone, Debug, Default)]
pub struct View {
    zones: Vec<Arc<Zone>>,
    subnets: Arc<[IpNet]>,
}

impl View {
    /// A view of these networks' names. `subnets` are those of all networks, also
    /// of those that the asker is not on: nobody outside is asked about them.
    pub fn new(mut zones: Vec<Arc<Zone>>, subnets: Arc<[IpNet]>) -> View {
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        View { zones, subnets }
    }

    /// Whether none of the networks leads out.
    pub(super) fn is_internal(&self) -> bool {
        self.zones.iter().all(|zone| zone.internal)
    }

    /// The addresses behind a name, or behind `name.network`. Where several networks
    /// have it, the first one's, by the networks' names: what is called the same on
    /// two of them need not be the same thing.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let plain = self.zones.iter().find_map(|zone| zone.addresses(name));
        plain.or_else(|| self.zones.iter().find_map(|zone| zone.addresses(zone.inside(name)?)))
    }

    /// Who has this address: `name.network`.
    pub(super) fn name_of(&self, ip: IpAddr) -> Option<&str> {
        self.zones.iter().find_map(|zone| zone.pointers.get(&ip)).map(String::as_str)
    }

    /// Whether nobody outside is asked about these addresses.
    pub(super) fn keeps(&self, net: &IpNet) -> bool {
        reverse::is_private(net) || self.subnets.iter().any(|subnet| subnet.contains(net))
    }
}
