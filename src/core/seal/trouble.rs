//! Why there is no session, in words.

use std::net::{IpAddr, SocketAddr};

use super::cipher::Suite;

/// Why the last handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The two hosts have no cipher in common; the peer's.
    Cipher(Vec<Suite>),
    /// The peer writes with a ring key that is not known here.
    UnknownKey(u32),
    /// This host has no ring key to write with; its number.
    NoKey(u32),
    /// From the peer's address comes another identity, or an answer that is not the peer's.
    Identity,
    /// The peer's public key is none.
    BadKey,
}

impl Trouble {
    /// One sentence: what is wrong, and what to do. `home` is where the peer is to be found.
    pub(super) fn sentence(&self, home: SocketAddr, ours: &[Suite]) -> String {
        let vtep = home.ip();
        match self {
            Trouble::Cipher(theirs) => format!(
                "{vtep} takes {} and this host takes {}, so there is no cipher that both take: run \
                 the same version on both, and let both take {}",
                names(theirs),
                names(ours),
                Suite::ChaCha20Poly1305.name()
            ),
            Trouble::UnknownKey(number) => format!(
                "{vtep} uses key {number} of the cluster's ring, which this host does not have: \
                 check that the two hosts reach each other's gossip port and belong to one cluster"
            ),
            Trouble::NoKey(number) => format!(
                "this host does not have key {number} of the cluster's ring: check that it reaches \
                 the gossip port of other members"
            ),
            Trouble::Identity => format!(
                "the host at {vtep} does not have the identity that the cluster knows for this \
                 address: if it was set up anew, remove the old node"
            ),
            Trouble::BadKey => format!(
                "the public key of the host at {vtep} cannot be used: remove the node, and join it \
                 again"
            ),
        }
    }
}

/// For a peer whose VTEP or key another member claims too.
pub(super) fn contested(vtep: IpAddr) -> String {
    format!(
        "another member claims the VTEP {vtep} or the key of this one, and nothing is sealed for \
         either: remove the one that is no more"
    )
}

/// For a peer that has not answered so many initiations.
pub(super) fn silent(to: SocketAddr, attempts: u32) -> String {
    let times =
        if attempts == 1 { "a handshake".to_owned() } else { format!("{attempts} handshakes") };
    format!(
        "{to} has not answered {times}: check that vxmesh runs there, and that UDP port {} is open \
         in both directions",
        to.port()
    )
}

/// For a peer that waits for its turn.
pub(super) fn beginning(to: SocketAddr) -> String {
    format!("the first handshake with {to} is about to begin: wait a second")
}

fn names(suites: &[Suite]) -> String {
    let names: Vec<&str> = suites.iter().map(|suite| suite.name()).collect();
    if names.is_empty() { "none that this host knows".to_owned() } else { names.join(" and ") }
}
