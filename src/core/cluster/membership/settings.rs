//! How often and how patiently.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

/// The protocol's periods and fan-outs. All members should agree on them.
///
/// The default gossips and relays as memberlist's `DefaultLANConfig` does: to 3
/// members each 200 ms, by 3 others. It probes twice as often, two members a second
/// with 250 ms until indirect probes, and suspects for a shorter time, so that nearly
/// all dead hosts are noticed within five seconds. Each host probes the others in an
/// order of its own: with a probe a second, and many hosts, nobody probes a given one
/// for 4.6 s in one case of a hundred.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How often one member is probed.
    pub probe_period: Duration,
    /// How long a direct answer may take before others are asked to probe and a
    /// stream is tried; less than `probe_period`.
    pub probe_timeout: Duration,
    /// How many others are asked.
    pub relays: usize,
    /// How long a suspect may take to refute, in a cluster of up to 10; half as
    /// long again for each further decimal digit of the number of nodes, as news
    /// takes longer then. memberlist waits for four seconds, and so needs more than
    /// six to find a dead host. One is enough here: a suspicion has been through
    /// a direct probe, three relays and a stream, the suspect is told of it by name,
    /// and a host with any doubt about its own health is up to nine times as patient.
    /// A host that handles what it receives later than this may still be declared dead.
    pub suspicion: Duration,
    /// How often news is told.
    pub gossip_period: Duration,
    /// To how many.
    pub fan_out: usize,
    /// Each piece of news is told this many times the number of decimal digits
    /// of the cluster's size, and once as often again: with memberlist's figure,
    /// one of nine nodes would miss every tenth piece.
    pub retransmit: u8,
    /// How often a host looks for a member that it has lost, or never met.
    pub reconnect_period: Duration,
    /// The longest datagram, in bytes, before it is sealed.
    pub max_packet: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            probe_period: Duration::from_millis(500),
            probe_timeout: Duration::from_millis(250),
            relays: 3,
            suspicion: Duration::from_millis(1000),
            gossip_period: Duration::from_millis(200),
            fan_out: 3,
            retransmit: 4,
            reconnect_period: Duration::from_secs(1),
            max_packet: 1200,
        }
    }
}

impl Settings {
    /// What foca is to do in a cluster of so many live nodes.
    pub(super) fn config(&self, nodes: usize) -> Config {
        let nodes = nodes.max(1) as f64;
        let tellings = f64::from(self.retransmit) * (1.0 + (nodes + 1.0).log10().ceil());
        Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_timeout,
            num_indirect_probes: at_least_one(self.relays),
            // A float that is too large for u8 becomes 255.
            max_transmissions: NonZeroU8::new(tellings as u8).unwrap_or(NonZeroU8::MIN),
            suspect_to_down_after: self.suspicion.mul_f64(nodes.log10().max(1.0).midpoint(1.0)),
            // As long as it is a member: there is one record for each.
            remove_down_after: None,
            max_packet_size: at_least_one(self.max_packet),
            notify_down_members: true,
            periodic_announce: Some(PeriodicParams {
                frequency: 60 * self.probe_period,
                num_members: NonZeroUsize::MIN,
            }),
            // `Membership::reconnect` does it, also where everyone is lost.
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: self.gossip_period,
                num_members: at_least_one(self.fan_out),
            }),
        }
    }
}

fn at_least_one(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}
