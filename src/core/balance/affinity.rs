//! Which backend a client has, where clients keep theirs.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::Now;
use crate::core::map::{self, Map};
use crate::wire::vxlan::Vni;

/// Clients that are remembered, counted once for each service that they use.
const LIMIT: usize = 65_536;
/// When it is full it is looked for what has expired no more often than this.
const SWEEP: Duration = Duration::from_secs(1);

/// Network, virtual IP and client.
pub(super) type Key = (Vni, IpAddr, IpAddr);

/// A bounded memory. Clients are containers of this host, whose number is no
/// stranger's choice; beyond the bound a client has no backend of its own.
pub(super) struct Affinity {
    backends: Map<Key, (IpAddr, Now)>,
    swept: Now,
}

impl Affinity {
    pub(super) fn new(seed: u64) -> Affinity {
        Affinity { backends: map::map(seed), swept: Now::ZERO }
    }

    pub(super) fn find(&self, key: &Key, now: Now) -> Option<IpAddr> {
        self.backends.get(key).filter(|(_, until)| *until > now).map(|(backend, _)| *backend)
    }

    pub(super) fn note(&mut self, key: Key, backend: IpAddr, now: Now, patience: Duration) {
        if self.backends.len() >= LIMIT && !self.backends.contains_key(&key) {
            if now.saturating_sub(self.swept) >= SWEEP {
                self.swept = now;
                self.backends.retain(|_, (_, until)| *until > now);
            }
            if self.backends.len() >= LIMIT {
                return;
            }
        }
        self.backends.insert(key, (backend, now.saturating_add(patience)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_expires() {
        let mut affinity = Affinity::new(1);
        let key = |n: u32| {
            (Vni::new(7).unwrap(), [10, 0, 0, 9].into(), IpAddr::from((n + 1).to_be_bytes()))
        };
        let (backend, second) = ([10, 0, 0, 1].into(), Duration::from_secs(1));
        for n in 0..LIMIT as u32 + 10 {
            affinity.note(key(n), backend, second, second);
        }
        assert_eq!(affinity.backends.len(), LIMIT);
        assert_eq!(affinity.find(&key(0), second), Some(backend));
        assert_eq!(affinity.find(&key(LIMIT as u32), second), None);
        assert_eq!(affinity.find(&key(0), 2 * second), None);
        affinity.note(key(LIMIT as u32), backend, 2 * second, second);
        assert_eq!(affinity.backends.len(), 1);
    }
}
