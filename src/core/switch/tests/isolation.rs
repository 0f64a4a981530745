//! Whatever is sent, nothing panics and nothing leaks.

use proptest::prelude::*;

use super::*;
use crate::wire::vnet::Header;

fn ports_of(network: u32) -> &'static [PortId] {
    if network == VNI { &[A, B, C] } else { &[X] }
}

/// No port of another network, not the one where the frame came from, and no
/// VTEP that is no VTEP of the network.
fn assert_contained(lab: &Lab, n: u32, from: Target, verdict: Verdict) {
    let targets = match verdict {
        Verdict::To(target) => vec![target],
        Verdict::Flood => lab.switch.targets().to_vec(),
        Verdict::Reply(_) => {
            View::parse(lab.switch.reply()).expect("a reply is a frame");
            return;
        }
        Verdict::Drop(_) | Verdict::Consumed | Verdict::Verified | Verdict::Question => return,
    };
    let mut once = targets.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), targets.len(), "each target once");
    let network = lab.plan.network(vni(n)).expect("a verdict needs a network");
    for target in targets {
        assert_ne!(target, from);
        match target {
            Target::Port(id) => assert!(ports_of(n).contains(&id), "{id:?} is not of {n}"),
            Target::Vtep(vtep) => {
                assert!(network.is_member(vtep) || network.is_foreign(vtep));
                assert!(matches!(from, Target::Port(_)), "split horizon");
            }
        }
    }
}

fn macs() -> impl Strategy<Value = Mac> {
    let router = Lab::closed().router_mac();
    prop_oneof![
        proptest::sample::select(vec![
            a().mac,
            b().mac,
            c().mac,
            remote().mac,
            stranger().mac,
            router,
            Mac::BROADCAST,
            all_nodes().0,
        ]),
        any::<[u8; 6]>().prop_map(Mac),
    ]
}

fn addresses(v4: bool) -> impl Strategy<Value = IpAddr> {
    let known = [a(), b(), c(), remote(), remote2(), stranger()];
    let mut choice: Vec<IpAddr> = known.iter().map(|h| if v4 { h.v4 } else { h.v6 }).collect();
    choice.extend(
        if v4 {
            ["10.0.1.1", "10.0.2.1", "10.0.1.255", "224.0.0.1", "0.0.0.0", "192.0.2.77"]
        } else {
            ["fd00:1::1", "fd00:2::1", "ff02::1", "::", "fe80::77", "2001:db8::77"]
        }
        .map(ip),
    );
    choice.extend((!v4).then(|| a().link_local()));
    proptest::sample::select(choice)
}

/// Frames that get far: right in most places, anything in some.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let packets = any::<bool>().prop_flat_map(|v4| {
        (
            (macs(), addresses(v4)),
            (macs(), addresses(v4)),
            proptest::sample::select(vec![0, 1, 2, 6, 17, 43, 44, 51, 58, 60, 59]),
            proptest::sample::select(vec![0, 1, 2, 64, 255]),
            payloads(),
        )
            .prop_map(|(from, to, protocol, ttl, payload)| {
                packet(from, to, protocol, ttl, &payload)
            })
    });
    let arps = ((macs(), addresses(true)), macs(), addresses(true), 0u16..4)
        .prop_map(|(from, dst, target, op)| arp(op, from, dst, target));
    let others = (macs(), macs(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(src, dst, kind, body)| ethernet(src, dst, kind, &body));
    let junk = proptest::collection::vec(any::<u8>(), 0..200);
    let frame = prop_oneof![6 => packets, 2 => arps, 1 => others, 1 => junk];
    let flips = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3);
    (frame, flips).prop_map(|(mut frame, flips)| {
        for (at, value) in flips {
            if !frame.is_empty() {
                *at.get_mut(&mut frame) = value;
            }
        }
        frame
    })
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let kinds: Vec<u8> = vec![0, 3, 5, 8, 58, 60, 128, 130, 133, 134, 135, 136, 137, 143];
    let message = (
        proptest::sample::select(kinds),
        addresses(false),
        proptest::option::of((1u8..3, macs())),
        proptest::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(kind, target, option, rest)| {
            let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
            body.extend(octets(target));
            if let Some((kind, mac)) = option {
                body.extend([kind, 1]);
                body.extend(mac.0);
            } else {
                body.extend(rest);
            }
            body
        });
    prop_oneof![message, proptest::collection::vec(any::<u8>(), 0..1600)]
}

#[derive(Clone, Debug)]
enum Ingress {
    Port(PortId),
    Vtep(IpAddr, u32),
}

fn ingress() -> impl Strategy<Value = Ingress> {
    let vteps = vec![member(), member2(), foreign(), foreign2(), own_vtep(), ip("192.0.2.200")];
    prop_oneof![
        (0u32..5).prop_map(|id| Ingress::Port(PortId(id))),
        (proptest::sample::select(vteps), 7u32..10).prop_map(|(vtep, n)| Ingress::Vtep(vtep, n)),
    ]
}

fn labs() -> impl Strategy<Value = (bool, bool)> {
    (any::<bool>(), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn nothing_leaks(
        (multicast, open) in labs(),
        arrivals in proptest::collection::vec(
            (ingress(), frames(), any::<[u8; 10]>(), any::<bool>(), any::<u32>()), 1..24),
    ) {
        let foreign = if open { vec![foreign(), foreign2()] } else { Vec::new() };
        let narrow = vec![(member(), 700), (foreign2(), 1300)];
        let mut lab = Lab::new(Spec { multicast, foreign, narrow, ..spec() });
        for (ingress, mut frame, header, lie, pause) in arrivals {
            lab.now += Duration::from_millis(u64::from(pause >> 12));
            let Ok(view) = View::parse(&frame) else { continue };
            let offload = Header::from_bytes(header).check(&view).ok().filter(|_| lie);
            let Lab { plan, switch, now } = &mut lab;
            let (n, from, verdict) = match ingress {
                Ingress::Port(id) => {
                    let offload = offload.unwrap_or(Offload::NONE);
                    let verdict = switch.from_port(plan, *now, id, &mut frame, &view, &offload);
                    (if id == X { OTHER } else { VNI }, Target::Port(id), verdict)
                }
                Ingress::Vtep(vtep, n) => {
                    let Ok(admission) = Switch::admit(plan, vtep, vni(n), Dress::Clear) else { continue };
                    let verdict = switch.from_vtep(plan, *now, admission, &mut frame, &view);
                    (n, Target::Vtep(vtep), verdict)
                }
            };
            assert_contained(&lab, n, from, verdict);
        }
    }

    #[test]
    fn too_big_takes_anything(frame in frames(), id in 0u32..5, mtu: u16) {
        let mut lab = Lab::closed();
        if let Ok(view) = View::parse(&frame) {
            let Lab { plan, switch, now } = &mut lab;
            if switch.too_big(plan, *now, PortId(id), &frame, &view, mtu) {
                View::parse(switch.reply()).expect("a reply is a frame");
            }
        }
    }
}
