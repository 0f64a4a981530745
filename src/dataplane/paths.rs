//! What is known of the way to each VTEP: whether the kernel segments on it,
//! and how large a packet may be.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::core::Now;
use crate::wire::vxlan;

/// How long a refusal is believed before the fast way is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(60);
/// More destinations than this are not remembered; they are tried each time.
const MOST: usize = 1024;

/// The last refusal of UDP_SEGMENT, as people should read it.
pub(super) type Report = Arc<Mutex<Option<String>>>;

/// One worker's memory of its destinations.
#[derive(Debug)]
pub(super) struct Paths {
    /// UDP_SEGMENT is never used.
    never: bool,
    refused: BTreeMap<IpAddr, Now>,
    mtus: BTreeMap<IpAddr, (u16, Now)>,
    report: Report,
}

impl Paths {
    pub(super) fn new(never: bool, report: Report) -> Paths {
        Paths { never, refused: BTreeMap::new(), mtus: BTreeMap::new(), report }
    }

    /// Whether messages to this VTEP may be segmented by the kernel.
    pub(super) fn segments(&mut self, to: IpAddr, now: Now) -> bool {
        if self.never || self.refused.is_empty() {
            return !self.never;
        }
        let before = self.refused.len();
        self.refused.retain(|_, until| *until > now);
        if self.refused.is_empty() && before > 0 {
            self.publish(None);
        }
        !self.refused.contains_key(&to)
    }

    /// The kernel would not segment for this VTEP what it sent unsegmented.
    pub(super) fn refuse(&mut self, to: IpAddr, now: Now, error: &io::Error) {
        if self.refused.len() < MOST {
            self.refused.insert(to, now + RETRY);
        }
        self.publish(Some(format!(
            "the kernel does not segment datagrams to {to} ({error}); they are sent one by one, \
             the next attempt is in {} s",
            RETRY.as_secs()
        )));
    }

    fn publish(&self, reason: Option<String>) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// The largest inner IP packet that reaches the VTEP, asking with `probe`
    /// for the largest outer one at most once a second.
    pub(super) fn inner_mtu(
        &mut self,
        to: IpAddr,
        now: Now,
        probe: impl FnOnce() -> io::Result<u16>,
    ) -> Option<u16> {
        if let Some((mtu, until)) = self.mtus.get(&to)
            && *until > now
        {
            return Some(*mtu);
        }
        let overhead = if to.is_ipv4() { vxlan::OVERHEAD_V4 } else { vxlan::OVERHEAD_V6 };
        let mtu = probe().ok()?.checked_sub(overhead)?;
        if self.mtus.len() >= MOST {
            self.mtus.clear();
        }
        self.mtus.insert(to, (mtu, now + Duration::from_secs(1)));
        Some(mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    #[test]
    fn a_refusal_concerns_one_vtep_and_is_forgotten() {
        let report = Report::default();
        let mut paths = Paths::new(false, report.clone());
        let start = Duration::from_secs(5);
        assert!(paths.segments(PEER, start));
        paths.refuse(PEER, start, &io::Error::from_raw_os_error(libc::EIO));
        assert!(!paths.segments(PEER, start + RETRY / 2));
        assert!(paths.segments(OTHER, start));
        assert!(report.lock().unwrap().as_ref().unwrap().contains("10.0.0.2"));
        assert!(paths.segments(PEER, start + RETRY));
        assert_eq!(*report.lock().unwrap(), None);
    }

    #[test]
    fn never_is_never() {
        assert!(!Paths::new(true, Report::default()).segments(PEER, Duration::ZERO));
    }

    #[test]
    fn the_mtu_is_asked_once_a_second() {
        let mut paths = Paths::new(false, Report::default());
        let at = Duration::from_secs;
        assert_eq!(paths.inner_mtu(PEER, at(1), || Ok(1500)), Some(1450));
        assert_eq!(paths.inner_mtu(PEER, at(1), || unreachable!()), Some(1450));
        assert_eq!(paths.inner_mtu(PEER, at(3), || Ok(1280)), Some(1230));
        let v6 = "fd00::1".parse().unwrap();
        assert_eq!(paths.inner_mtu(v6, at(3), || Ok(1500)), Some(1430));
        assert_eq!(paths.inner_mtu(OTHER, at(3), || Ok(20)), None);
    }
}
