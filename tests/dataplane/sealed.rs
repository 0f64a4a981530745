//! The data plane on an encrypted network, without a cluster: the tests are what
//! says who the hosts are.

use std::collections::BTreeMap;

use vxmesh::core::cluster::entry::{NodeId, Secret};
use vxmesh::core::cluster::secret::identity::Identity;
use vxmesh::core::seal::{self, Peer, Report};

use super::*;

const VTEPS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// What sealing leaves of 1450.
const MTU: u16 = 1424;

struct Sealed {
    lab: Lab,
    ledger: Arc<Ledger>,
}

/// A host's keys and what it knows of the other.
fn config(me: usize, primary: u32) -> seal::Config {
    let identity = |n: usize| Identity::from_seed(&[n as u8 + 1; 32]);
    let other = 1 - me;
    let key = |n: u32| (n, Secret([n as u8; 32]));
    seal::Config {
        private: identity(me).exchange_private(),
        peers: vec![Peer {
            node: NodeId([other as u8; 32]),
            public: identity(other).exchange_public(),
            vtep: VTEPS[other].parse().unwrap(),
            wanted: true,
        }],
        keys: BTreeMap::from([primary.saturating_sub(1), primary, primary + 1].map(key)),
        primary,
        port: 4789,
    }
}

impl Sealed {
    fn new(suite: Suite, kinds: [Kind; 2], gso: bool) -> Sealed {
        let ledger = Arc::new(Ledger::default());
        let lab = Lab::of(VTEPS, kinds, gso, MTU, Some((suite, ledger.clone())));
        let sealed = Sealed { lab, ledger };
        sealed.use_key(1);
        sealed.wait("a session", |report| report.session.is_some());
        sealed
    }

    /// Gives both hosts this key of the ring to begin sessions with.
    fn use_key(&self, primary: u32) {
        for (me, plane) in self.lab.planes.iter().enumerate() {
            plane.set_peers(config(me, primary));
        }
    }

    fn report(&self, me: usize) -> Report {
        self.lab.planes[me].sessions().remove(0)
    }

    fn wait(&self, what: &str, condition: impl Fn(&Report) -> bool) {
        wait_until(what, || (0..2).all(|me| condition(&self.report(me))));
    }

    /// Waits until some frames have passed, gives both hosts a new key, and waits until
    /// they have made a session with it.
    fn renew(&self, key: u32) {
        let sealed = self.ledger.read().sealed;
        wait_until("frames pass", || self.ledger.read().sealed > sealed + 100);
        let handshakes = [0, 1].map(|me| self.report(me).session.unwrap().handshakes);
        self.use_key(key);
        for me in [0, 1] {
            wait_until(&format!("a session with key {key}"), || {
                self.report(me).session.is_some_and(|s| s.handshakes > handshakes[me])
            });
        }
    }

    /// Frames that were dropped for want of the right key. What the containers' kernels
    /// say by themselves is dropped, too, under other names.
    fn lost(&self) -> u64 {
        let reasons = [
            Reason::NoSession,
            Reason::SealedMalformed,
            Reason::SealedUnknownKey,
            Reason::SealedLane,
            Reason::SealedForged,
            Reason::SealedReplay,
            Reason::SealedExpired,
        ];
        let of = |plane: &Dataplane| {
            let counters = plane.counters();
            reasons.iter().map(|reason| counters.drops(*reason)).sum::<u64>()
        };
        self.lab.planes.iter().map(of).sum()
    }

    fn assert_sealed(&self) {
        let reading = self.ledger.read();
        assert!(reading.sealed > 0 && reading.opened > 0, "{reading:?}");
        assert_eq!((reading.clear_sent, reading.clear_accepted), (0, 0));
        let [a, b] = [0, 1].map(|me| self.lab.planes[me].counters());
        for reason in [Reason::ClearOnEncrypted, Reason::ClearLeaving, Reason::SealedForged] {
            assert_eq!(a.drops(reason) + b.drops(reason), 0, "{}", reason.name());
        }
    }
}

#[test]
fn both_ciphers_carry_super_frames() {
    if !able() {
        return;
    }
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let sealed = Sealed::new(suite, [Kind::Fast, Kind::Fast], true);
        sealed.lab.exercise();
        sealed.assert_sealed();
        assert_eq!(sealed.report(0).session.unwrap().suite, suite);
        let sent = sealed.lab.mean(0, "udp_gso_send_bytes", "udp_gso_sends");
        let written = sealed.lab.mean(1, "tap_super_write_bytes", "tap_super_writes");
        assert!(sent > 20_000, "bytes per segmented send: {sent}");
        assert!(written > 10_000, "bytes per super-frame written: {written}");
    }
}

#[test]
fn plain_taps_and_no_segmentation_do_too() {
    if !able() {
        return;
    }
    for (kinds, gso) in [([Kind::Plain, Kind::Fast], true), ([Kind::Fast, Kind::Fast], false)] {
        let sealed = Sealed::new(Suite::Aes256Gcm, kinds, gso);
        sealed.lab.exercise();
        sealed.assert_sealed();
    }
}

/// A ring's key that has become the primary one renews all sessions.
#[test]
fn ten_new_keys_under_a_transfer() {
    if !able() {
        return;
    }
    let sealed = Sealed::new(Suite::Aes256Gcm, [Kind::Fast, Kind::Fast], true);
    let [a, b] = &sealed.lab.containers;
    let before = sealed.lost();
    thread::scope(|scope| {
        let keys = scope.spawn(|| (2..12).for_each(|key| sealed.renew(key)));
        // However long the keys take, there is a transfer meanwhile, and until after them.
        while !keys.is_finished() {
            transfer(&a.netns, &b.netns, b.v4, 64 << 20);
        }
        keys.join().unwrap();
    });
    sealed.assert_sealed();
    assert_eq!(sealed.lost(), before, "datagrams were lost over the new keys");
}

#[test]
fn a_path_too_narrow_is_reported_in_the_size_that_sealing_leaves() {
    if !able() {
        return;
    }
    let sealed = Sealed::new(Suite::Aes256Gcm, [Kind::Fast, Kind::Fast], true);
    let lab = &sealed.lab;
    for host in &lab.hosts {
        host.ip("link set veth0 mtu 1400");
    }
    let [a, b] = &lab.containers;
    transfer(&a.netns, &b.netns, b.v4, 4 << 20);
    let (_, routes) = a.netns.command(&format!("ip route get {}", b.v4));
    assert!(routes.contains("mtu 1324"), "{routes}");
}
