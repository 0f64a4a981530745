//! Entries: what hosts tell each other, signed by who says it.
//!
//! Every entry has a key, a version and a signature of its author. Which host
//! may write under a key follows from the key alone: keys that name a node
//! belong to that node, the others to every member. A node's id *is* its
//! Ed25519 verifying key, so that an entry needs nothing else to be checked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use blake2::{Blake2s256, Digest};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::holding::Holding;
use crate::core::tables::{Backing, Id, Network, Service};
use crate::wire::mac::Mac;

/// A host's identity: its Ed25519 verifying key (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// As 64 hexadecimal digits.
    pub fn id(&self) -> Id {
        Id::new(self.0)
    }

    /// What it begins with.
    pub fn brief(&self) -> Brief {
        brief(&self.0)
    }
}

/// The first half of an id or of a digest, where many are to be named: two ids of which it is the
/// same cannot be found.
pub type Brief = [u8; 16];

/// What an id begins with.
pub fn brief(id: &[u8; 32]) -> Brief {
    let mut brief = [0; 16];
    brief.copy_from_slice(&id[..16]);
    brief
}

impl Entry {
    /// Whether it takes the place of `other`, which is about the same key. All
    /// hosts decide alike, whatever the order in which they hear of the two.
    pub fn beats(&self, other: &Entry) -> bool {
        let gone = |e: &Entry| match e.key {
            Key::Member(_) => matches!(e.body, Some(Body::Member(Member::Removed { .. }))),
            // Whoever changes it at the same time does not bring it back.
            Key::Service(_) => e.body.is_none(),
            _ => false,
        };
        let rank = |e: &Entry| (gone(e), e.version, e.author, e.signature);
        rank(self) > rank(other)
    }

    /// What a removal names it by: nobody can sign another entry of which it is the same.
    pub fn brief(&self) -> Brief {
        let digest = Blake2s256::digest(self.signature);
        brief(&digest.into())
    }

    /// Tells it from any other entry, also of the same key and version.
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.signature[..8]);
        u64::from_le_bytes(bytes)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The first twelve digits.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// When an entry was written, in a logical clock (Lamport, 1978): greater than
/// everything its author had seen until then. No wall clock goes in, so that a
/// clock that jumps can neither hide an entry nor make it immortal.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version(pub u64);

/// Something whose parts are owned by one host each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Space {
    /// Identifiers of networks on the wire, 1 to 2^24 - 1.
    Vni,
    /// All IPv4 addresses, as subnets of networks take them.
    Ipv4,
    /// All IPv6 addresses, likewise.
    Ipv6,
    /// The addresses of one pool of a network: the network's id and the pool's number.
    Pool([u8; 32], u8),
}

/// What an entry is about. The order is the one in which entries depend on
/// each other: a batch in this order can be taken up front to back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Whether a node belongs to the cluster. Any member writes it; removal wins.
    Member(NodeId),
    /// A key of the ring that control traffic is sealed with. Any member writes it.
    Secret(u32),
    /// What a host shows to join. Any member writes it.
    Token,
    /// What subnets are taken from that nobody chose. Any member writes it.
    Pools,
    /// What a node says of itself.
    Node(NodeId),
    /// A network. Any member writes it.
    Network([u8; 32]),
    /// A service. Any member writes it; deletion wins.
    Service([u8; 32]),
    /// A node's ranges of a space.
    Holding(NodeId, Space),
    /// An endpoint: the node that holds it, its network, its own id.
    Endpoint(NodeId, [u8; 32], [u8; 32]),
}

impl Key {
    /// No [`Key::Member`] comes after it, and nothing else before.
    pub const LAST_MEMBER: Key = Key::Member(NodeId([0xff; 32]));

    /// The only node that may write it; `None` if every member may.
    pub fn owner(&self) -> Option<NodeId> {
        match self {
            Key::Member(_) | Key::Secret(_) | Key::Token | Key::Pools => None,
            Key::Network(_) | Key::Service(_) => None,
            Key::Node(node) | Key::Holding(node, _) | Key::Endpoint(node, ..) => Some(*node),
        }
    }

    /// The part of the tables that its digest is kept for.
    pub fn realm(&self) -> Realm {
        match self {
            Key::Holding(_, Space::Pool(network, _)) | Key::Endpoint(_, network, _) => {
                Realm::Network(*network)
            }
            _ => Realm::Cluster,
        }
    }
}

/// A part of the tables that two hosts compare as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Realm {
    /// Members, nodes, networks and what belongs to no single network.
    Cluster,
    /// The endpoints and address ranges of one network.
    Network([u8; 32]),
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Of [`Key::Member`].
    Member(Member),
    /// Of [`Key::Secret`] and [`Key::Token`].
    Secret(Secret),
    /// Of [`Key::Pools`].
    Pools(Pools),
    /// Of [`Key::Node`].
    Node(Node),
    /// Of [`Key::Network`].
    Network(Network),
    /// Of [`Key::Service`].
    Service(Service),
    /// Of [`Key::Holding`].
    Holding(Holding),
    /// Of [`Key::Endpoint`].
    Endpoint(EndpointBody),
}

/// Whether a node belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Member {
    /// It does; `exchange` is its X25519 public key.
    Admitted {
        /// For Noise handshakes with it.
        exchange: [u8; 32],
    },
    /// It never will again, and `heir` has its ranges.
    Removed {
        /// Whoever removed it.
        heir: NodeId,
        /// Its X25519 public key: by this it is known if it comes back, and told.
        exchange: [u8; 32],
        /// Whom it had admitted, and who stays. Nobody else does of whom it alone
        /// says that they belong. And the networks that stay of those that it, or
        /// whoever was removed with it, had made or inherited: no other one does. And
        /// its records of services: what else it says of services counts for nothing.
        kept: BTreeSet<Brief>,
    },
}

/// A key of the ring. Its bytes are never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, zeroize::ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What subnets are taken from that nobody chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// Taken in this order.
    pub pools: Vec<Ipv4Net>,
    /// The prefix length of the subnets.
    pub length: u8,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, for people.
    pub name: String,
    /// Its X25519 public key. Here it cannot be another's; in [`Member::Admitted`] it
    /// is what counts until this entry is known.
    pub exchange: [u8; 32],
    /// Where it sends VXLAN from and receives it.
    pub vtep: IpAddr,
    /// Where it hears control traffic, UDP and TCP.
    pub control: SocketAddr,
    /// The largest IP packet that its underlay carries, in bytes.
    pub mtu: u16,
    /// Its program's version.
    pub program: String,
    /// All its entries of this version or an older one are deleted, whether a
    /// tombstone says so or not: that is how tombstones may be forgotten.
    pub floor: Version,
    /// Nodes that are being removed, each with one that removes it: this node
    /// takes no gift of theirs any more, and gives them none.
    pub renounced: BTreeSet<(NodeId, NodeId)>,
}

impl Node {
    /// Whether it has promised somebody to have no dealings with `other`.
    pub fn renounces(&self, other: &NodeId) -> bool {
        self.renounced.iter().any(|(id, _)| id == other)
    }
}

/// An endpoint as other hosts need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointBody {
    /// Unique on its network.
    pub name: String,
    /// Its only MAC.
    pub mac: Mac,
    /// Its only addresses.
    pub addresses: Vec<IpAddr>,
    /// Further names.
    pub aliases: Vec<String>,
    /// RFC 3339, UTC.
    pub created: String,
    /// The service that it belongs to.
    pub service: Option<Backing>,
}

/// A signed entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is about.
    pub key: Key,
    /// When it was written.
    pub version: Version,
    /// Who wrote it.
    pub author: NodeId,
    /// What it says; `None` says that it is deleted.
    pub body: Option<Body>,
    /// The author's Ed25519 signature over all of the above.
    #[serde(with = "signature")]
    pub signature: [u8; 64],
}

/// serde knows arrays of up to 32 elements.
mod signature {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(s: &[u8; 64], to: S) -> Result<S::Ok, S::Error> {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        a.copy_from_slice(&s[..32]);
        b.copy_from_slice(&s[32..]);
        (a, b).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 64], D::Error> {
        let (a, b) = <([u8; 32], [u8; 32])>::deserialize(from)?;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&a);
        signature[32..].copy_from_slice(&b);
        Ok(signature)
    }
}
