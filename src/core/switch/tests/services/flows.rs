use std::collections::BTreeMap;

use super::*;

/// How often each backend was chosen for `n` datagrams of different ports.
fn shares(lab: &mut Lab, family: Family, ports: std::ops::Range<u16>) -> BTreeMap<IpAddr, usize> {
    let mut shares = BTreeMap::new();
    for port in ports {
        let (verdict, frame) = ask(lab, family, port);
        assert!(matches!(verdict, Verdict::To(_)), "{verdict:?}");
        *shares.entry(View::parse(&frame).unwrap().destination).or_default() += 1;
    }
    shares
}

#[test]
fn every_packet_of_a_flow_goes_to_its_backend() {
    for scheduler in [Scheduler::RoundRobin, Scheduler::Maglev, Scheduler::LeastConn] {
        let service = Service { scheduler, ..Service::of(&[b(), remote(), remote2()]) };
        for family in FAMILIES {
            let mut lab = service.lab();
            let first: Vec<_> = (1..50).map(|port| ask(&mut lab, family, port)).collect();
            let again: Vec<_> = (1..50).map(|port| ask(&mut lab, family, port)).collect();
            assert_eq!(first, again, "{scheduler:?}");
        }
    }
}

#[test]
fn turns_go_round_by_weight() {
    let mut service = Service::of(&[b(), remote(), remote2()]);
    service.backends[1].1 = 3;
    for family in FAMILIES {
        for scheduler in [Scheduler::RoundRobin, Scheduler::LeastConn] {
            let mut lab = Service { scheduler, ..service.clone() }.lab();
            let shares = shares(&mut lab, family, 1..51);
            for (host, share) in [(b(), 10usize), (remote(), 30), (remote2(), 10)] {
                let got = shares[&family.of(host)];
                assert!(got.abs_diff(share) <= 1, "{scheduler:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn the_least_loaded_is_chosen() {
    let service = Service { scheduler: Scheduler::LeastConn, ..Service::of(&[b(), remote()]) };
    let mut lab = service.lab();
    shares(&mut lab, Family::V4, 1..41);
    // All of one backend's flows end.
    lab.switch.reset_flows(vni(VNI), &[b().v4]);
    lab.settle();
    let shares = shares(&mut lab, Family::V4, 100..120);
    assert_eq!(shares.get(&b().v4), Some(&20));
}

#[test]
fn hosts_agree_by_maglev() {
    let service =
        Service { scheduler: Scheduler::Maglev, ..Service::of(&[b(), remote(), remote2()]) };
    let mut lab = service.lab();
    let mut other = Lab { switch: Switch::new(99), ..service.lab() };
    for family in FAMILIES {
        for port in 1..100 {
            assert_eq!(ask(&mut lab, family, port), ask(&mut other, family, port));
        }
        assert_eq!(shares(&mut lab, family, 1000..1100).len(), 3);
    }
}

#[test]
fn a_client_keeps_its_backend() {
    for scheduler in [Scheduler::RoundRobin, Scheduler::Maglev, Scheduler::LeastConn] {
        let affinity = Some(Duration::from_secs(10));
        let service = Service { scheduler, affinity, ..Service::of(&[b(), remote(), remote2()]) };
        let mut lab = service.lab();
        let first = shares(&mut lab, Family::V4, 1..20);
        assert_eq!(first.len(), 1, "{scheduler:?}");
        let kept = *first.first_key_value().unwrap().0;
        lab.now += Duration::from_secs(9);
        assert_eq!(shares(&mut lab, Family::V4, 20..40).len(), 1);
        lab.now += Duration::from_secs(9);
        assert!(shares(&mut lab, Family::V4, 40..60).contains_key(&kept));
        let kept = [b(), remote(), remote2()].into_iter().find(|h| h.v4 == kept).unwrap();
        lab.replan(service.clone().standing(kept, Standing::Draining).spec());
        let moved = shares(&mut lab, Family::V4, 60..80);
        assert!(moved.len() == 1 && !moved.contains_key(&kept.v4), "{scheduler:?}: {moved:?}");
        if scheduler == Scheduler::RoundRobin {
            let next = |n: u16| {
                lab.now += Duration::from_secs(11);
                View::parse(&ask(&mut lab, Family::V4, 80 + n).1).unwrap().destination
            };
            let later: Vec<IpAddr> = (0..2u16).map(next).collect();
            assert_ne!(later[0], later[1], "after a while it is anyone's turn");
        }
    }
}

#[test]
fn two_services_before_one_backend_are_told_apart() {
    for family in FAMILIES {
        let second = host(1, 101);
        let one = Service::of(&[remote()]);
        let mut vips = one.vips();
        let backends =
            vec![Backend { ip: family.of(remote()), weight: 1, standing: Standing::Ready }];
        let (scheduler, affinity) = (Scheduler::RoundRobin, None);
        let ip = family.of(second);
        vips.push(Arc::new(Vip::new(VipSpec { ip, version: 9, scheduler, affinity, backends })));
        let mut lab = Lab::new(Spec { vips, ..super::super::spec() });
        connect(&mut lab, family, 40_000, remote());
        let to = (lab.router_mac(), family.of(second));
        let mut same = tcp(client(family), to, (40_000, 80), SYN);
        assert_eq!(lab.port(A, &mut same.clone()), Verdict::Drop(Reason::FlowClash));
        send(&mut lab, family, 40_000, Seg { flags: RST_ACK, ..DATA });
        assert_eq!(lab.port(A, &mut same), Verdict::To(home(remote())), "the first is over");
        let (_, frame) = answer(&mut lab, family, 40_000, remote(), SYN_ACK);
        assert_eq!(addressed(&frame).0, to);
    }
}

fn fin(seg: Seg) -> Seg {
    Seg { flags: flag::FIN | flag::ACK, ..seg }
}

fn established(lab: &mut Lab) {
    connect(lab, Family::V4, 40_000, remote());
}

fn half_closed(lab: &mut Lab) {
    established(lab);
    send(lab, Family::V4, 40_000, fin(DATA));
}

#[test]
fn timers_are_those_of_the_rfcs() {
    const MINUTE: u64 = 60;
    type Make = fn(&mut Lab);
    let states: [(&str, u64, Make); 5] = [
        ("opening", 4 * MINUTE, |lab| drop(send(lab, Family::V4, 40_000, SYN))),
        ("established", 124 * MINUTE, established),
        ("half closed", 124 * MINUTE, half_closed),
        ("closed", 4 * MINUTE, |lab| {
            half_closed(lab);
            answer(lab, Family::V4, 40_000, remote(), fin(ANSWER));
        }),
        ("reset", 4 * MINUTE, |lab| {
            established(lab);
            answer(lab, Family::V4, 40_000, remote(), Seg { flags: RST_ACK, ..ANSWER });
        }),
    ];
    for (name, patience, make) in &states {
        for (after, active) in [(*patience, 1), (patience + 12, 0)] {
            let mut lab = Service::of(&[remote()]).lab();
            make(&mut lab);
            lab.now += Duration::from_secs(after);
            lab.settle();
            assert_eq!(lab.switch.flow_stats().active, active, "{name} after {after}");
        }
        // Also where the hand has not come by.
        let mut lab = Service::of(&[remote()]).lab();
        make(&mut lab);
        lab.now += Duration::from_secs(patience + 1);
        let verdict = send(&mut lab, Family::V4, 40_000, DATA).0;
        assert_eq!(verdict, Verdict::Reply(Some(Reason::NoFlow)), "{name}");
        assert_eq!(lab.switch.flow_stats().expired, 1);
    }
    let mut lab = Service::of(&[b(), remote()]).lab();
    let first = ask(&mut lab, Family::V4, 40_000).0;
    for _ in 0..5 {
        lab.now += Duration::from_secs(5 * MINUTE);
        assert_eq!(ask(&mut lab, Family::V4, 40_000).0, first);
    }
    lab.now += Duration::from_secs(5 * MINUTE + 1);
    assert_ne!(ask(&mut lab, Family::V4, 40_000).0, first, "the next in turn");
}

#[test]
fn a_port_may_be_used_again_after_the_end() {
    for family in FAMILIES {
        let mut lab = Service::of(&[b(), remote()]).lab();
        let first = send(&mut lab, family, 40_000, SYN).0;
        send(&mut lab, family, 40_000, Seg { flags: RST, ..SYN });
        assert_ne!(send(&mut lab, family, 40_000, SYN).0, first);
        assert_eq!(lab.switch.flow_stats().active, 1);
    }
}

#[test]
fn flows_outlive_the_daemon() {
    for family in FAMILIES {
        let service = Service::of(&[remote(), b()]);
        let mut lab = Service::of(&[remote()]).lab();
        connect(&mut lab, family, 40_000, remote());
        ask(&mut lab, family, 40_001);
        let saved = lab.switch.save_flows(lab.now);

        // The next daemon's clock starts anew, and it does not know the hosts yet.
        let minute = Duration::from_secs(60);
        let mut next = Lab { switch: Switch::new(7), now: Duration::ZERO, ..lab };
        assert_eq!(next.switch.restore_flows(&saved, minute, next.now), (2, true));
        next.replan(super::super::spec());
        assert!(next.settle().is_empty());
        let (verdict, frame) = answer(&mut next, family, 40_000, remote(), ANSWER);
        assert_eq!(verdict, Verdict::To(Target::Port(A)));
        assert_eq!(addressed(&frame).0, vip(&next, family), "also without the service");
        next.replan(Service { version: 5, ..Service::of(&[b()]) }.spec());
        assert!(next.settle().is_empty());
        assert_eq!(send(&mut next, family, 40_000, DATA).0, Verdict::Drop(Reason::BackendGone));
        next.replan(Service { version: 6, ..service }.spec());
        assert_eq!(send(&mut next, family, 40_000, DATA).0, Verdict::To(home(remote())));
        assert_eq!(ask(&mut next, family, 40_001).0, Verdict::To(home(remote())));
        assert_eq!(next.switch.flows(vni(VNI), &[family.of(remote())]), 2);

        // Its grace ends; now a backend that is gone is gone.
        next.now += minute;
        assert!(next.settle().is_empty());
        next.replan(Service { version: 7, ..Service::of(&[b()]) }.spec());
        assert_eq!(next.settle().len(), 2);
    }
}

#[test]
fn what_was_saved_may_be_anything() {
    let mut lab = Service::of(&[remote()]).lab();
    for port in 1..10 {
        connect(&mut lab, Family::V4, port, remote());
    }
    let saved = lab.switch.save_flows(lab.now);
    let restore = |bytes: &[u8], elapsed: u64| {
        let mut switch = Switch::new(1);
        switch.restore_flows(bytes, Duration::from_secs(elapsed), Duration::ZERO)
    };
    assert_eq!(restore(&[], 0), (0, true));
    assert_eq!(restore(&saved, 7440), (9, true));
    assert_eq!(restore(&saved, 7441), (0, true), "too old");
    assert_eq!(restore(&saved, u64::MAX), (0, true));
    assert_eq!(restore(&[&[9], &saved[1..]].concat(), 0), (0, false), "of another format");
    assert_eq!(restore(&saved[..saved.len() - 1], 0), (8, false), "cut short");
    assert_eq!(restore(&[&saved[..], &saved[1..]].concat(), 0), (9, true), "twice");
    for at in 1..saved.len() {
        let mut broken = saved.clone();
        broken[at] ^= 0xff;
        restore(&broken, 0);
    }
}
