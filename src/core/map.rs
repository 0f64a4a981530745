//! Hash maps for look-ups by keys that strangers may choose.
//!
//! The seed is random for each daemon and comes from outside, so that nobody
//! can make keys collide on purpose. These maps are never iterated where order
//! could be seen.

/// A map whose hash is keyed by the seed given to [`map`].
pub type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::FixedState>;

/// An empty map keyed by `seed`.
pub fn map<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(foldhash::fast::FixedState::with_seed(seed))
}
