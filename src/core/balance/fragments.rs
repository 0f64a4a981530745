//! What was done to the first fragment of a packet, for those that follow.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::schedule::stir;
use crate::core::Now;
use crate::wire::vxlan::Vni;

/// How long later fragments may come; as long as Linux waits for them.
const LIFE: Duration = Duration::from_secs(30);
/// Packets of one group of containers that may be under way.
const GROUP: usize = 64;
/// Groups, so that one container's fragments push out those of few others.
const GROUPS: usize = 64;

/// What fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) vni: Vni,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) id: u32,
}

struct Known<T> {
    key: Key,
    treatment: T,
    until: Now,
}

/// A bounded memory of first fragments.
pub(super) struct Fragments<T> {
    seed: u64,
    groups: Vec<VecDeque<Known<T>>>,
}

impl<T: Copy> Fragments<T> {
    pub(super) fn new(seed: u64) -> Fragments<T> {
        Fragments { seed, groups: (0..GROUPS).map(|_| VecDeque::new()).collect() }
    }

    /// Remembers how the packet's first fragment was treated. `client` is the
    /// container of this host.
    pub(super) fn note(&mut self, client: IpAddr, key: Key, treatment: T, now: Now) {
        let group = self.group(client);
        if group.len() == GROUP {
            group.pop_front();
        }
        group.push_back(Known { key, treatment, until: now + LIFE });
    }

    /// How the first fragment of this packet was treated.
    pub(super) fn find(&mut self, client: IpAddr, key: &Key, now: Now) -> Option<T> {
        let group = self.group(client);
        let known = group.iter().rev().find(|known| known.key == *key && known.until > now)?;
        Some(known.treatment)
    }

    fn group(&mut self, client: IpAddr) -> &mut VecDeque<Known<T>> {
        let at = stir(self.seed, client) as usize % GROUPS;
        &mut self.groups[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> Key {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
        Key { vni: Vni::new(7).unwrap(), source, destination, protocol: 17, id }
    }

    #[test]
    fn what_was_noted_is_found_for_a_while() {
        let mut fragments = Fragments::new(1);
        let client = [10, 0, 0, 1].into();
        fragments.note(client, key(1), 'a', Duration::ZERO);
        fragments.note(client, key(1), 'b', Duration::ZERO);
        let almost = LIFE - Duration::from_secs(1);
        assert_eq!(fragments.find(client, &key(1), almost), Some('b'), "the id was used again");
        assert_eq!(fragments.find(client, &key(2), almost), None);
        assert_eq!(fragments.find(client, &Key { protocol: 6, ..key(1) }, almost), None);
        assert_eq!(fragments.find(client, &key(1), LIFE), None);
    }

    #[test]
    fn a_flood_pushes_out_its_own() {
        let mut fragments = Fragments::new(1);
        fragments.note([10, 0, 0, 2].into(), key(0), (), Duration::ZERO);
        for id in 0..100_000 {
            fragments.note([10, 0, 0, 1].into(), key(id), (), Duration::ZERO);
        }
        assert!(fragments.find([10, 0, 0, 2].into(), &key(0), Duration::ZERO).is_some());
        assert!(fragments.groups.iter().map(VecDeque::len).sum::<usize>() <= GROUP + 1);
    }
}
