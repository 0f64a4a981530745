//! Conntrack at its bounds.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::conntrack::{Conntrack, Full, Sender};
use super::flow::{Flow, Opening};
use super::packet::Segment;
use crate::core::Now;
use crate::core::plan::PortId;
use crate::wire::vxlan::Vni;

const NOW: Now = Duration::from_secs(1000);

fn vni() -> Vni {
    Vni::new(7).unwrap()
}

/// Flow `n` of a container.
fn flow(port: u32, protocol: u8, n: u32) -> Flow {
    let client = IpAddr::from([10, 1, (port >> 8) as u8, port as u8]);
    let vip = IpAddr::from([10, 2, (n >> 24) as u8, (n >> 16) as u8]);
    let ports = (n as u16, 80);
    let opening = Opening { vni: vni(), port: Some(PortId(port)), protocol, client, vip, ports };
    // As many backends as virtual IPs, so that no two flows have the same replies.
    let backend = IpAddr::from([10, 3, (n >> 24) as u8, (n >> 16) as u8]);
    Flow::new(&opening, backend, false, 1, NOW)
}

fn opened(flows: &mut Conntrack, port: u32, n: u32) -> Option<u32> {
    let id = flows.insert(flow(port, 17, n), NOW).ok()?;
    flows.see(id, Sender::Backend, None, NOW);
    Some(id)
}

/// Flows of a container that can be found by both directions.
fn held(flows: &Conntrack, port: u32, range: std::ops::Range<u32>) -> usize {
    let known = |n: &u32| {
        let flow = flow(port, 17, *n);
        let found = [flow.forward(), flow.reply()].map(|tuple| flows.find(&tuple));
        assert_eq!(found[0].is_some(), found[1].is_some());
        found[0].is_some()
    };
    range.filter(known).count()
}

#[test]
fn a_million_idle_flows_fit_into_200_mb() {
    let mut flows = Conntrack::new(1, 1 << 20);
    for n in 0..1 << 20 {
        opened(&mut flows, n >> 14, n).unwrap();
    }
    assert_eq!((flows.len(), flows.stats.evicted), (1 << 20, 0));
    let bytes = flows.bytes();
    println!("{bytes} bytes");
    assert!((100_000_000..170_000_000).contains(&bytes), "{bytes}");
    for n in 0..1 << 20 {
        let (id, sender) = flows.find(&flow(n >> 14, 17, n).reply()).unwrap();
        assert_eq!(sender, Sender::Backend);
        flows.remove(id).unwrap();
    }
    assert!(flows.bytes() < 1_000_000, "{} bytes are left", flows.bytes());
}

#[test]
fn a_flood_of_new_flows_pushes_out_itself() {
    let mut flows = Conntrack::new(1, 1000);
    for n in 0..300 {
        opened(&mut flows, 1, n).unwrap();
    }
    for n in 0..20_000 {
        flows.insert(flow(2, 17, n), NOW).unwrap();
    }
    assert_eq!(held(&flows, 1, 0..300), 300);
    assert_eq!(held(&flows, 2, 19_500..20_000), 500, "its last ones are there");
    assert_eq!(flows.len(), 800);
    assert_eq!(flows.stats.evicted, 19_500);
}

#[test]
fn established_flows_of_one_do_not_push_out_anothers() {
    let mut flows = Conntrack::new(1, 1000);
    for n in 0..300 {
        opened(&mut flows, 1, n).unwrap();
    }
    for n in 0..20_000 {
        opened(&mut flows, 2, n);
    }
    assert_eq!(held(&flows, 1, 0..300), 300);
    assert_eq!(flows.len(), 1000);
    // Whoever has less than its share takes of those that have more.
    for n in 0..200 {
        opened(&mut flows, 3, n).unwrap();
    }
    assert_eq!((held(&flows, 1, 0..300), held(&flows, 3, 0..200)), (300, 200));
}

#[test]
fn what_is_closed_goes_first() {
    let mut flows = Conntrack::new(1, 100);
    let rst = Segment { flags: 4, sequence: 0, acknowledged: 0, len: 0 };
    for n in 0..100 {
        let id = opened(&mut flows, 1, n).unwrap();
        if n % 2 == 0 {
            flows.see(id, Sender::Client, Some(&rst), NOW);
        }
    }
    assert_eq!(flows.live(vni(), [10, 3, 0, 0].into()), 50);
    for n in 100..140 {
        opened(&mut flows, 1, n).unwrap();
    }
    assert_eq!((flows.stats.evicted, flows.stats.expired), (0, 40));
    assert_eq!(held(&flows, 1, 0..140), 100);
}

#[test]
fn the_oldest_of_equals_goes() {
    let mut flows = Conntrack::new(1, 32);
    for n in 0..32 {
        let id = opened(&mut flows, 1, n).unwrap();
        flows.see(id, Sender::Client, None, NOW + Duration::from_secs(u64::from(n != 7)));
    }
    // Sampled: nearly always among those that are looked at.
    opened(&mut flows, 1, 100);
    assert_eq!(held(&flows, 1, 0..32), 31);
}

#[test]
fn nothing_is_taken_when_there_is_nothing_to_give() {
    let mut flows = Conntrack::new(1, 0);
    assert_eq!(flows.insert(flow(1, 17, 1), NOW), Err(Full));
    assert_eq!(flows.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Also the fuzz target `balance`.
    #[test]
    fn the_switch_does_what_a_naive_model_does(
        input in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        super::testing::run(&input);
    }
}
