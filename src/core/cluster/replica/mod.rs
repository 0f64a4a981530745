//! All entries that this host knows, and which of those it is told it takes.
//!
//! What two replicas hold is equal as soon as both have seen the same entries,
//! in whatever order: every rule here looks at entries, never at arrival.

mod members;
mod rules;
mod rumours;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use rules::{MAX_ENTRY, Refusal};
pub(in crate::core::cluster) use rumours::encoded_len;

use self::rumours::Rumours;
use super::entry::{Body, Entry, Key, Member, Node, NodeId, Realm, Space, Version};
use super::secret::identity::{self, Identity};

/// How far ahead of all that was seen a version may be. A host writes far fewer
/// entries than this between two that others see.
const LEAP: u64 = 1 << 20;
/// Own tombstones, older and again younger than what is not deleted, before the
/// floor is raised above the older ones.
const OWN_TOMBSTONES: usize = 256;
/// Tombstones kept of what every member writes; beyond, the oldest are forgotten.
const SHARED_TOMBSTONES: usize = 4096;

/// The tables of the cluster as this host has them.
#[derive(Debug)]
pub struct Replica {
    identity: Identity,
    clock: u64,
    entries: BTreeMap<Key, Entry>,
    digests: BTreeMap<Realm, u64>,
    /// Nodes that were removed, or admitted by one that was.
    gone: BTreeSet<NodeId>,
    /// Entries that each node answers for, deleted ones too: what is capped.
    answers_for: BTreeMap<NodeId, usize>,
    rumours: Rumours,
    /// Keys that have changed since [`Replica::take_changes`].
    changes: BTreeSet<Key>,
    refused: BTreeMap<(NodeId, Refusal), u64>,
    /// That this host was removed. It is not among the entries: what this host has
    /// written is left to it, until it leaves.
    own_removal: Option<Entry>,
}

impl Replica {
    /// An empty replica of the host with this identity.
    pub fn new(identity: Identity) -> Replica {
        Replica {
            identity,
            clock: 0,
            entries: BTreeMap::new(),
            digests: BTreeMap::new(),
            gone: BTreeSet::new(),
            answers_for: BTreeMap::new(),
            rumours: Rumours::default(),
            changes: BTreeSet::new(),
            refused: BTreeMap::new(),
            own_removal: None,
        }
    }

    /// This host.
    pub fn me(&self) -> NodeId {
        self.identity.id()
    }

    /// This host's keys.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Takes entries as this host stored them, or as the host that admitted it
    /// handed them over: their authors are not asked about, their signatures are.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            if rules::shape(&entry).is_ok()
                && identity::verify(&entry)
                && !self.is_superseded(&entry)
            {
                self.clock = self.clock.max(entry.version.0);
                self.insert(entry);
            }
        }
    }

    /// Writes an entry of this host's own and spreads it. `None` deletes; to
    /// delete what is not there, or to write what is there already, changes nothing.
    pub fn write(&mut self, key: Key, body: Option<Body>) {
        if self.get(&key) == body.as_ref() {
            return;
        }
        let deleted = body.is_none();
        let entry = self.signed(key, body);
        self.rumours.add(&entry);
        self.insert(entry);
        if deleted {
            self.raise_floor();
        }
    }

    /// Spreads an entry once more.
    pub fn retell(&mut self, key: Key) {
        if let Some(entry) = self.entries.get(&key) {
            self.rumours.add(entry);
        }
    }

    fn signed(&mut self, key: Key, body: Option<Body>) -> Entry {
        self.clock += 1;
        self.identity.sign_entry(key, Version(self.clock), body)
    }

    /// Takes entries of others, in any order, that `from` handed on. Returns how
    /// many were new.
    pub fn accept(&mut self, from: NodeId, entries: Vec<Entry>) -> usize {
        let mut entries = entries;
        // Who is a member first: others' entries depend on it.
        entries.sort_by_key(|e| (e.key, e.version));
        let few = entries.len() <= rumours::HANDED_ON;
        let (mut new, mut waiting) = (0, entries);
        loop {
            let before = waiting.len();
            let mut strangers = Vec::new();
            for entry in std::mem::take(&mut waiting) {
                match self.judge(&entry) {
                    Ok(true) => {
                        new += 1;
                        self.take(entry, few);
                    }
                    Ok(false) => {}
                    Err(Refusal::Stranger) => strangers.push(entry),
                    Err(refusal) => self.refuse(from, refusal),
                }
            }
            // A later entry may have admitted an earlier one's author.
            if strangers.is_empty() || strangers.len() == before {
                strangers.iter().for_each(|_| self.refuse(from, Refusal::Stranger));
                return new;
            }
            waiting = strangers;
        }
    }

    fn take(&mut self, entry: Entry, tell: bool) {
        self.clock = self.clock.max(entry.version.0);
        if tell {
            self.rumours.add(&entry);
        }
        self.insert(entry);
    }

    /// Takes what a host that is not known shows of its belonging: whom it was
    /// admitted by, whom that one, and so on. Of that counts what a member has said,
    /// or who was removed and keeps the host: beginning with these, as far as their
    /// word goes. At most one signature is found false.
    pub fn hear_introduction(&mut self, chain: Vec<Entry>) {
        for entry in chain.into_iter().rev() {
            let Key::Member(id) = entry.key else { return };
            if !self.is_member(&entry.author) && !self.keeps(entry.author, id.brief()) {
                continue;
            }
            match self.judge(&entry) {
                Ok(true) => self.take(entry, true),
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// Whether an entry is to be taken; `false` for what is known or superseded.
    fn judge(&self, entry: &Entry) -> Result<bool, Refusal> {
        rules::shape(entry)?;
        if self.is_superseded(entry) {
            return Ok(false);
        }
        if entry.author == self.me() && entry.key.owner().is_some() {
            // Only we write these, and have written something else since, or
            // have lost what we had: then it is ours to take back.
            return if identity::verify(entry) { Ok(true) } else { Err(Refusal::Forged) };
        }
        if entry.version.0 > self.clock.saturating_add(LEAP) {
            return Err(Refusal::Future);
        }
        if let Some(owner) = entry.key.owner() {
            if owner != entry.author {
                return Err(Refusal::NotTheOwner);
            }
            if !self.is_member(&owner) {
                return if self.is_removed(&owner) { Ok(false) } else { Err(Refusal::Stranger) };
            }
        } else if !self.is_member(&entry.author) && !self.is_removed(&entry.author) {
            return Err(Refusal::Stranger);
        }
        let written = self.answers_for.get(&answerable(entry)).copied().unwrap_or(0);
        if written >= rules::ENTRIES_PER_NODE && !self.entries.contains_key(&entry.key) {
            return Err(Refusal::TooMany);
        }
        if identity::verify(entry) { Ok(true) } else { Err(Refusal::Forged) }
    }

    /// Whether an entry would be taken if its author were a member and could
    /// write it: who asks to be admitted is asked this first.
    pub fn is_credible(&self, entry: &Entry) -> bool {
        rules::shape(entry).is_ok()
            && entry.version.0 <= self.clock.saturating_add(LEAP)
            && identity::verify(entry)
    }

    /// Whether something newer is known, or its owner has deleted it, or it went with
    /// a removed node.
    fn is_superseded(&self, entry: &Entry) -> bool {
        let newer = self.entries.get(&entry.key).is_some_and(|old| !entry.beats(old));
        newer || self.is_under_floor(entry) || self.is_left_behind(entry)
    }

    fn is_under_floor(&self, entry: &Entry) -> bool {
        let Some(owner) = entry.key.owner() else { return false };
        if matches!(entry.key, Key::Node(_)) {
            return false;
        }
        self.node(&owner).is_some_and(|n| entry.version <= n.floor)
    }

    fn insert(&mut self, entry: Entry) {
        let key = entry.key;
        let gone = matches!(entry.body, Some(Body::Member(Member::Removed { .. })));
        if gone && key == Key::Member(self.me()) {
            self.changes.insert(key);
            self.own_removal = Some(entry);
            return;
        }
        self.count(&entry);
        let shared_tombstone = entry.body.is_none() && key.owner().is_none();
        if let Some(old) = self.entries.insert(key, entry) {
            self.discount(&old);
        }
        self.changes.insert(key);
        match key {
            Key::Node(node) => self.sweep(node),
            Key::Member(node) => self.see_who_is_gone(node),
            _ => {}
        }
        if shared_tombstone {
            self.forget_old_tombstones();
        }
    }

    fn count(&mut self, entry: &Entry) {
        self.mix(entry);
        *self.answers_for.entry(answerable(entry)).or_default() += 1;
    }

    fn discount(&mut self, entry: &Entry) {
        self.mix(entry);
        if let Some(count) = self.answers_for.get_mut(&answerable(entry)) {
            *count -= 1;
        }
    }

    /// Adds an entry to its realm's digest, or takes it out again.
    fn mix(&mut self, entry: &Entry) {
        let realm = entry.key.realm();
        let digest = self.digests.entry(realm).or_default();
        *digest ^= entry.fingerprint();
        if *digest == 0 {
            self.digests.remove(&realm);
        }
    }

    /// What a node says: of itself, of its ranges, of its endpoints.
    fn of_node(&self, node: NodeId) -> impl Iterator<Item = &Entry> {
        let holdings = Key::Holding(node, Space::Vni)
            ..=Key::Holding(node, Space::Pool([u8::MAX; 32], u8::MAX));
        let endpoints = Key::Endpoint(node, [0; 32], [0; 32])
            ..=Key::Endpoint(node, [u8::MAX; 32], [u8::MAX; 32]);
        let own = self.entries.get(&Key::Node(node)).into_iter();
        let rest = self.entries.range(holdings).chain(self.entries.range(endpoints));
        own.chain(rest.map(|(_, entry)| entry))
    }

    /// Drops what a node's floor, or its removal, has deleted.
    fn sweep(&mut self, node: NodeId) {
        let removed = self.is_removed(&node);
        let dead = self.of_node(node).filter(|e| removed || self.is_under_floor(e));
        let dead: Vec<Key> = dead.map(|e| e.key).collect();
        dead.iter().for_each(|key| self.drop_entry(key));
    }

    fn drop_entry(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.discount(&entry);
        self.rumours.remove(key);
        self.changes.insert(*key);
    }

    fn forget_old_tombstones(&mut self) {
        let mut dead: Vec<(Version, Key)> = self
            .entries
            .values()
            .filter(|e| e.body.is_none() && e.key.owner().is_none())
            .map(|e| (e.version, e.key))
            .collect();
        if dead.len() > SHARED_TOMBSTONES {
            dead.sort_unstable();
            dead[..dead.len() - SHARED_TOMBSTONES].iter().for_each(|(_, key)| self.drop_entry(key));
        }
    }

    /// Many own tombstones are replaced by one floor: everything at or below it
    /// is deleted by definition. What is not deleted must be above it, in
    /// everybody's tables, before they hear of the floor: it is written anew and
    /// told long before.
    fn raise_floor(&mut self) {
        let me = self.me();
        let Some(mut node) = self.node(&me).cloned() else { return };
        let own = || self.of_node(me).filter(|e| !matches!(e.key, Key::Node(_)));
        let live: Vec<&Entry> = own().filter(|e| e.body.is_some()).collect();
        let oldest = live.iter().map(|e| e.version).min();
        let dead = own().filter(|e| e.body.is_none()).map(|e| e.version);
        let (old, young): (Vec<_>, Vec<_>) = dead.partition(|v| oldest.is_none_or(|o| *v < o));
        if old.len() >= OWN_TOMBSTONES && (young.len() >= OWN_TOMBSTONES || live.is_empty()) {
            node.floor = old.into_iter().fold(node.floor, Version::max);
            self.write(Key::Node(me), Some(Body::Node(node)));
        } else if young.len() >= OWN_TOMBSTONES {
            let live: Vec<(Key, Option<Body>)> =
                live.into_iter().map(|e| (e.key, e.body.clone())).collect();
            for (key, body) in live {
                let entry = self.signed(key, body);
                self.rumours.add(&entry);
                self.insert(entry);
            }
        }
    }

    fn refuse(&mut self, from: NodeId, refusal: Refusal) {
        *self.refused.entry((from, refusal)).or_default() += 1;
    }

    /// What members handed on and was not taken, by who and why.
    pub fn refused(&self) -> &BTreeMap<(NodeId, Refusal), u64> {
        &self.refused
    }

    /// What the entry of a key says, if there is one that is not deleted.
    pub fn get(&self, key: &Key) -> Option<&Body> {
        self.entries.get(key)?.body.as_ref()
    }

    /// The whole entry of a key, also a deleted one.
    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All entries, deleted ones too, by key.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Entries that are not deleted, of a range of keys.
    pub fn live(
        &self,
        keys: impl std::ops::RangeBounds<Key>,
    ) -> impl Iterator<Item = (&Key, &Body)> {
        self.entries.range(keys).filter_map(|(k, e)| Some((k, e.body.as_ref()?)))
    }

    /// What a node says of itself.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        match self.get(&Key::Node(*id))? {
            Body::Node(node) => Some(node),
            _ => None,
        }
    }

    /// That this host itself was removed from the cluster.
    pub fn own_removal(&self) -> Option<&Entry> {
        self.own_removal.as_ref()
    }

    /// The digests of all realms that have entries.
    pub fn digests(&self) -> impl Iterator<Item = (Realm, u64)> {
        self.digests.iter().map(|(realm, digest)| (*realm, *digest))
    }

    /// Keys that have changed since the last call: what must be stored, and may
    /// be seen.
    pub fn take_changes(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changes)
    }

    /// Fresh entries for a few datagrams of `budget` bytes each, all of which go to
    /// `targets` of `hosts` hosts; empty if there is nothing left to say.
    pub fn rumours(&mut self, budget: usize, hosts: usize, targets: usize) -> Vec<Vec<Entry>> {
        self.rumours.pack(&self.entries, budget, hosts, targets)
    }

    /// Whether there is anything left to tell.
    pub fn has_rumours(&self) -> bool {
        !self.rumours.is_empty()
    }

    /// Whether an entry is news that nobody has been told yet.
    pub fn is_untold(&self, key: &Key) -> bool {
        self.rumours.is_untold(key)
    }

    /// Fresh entries that are too long for any datagram of `budget` bytes.
    pub fn take_oversize(&mut self, budget: usize) -> Vec<Entry> {
        self.rumours.take_oversize(&self.entries, budget)
    }
}

/// Against whose number of entries one counts.
fn answerable(entry: &Entry) -> NodeId {
    entry.key.owner().unwrap_or(entry.author)
}
