//! What an entry may look like.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::super::entry::{Body, Entry, Key, Space};
use super::rumours::encoded_len;
use crate::core::tables::{self, Id, Network, Service};

/// The longest entry, in bytes.
pub const MAX_ENTRY: usize = 16 << 10;
/// Entries of one node, or written by it where every member may, deleted ones too.
pub(super) const ENTRIES_PER_NODE: usize = 1 << 14;
/// Addresses, aliases, pools: more than anybody uses.
const MANY: usize = 64;

/// Why an entry that a member handed on was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// Its signature is not its author's.
    Forged,
    /// Its author is not the only host that may write it.
    NotTheOwner,
    /// Its author never was a member.
    Stranger,
    /// Its version is far ahead of everything that was seen.
    Future,
    /// It is longer than an entry may be.
    Oversize,
    /// What it says does not fit its key, or no entry may say it.
    Malformed,
    /// Its author has written more entries than one host may.
    TooMany,
    /// It says of a network that it is encrypted and its id says not, or the other way.
    EncryptionChanged,
}

impl Refusal {
    /// Its name in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Forged => "forged",
            Refusal::NotTheOwner => "not-the-owner",
            Refusal::Stranger => "stranger",
            Refusal::Future => "future",
            Refusal::Oversize => "oversize",
            Refusal::Malformed => "malformed",
            Refusal::TooMany => "too-many",
            Refusal::EncryptionChanged => "encryption-changed",
        }
    }
}

/// Whether an entry could be true, whoever wrote it.
pub(super) fn shape(entry: &Entry) -> Result<(), Refusal> {
    if encoded_len(entry) > MAX_ENTRY {
        return Err(Refusal::Oversize);
    }
    let fits = match (&entry.key, &entry.body) {
        // A node's own entry goes with the node, a removal stays for good.
        (Key::Member(_) | Key::Node(_) | Key::Token | Key::Pools, None) => false,
        (_, None) => true,
        (Key::Member(_), Some(Body::Member(_))) => true,
        (Key::Secret(_) | Key::Token, Some(Body::Secret(_))) => true,
        (Key::Pools, Some(Body::Pools(pools))) => {
            let fits = |p: &ipnet::Ipv4Net| p.prefix_len() <= pools.length && *p == p.trunc();
            pools.length <= 30
                && (1..=MANY).contains(&pools.pools.len())
                && pools.pools.iter().all(fits)
        }
        (Key::Node(_), Some(Body::Node(node))) => {
            node.floor < entry.version && is_text(&node.name, 253) && is_text(&node.program, 64)
        }
        (Key::Network(id), Some(Body::Network(network))) => {
            if Id::new(*id).is_encrypted() != network.encrypted() {
                return Err(Refusal::EncryptionChanged);
            }
            network.id == Id::new(*id) && is_network(network)
        }
        (Key::Service(id), Some(Body::Service(service))) => {
            service.id == Id::new(*id) && is_service(service)
        }
        (Key::Holding(_, space), Some(Body::Holding(holding))) => {
            let bound = match space {
                Space::Vni => u128::from(crate::wire::vxlan::Vni::MAX),
                Space::Ipv4 => u32::MAX.into(),
                Space::Ipv6 | Space::Pool(..) => u128::MAX,
            };
            holding.given.len() <= 4096
                && holding.ranges.iter().all(|r| r.last <= bound)
                && holding.given.iter().all(|g| g.range.first <= g.range.last)
        }
        (Key::Endpoint(..), Some(Body::Endpoint(endpoint))) => {
            tables::check_name("an endpoint", &endpoint.name).is_ok()
                && endpoint.mac.is_unicast()
                && (1..=MANY).contains(&endpoint.addresses.len())
                && endpoint.aliases.len() <= MANY
                && endpoint.aliases.iter().all(|a| tables::check_name("an alias", a).is_ok())
                && is_text(&endpoint.created, 40)
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(Refusal::Malformed) }
}

fn is_service(service: &Service) -> bool {
    service.check().is_ok() && is_text(&service.created, 40)
}

fn is_network(network: &Network) -> bool {
    let whole = |net: IpNet| net == net.trunc();
    tables::check_name("a network", &network.name).is_ok()
        && network.vni.get() != 0
        && (1..=MANY).contains(&network.pools.len())
        && network.pools.iter().all(|p| {
            whole(p.net)
                && p.net.contains(&p.gateway)
                && p.range.is_none_or(|r| whole(r) && p.net.contains(&r))
        })
        && is_text(&network.created, 40)
}

/// Printable, so that it can be shown on a terminal, and not too long.
fn is_text(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.chars().any(char::is_control)
}
