use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Encrypted networks, and the sessions that their frames are sealed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encrypted {
    /// What this host offers to others; the first is the one it likes best.
    pub ciphers: Vec<Cipher>,
    /// All encrypted networks, by name.
    pub networks: Vec<EncryptedNetwork>,
    /// With hosts that share an encrypted network with this one, or did, by name.
    pub sessions: Vec<Session>,
}

/// A cipher that this host offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cipher {
    /// `AES-256-GCM` or `ChaCha20-Poly1305`.
    pub name: String,
    /// How long sealing a full packet took when the daemon started.
    pub nanoseconds: u64,
}

/// What crossed this host's border on an encrypted network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptedNetwork {
    /// The network's name.
    pub name: String,
    /// The network's id.
    pub id: String,
    /// Datagrams that left sealed.
    pub sealed: u64,
    /// Frames that came sealed and went to a container.
    pub opened: u64,
    /// Plain frames of this network that came, and were dropped.
    pub clear_refused: u64,
    /// Plain datagrams of this network that were about to leave, and were dropped: always 0.
    pub clear_sent: u64,
    /// Plain frames of this network that were about to reach a container, and were
    /// dropped: always 0.
    pub clear_accepted: u64,
    /// Hosts with endpoints of this network with which there is no session: nothing of it
    /// goes there or comes from there.
    pub unreachable: Vec<Unreachable>,
}

/// A host that an encrypted network does not reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// Its name.
    pub node: String,
    /// Why, and what to do: one sentence.
    pub reason: String,
}

/// How it is with one other host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// That host's name.
    pub node: String,
    /// Whether there is to be a session: whether both have endpoints on one encrypted
    /// network.
    pub wanted: bool,
    /// What is sealed with; `null` if there is no session.
    pub cipher: Option<String>,
    /// Seconds for which there has been a session without a break.
    pub age: Option<u64>,
    /// Seconds since the last handshake.
    pub handshake: Option<u64>,
    /// Handshakes since there has been a session.
    pub handshakes: u64,
    /// Datagrams sealed for it, over all sessions.
    pub sealed: u64,
    /// Datagrams of it that were opened.
    pub opened: u64,
    /// What came in its name and was dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Why there is no session, or why there will be none soon: one sentence.
    pub trouble: Option<String>,
}
