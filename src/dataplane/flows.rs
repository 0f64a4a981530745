//! When flows were saved, before them: a daemon's own clock ends with it.

use std::time::{Duration, SystemTime};

/// Flows with the moment at which they were saved, in seconds since 1970.
pub(super) fn dated(flows: &[u8], now: SystemTime) -> Vec<u8> {
    if flows.is_empty() {
        return Vec::new();
    }
    [&seconds(now).to_be_bytes(), flows].concat()
}

/// The flows, and how long ago they were saved; `None` if there are none. A clock
/// that was set back makes them no younger than they were.
pub(super) fn undated(bytes: &[u8], now: SystemTime) -> Option<(&[u8], Duration)> {
    let (then, flows) = bytes.split_first_chunk()?;
    let elapsed = seconds(now).saturating_sub(u64::from_be_bytes(*then));
    Some((flows, Duration::from_secs(elapsed)))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_grow_older_between_daemons() {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let saved = dated(&[1, 2, 3], then);
        let minute = Duration::from_secs(60);
        assert_eq!(undated(&saved, then + minute), Some((&[1, 2, 3][..], minute)));
        assert_eq!(undated(&saved, then - minute), Some((&[1, 2, 3][..], Duration::ZERO)));
        assert!(dated(&[], then).is_empty());
        assert_eq!(undated(&[1, 2], then), None);
    }
}
