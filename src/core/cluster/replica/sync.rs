//! Anti-entropy: two hosts compare digests, then what differs, and exchange
//! only that.

use std::collections::{BTreeMap, BTreeSet};

use super::super::entry::{Entry, Key, NodeId, Realm, Version};
use super::super::rpc::{Request, Response, Summaries};
use super::Replica;
use super::rumours::encoded_len;

/// Entries of one message, in bytes; what is left goes in the next round.
const BATCH: usize = 1 << 20;
/// Keys of one summary: about a megabyte. What is left is another part.
const SUMMARY: usize = 1 << 13;
/// Keys that are asked for at once: no summary brings more.
const WANT: usize = SUMMARY;

impl Replica {
    /// The first round's question, about what lies behind a place.
    pub fn ask_digests(&self, behind: Option<Key>) -> Request {
        Request::Digests { realms: self.digests().collect(), behind: behind.map(Box::new) }
    }

    /// Answers the first round.
    pub fn answer_digests(&self, theirs: &[(Realm, u64)], behind: Option<Key>) -> Summaries {
        let theirs: BTreeMap<Realm, u64> = theirs.iter().copied().collect();
        let mine: BTreeMap<Realm, u64> = self.digests().collect();
        let all: BTreeSet<Realm> = mine.keys().chain(theirs.keys()).copied().collect();
        let differ = |realm: &Realm| {
            mine.get(realm) != theirs.get(realm) && behind.is_none_or(|key| key.realm() <= *realm)
        };
        let mut of_realm: BTreeMap<Realm, Vec<&Entry>> =
            all.into_iter().filter(differ).map(|realm| (realm, Vec::new())).collect();
        for entry in self.entries.values().filter(|e| is_behind(&e.key, behind)) {
            if let Some(entries) = of_realm.get_mut(&entry.key.realm()) {
                entries.push(entry);
            }
        }
        let mut part = Summaries { realms: Vec::new(), have: Vec::new(), end: None };
        for (realm, entries) in of_realm {
            let room = SUMMARY - part.have.len();
            if room == 0 {
                break;
            }
            part.realms.push(realm);
            let fitting = entries.iter().take(room);
            part.have.extend(fitting.map(|e| (e.key, e.version, e.fingerprint())));
            if entries.len() >= room {
                part.end = entries.get(room - 1).map(|last| last.key);
            }
        }
        part
    }

    /// The second round's question, which may be about a part of what differs,
    /// and how many entries differ; `None` if nothing does. The other host was asked
    /// for what lies behind `behind`.
    pub fn ask_exchange(&self, behind: Option<Key>, part: &Summaries) -> Option<(Request, usize)> {
        let have = &part.have;
        let theirs: BTreeMap<Key, (Version, u64)> =
            have.iter().map(|(k, v, f)| (*k, (*v, *f))).collect();
        // A version does not tell which of two entries about a member counts, nor
        // which of two that an author wrote at once: then both sides see both.
        let unclear = |e: &Entry, version: Version, fingerprint: u64| {
            let undecided = e.version == version || matches!(e.key, Key::Member(_));
            undecided && e.fingerprint() != fingerprint
        };
        let newer = |e: &&Entry| match theirs.get(&e.key) {
            None => true,
            Some((version, print)) => e.version > *version || unclear(e, *version, *print),
        };
        let older = |key: &Key, version: Version, print: u64| match self.entries.get(key) {
            None => !self.is_dead(key, version),
            Some(e) => e.version < version || unclear(e, version, print),
        };
        let realms: BTreeSet<Realm> = part.realms.iter().copied().collect();
        let in_part = |e: &&Entry| {
            let beyond = part.end.is_some() && is_behind(&e.key, part.end);
            realms.contains(&e.key.realm()) && is_behind(&e.key, behind) && !beyond
        };
        let mine = self.entries.values().filter(in_part);
        let news: Vec<&Entry> = mine.filter(newer).collect();
        let mut want: Vec<Key> =
            have.iter().filter(|(k, v, p)| older(k, *v, *p)).map(|(k, ..)| *k).collect();
        let differing = news.len() + want.len();
        want.truncate(WANT);
        let entries = batch(news.into_iter());
        (differing > 0).then_some((Request::Exchange { entries, want }, differing))
    }

    /// Answers the second round.
    pub fn answer_exchange(&mut self, from: NodeId, entries: Vec<Entry>, want: &[Key]) -> Response {
        self.accept(from, entries);
        Response::Entries(batch(want.iter().filter_map(|key| self.entries.get(key))))
    }

    /// Whether we know that an entry, which we do not have, is deleted.
    fn is_dead(&self, key: &Key, version: Version) -> bool {
        let Some(owner) = key.owner() else { return false };
        let floored = !matches!(key, Key::Node(_))
            && self.node(&owner).is_some_and(|node| version <= node.floor);
        floored || self.is_removed(&owner)
    }
}

/// Whether a key comes after another, as all are compared: realm by realm.
fn is_behind(key: &Key, other: Option<Key>) -> bool {
    other.is_none_or(|other| (key.realm(), key) > (other.realm(), &other))
}

/// The first entries, up to the length of a message.
fn batch<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Entry> {
    let mut left = BATCH;
    let fits = |entry: &&Entry| {
        let len = encoded_len(entry);
        let fits = len <= left;
        left = left.saturating_sub(len);
        fits
    };
    entries.take_while(fits).cloned().collect()
}
