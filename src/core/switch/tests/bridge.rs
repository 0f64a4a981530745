use super::*;

const BOTH: [fn(Host) -> IpAddr; 2] = [|host| host.v4, |host| host.v6];

#[test]
fn unicast_goes_where_the_plan_says() {
    for ip in BOTH {
        let from = (a().mac, ip(a()));
        for (to, target) in [
            (b(), Target::Port(B)),
            (remote(), Target::Vtep(member())),
            (remote2(), Target::Vtep(member2())),
        ] {
            let frame = udp(from, (to.mac, ip(to)), 100);
            let mut sent = frame.clone();
            assert_eq!(Lab::closed().port(A, &mut sent), Verdict::To(target));
            assert_eq!(sent, frame, "bridging changes nothing");
        }
    }
}

#[test]
fn unicast_to_nobody_or_oneself_is_dropped() {
    let nobody = Mac([2, 0, 0, 0, 0, 9]);
    for ip in BOTH {
        let from = (a().mac, ip(a()));
        let dropped = Verdict::Drop(Reason::UnknownUnicast);
        for mut lab in [Lab::closed(), Lab::multicast()] {
            assert_eq!(lab.port(A, &mut udp(from, (nobody, ip(b())), 20)), dropped);
        }
        for mut lab in [Lab::closed(), Lab::open()] {
            assert_eq!(lab.port(A, &mut udp(from, from, 20)), dropped, "to itself");
        }
        let mut lab = Lab::open();
        assert_eq!(lab.port(A, &mut udp(from, (nobody, ip(b())), 20)), Verdict::Flood);
        assert_eq!(lab.targets(), FOREIGN_ONLY());
    }
}

fn group(ip: IpAddr) -> (Mac, IpAddr) {
    if ip.is_ipv4() {
        (Mac([1, 0, 0x5e, 0, 0, 0xfb]), self::ip("224.0.0.251"))
    } else {
        (Mac([0x33, 0x33, 0, 0, 0, 0xfb]), self::ip("ff02::fb"))
    }
}

#[test]
fn multicast_is_replicated_only_where_asked_for() {
    for ip in BOTH {
        let frame = udp((a().mac, ip(a())), group(ip(a())), 100);
        let dropped = Verdict::Drop(Reason::Multicast);
        assert_eq!(Lab::closed().port(A, &mut frame.clone()), dropped);

        let mut lab = Lab::open();
        assert_eq!(lab.port(A, &mut frame.clone()), Verdict::Flood);
        assert_eq!(lab.targets(), FOREIGN_ONLY());

        // A VTEP that is both a member and foreign gets one copy.
        let foreign = vec![member(), foreign()];
        let mut lab = Lab::new(Spec { multicast: true, foreign, ..spec() });
        assert_eq!(lab.port(A, &mut frame.clone()), Verdict::Flood);
        let mut all = [Target::Port(B), Target::Port(C)].to_vec();
        all.extend([member(), member2(), self::foreign()].map(Target::Vtep));
        all.sort();
        assert_eq!(lab.targets(), all);
    }
    let mut broadcast = ethernet(a().mac, Mac::BROADCAST, 0x88cc, &[0; 50]);
    let dropped = Verdict::Drop(Reason::Multicast);
    assert_eq!(Lab::closed().port(A, &mut broadcast), dropped);
    assert_eq!(Lab::multicast().port(A, &mut broadcast), Verdict::Flood);
}

#[test]
fn multicast_is_capped_for_each_network() {
    for mut lab in [Lab::multicast(), Lab::open()] {
        let mut frame = udp((a().mac, a().v4), group(a().v4), 100);
        let mut flooded = 0;
        while lab.port(A, &mut frame) == Verdict::Flood {
            flooded += 1;
        }
        assert_eq!(flooded, 1000, "a full bucket");
        let over = Verdict::Drop(Reason::MulticastRate);
        assert_eq!(lab.port(A, &mut frame), over);
        let mut sibling = udp((b().mac, b().v4), group(b().v4), 100);
        assert_eq!(lab.port(B, &mut sibling), over, "the network's, not the port's");
        lab.now += Duration::from_millis(1);
        assert_eq!(lab.port(A, &mut frame), Verdict::Flood);
    }
}

#[test]
fn the_cap_counts_the_frames_of_a_super_frame() {
    let mut lab = Lab::multicast();
    let mut frame = udp((a().mac, a().v4), group(a().v4), 8 + 10_000);
    let offload = gso(&frame, 100);
    let flooded = (0..20).filter(|_| lab.offloaded(A, &mut frame, offload) == Verdict::Flood);
    assert_eq!(flooded.count(), 10, "a hundred frames each");
}

#[test]
fn what_does_not_fit_the_path_is_answered() {
    for (ip, kind) in BOTH.into_iter().zip([(3, 4), (2, 0)]) {
        let overhead = if ip(a()).is_ipv4() { 20 } else { 40 };
        let from = (a().mac, ip(a()));
        let to = (remote().mac, ip(remote()));
        let mtu = usize::from(MTU);

        let mut lab = Lab::closed();
        let fits = udp(from, to, mtu - overhead);
        assert_eq!(lab.port(A, &mut fits.clone()), Verdict::To(Target::Vtep(member())));
        let long = udp(from, to, mtu - overhead + 1);
        assert_eq!(lab.port(A, &mut long.clone()), Verdict::Reply(Some(Reason::TooBig)));
        let reply = lab.reply();
        assert_eq!(reply.kind, kind);
        assert_eq!(reply.rest, u32::from(MTU).to_be_bytes());
        assert_eq!((reply.view.src, reply.view.dst), (lab.router_mac(), a().mac));
        assert_eq!(reply.view.destination, ip(a()));
        let room = if ip(a()).is_ipv4() { 548 } else { 1232 };
        assert_eq!(reply.body, long[View::L3..][..room], "as much as may be quoted");

        let near = udp(from, (b().mac, ip(b())), mtu);
        assert_eq!(lab.port(A, &mut near.clone()), Verdict::To(Target::Port(B)), "local");

        let small = udp(from, to, 8 + 100);
        let verdict = lab.offloaded(A, &mut small.clone(), gso(&small, u16::MAX));
        assert_eq!(verdict, Verdict::To(Target::Vtep(member())), "one short segment");
        let big = udp(from, to, 8 + 40_000);
        let segment = (mtu - overhead - 8) as u16;
        let verdict = lab.offloaded(A, &mut big.clone(), gso(&big, segment));
        assert_eq!(verdict, Verdict::To(Target::Vtep(member())));
        let verdict = lab.offloaded(A, &mut big.clone(), gso(&big, segment + 1));
        assert_eq!(verdict, Verdict::Reply(Some(Reason::TooBig)));
    }
    let mut other = ethernet(a().mac, remote().mac, 0x88cc, &[0; MTU as usize + 1]);
    assert_eq!(Lab::closed().port(A, &mut other), Verdict::Drop(Reason::TooBig), "no IP, no ICMP");
}

#[test]
fn the_underlays_refusal_is_answered() {
    for ip in BOTH {
        let mut lab = Lab::closed();
        // As the router has left it: from its MAC.
        let frame = udp((lab.router_mac(), ip(a())), (remote2().mac, ip(remote2())), 1300);
        let view = View::parse(&frame).unwrap();
        let Lab { plan, switch, now } = &mut lab;
        assert!(switch.too_big(plan, *now, A, &frame, &view, 1280));
        assert!(!switch.too_big(plan, *now, PortId(77), &frame, &view, 1280));
        let answered = (0..100).filter(|_| switch.too_big(plan, *now, A, &frame, &view, 1280));
        assert_eq!(answered.count(), 49, "the rest of a bucket");
        let reply = lab.reply();
        assert_eq!(reply.rest, 1280u32.to_be_bytes());
        assert_eq!((reply.view.src, reply.view.dst), (lab.router_mac(), a().mac));
        let multicast = udp((a().mac, ip(a())), (Mac::BROADCAST, ip(remote())), 1300);
        let view = View::parse(&multicast).unwrap();
        let mut lab = Lab::closed();
        let Lab { plan, switch, now } = &mut lab;
        assert!(!switch.too_big(plan, *now, A, &multicast, &view, 1280));
    }
}

#[test]
fn vteps_are_admitted_by_network() {
    let spec = Spec { foreign: vec![foreign()], ..spec() };
    let plan = plan(spec);
    for (vtep, n, admitted) in [
        (member(), VNI, Ok(())),
        (member2(), VNI, Ok(())),
        (foreign(), VNI, Ok(())),
        (foreign(), OTHER, Err(Reason::Stranger)),
        (foreign2(), VNI, Err(Reason::Stranger)),
        (own_vtep(), VNI, Err(Reason::OwnAddress)),
        (own_vtep(), 9, Err(Reason::OwnAddress)),
        (member(), 9, Err(Reason::UnknownVni)),
    ] {
        assert_eq!(
            Switch::admit(&plan, vtep, vni(n), Dress::Clear).map(drop),
            admitted,
            "{vtep} in {n}"
        );
    }
}

#[test]
fn frames_come_as_their_network_wants_them() {
    let encrypted = Spec { encrypted: Some(Arc::default()), ..spec() };
    for (spec, right, wrong, reason) in [
        (spec(), Dress::Clear, Dress::Sealed, Reason::SealedOnPlain),
        (encrypted, Dress::Sealed, Dress::Clear, Reason::ClearOnEncrypted),
    ] {
        let plan = plan(spec);
        let admit = |vtep, dress| Switch::admit(&plan, vtep, vni(VNI), dress).map(drop);
        assert_eq!(admit(member(), right), Ok(()));
        assert_eq!(admit(member(), wrong), Err(reason));
        // Who it is does not matter: that it came so at all is what people must see.
        assert_eq!(admit(foreign2(), wrong), Err(reason));
        let admission = Switch::admit(&plan, member(), vni(VNI), right).unwrap();
        assert!(admission.covers(member(), vni(VNI), right));
        assert!(!admission.covers(member2(), vni(VNI), right));
        assert!(!admission.covers(member(), vni(OTHER), right));
        assert!(!admission.covers(member(), vni(VNI), wrong));
    }
}

#[test]
fn out_of_vxlan_only_to_containers_here() {
    for ip in BOTH {
        let from = (remote().mac, ip(remote()));
        let not_here = Verdict::Drop(Reason::NotHere);
        for (to, verdict) in [
            (a(), Verdict::To(Target::Port(A))),
            (b(), Verdict::To(Target::Port(B))),
            (remote2(), not_here),
            (stranger(), not_here),
        ] {
            let mut frame = udp(from, (to.mac, ip(to)), 100);
            assert_eq!(Lab::open().vtep(member(), &mut frame), verdict);
        }
        let mut lab = Lab::open();
        let router = lab.router_mac();
        let gateway = if from.1.is_ipv4() { "10.0.1.1" } else { "fd00:1::1" };
        let mut frame = ping(from, (router, self::ip(gateway)));
        assert_eq!(lab.vtep(member(), &mut frame), not_here, "members have a router of their own");
    }
}

#[test]
fn a_vtep_may_not_use_macs_of_this_host_or_of_nobody() {
    for ip in BOTH {
        for (src, reason) in [
            (b().mac, Reason::SpoofedMac),
            (Mac([0; 6]), Reason::InnerMalformed),
            (Mac::BROADCAST, Reason::InnerMalformed),
            (Mac([1, 0, 0x5e, 0, 0, 1]), Reason::InnerMalformed),
        ] {
            for vtep in [member(), foreign()] {
                let mut frame = udp((src, ip(b())), (a().mac, ip(a())), 100);
                assert_eq!(Lab::open().vtep(vtep, &mut frame), Verdict::Drop(reason), "{src}");
            }
        }
    }
}

#[test]
fn neighbours_and_redirects_from_members_end_here() {
    let mut lab = Lab::open();
    let from4 = (remote().mac, remote().v4);
    let from6 = (remote().mac, remote().v6);
    for mut frame in [
        arp(REQUEST, from4, Mac::BROADCAST, a().v4),
        arp(ANSWER, from4, Mac::BROADCAST, remote().v4),
        solicit(from6, a().v6),
        advertise(from6, all_nodes()),
    ] {
        assert_eq!(lab.vtep(member(), &mut frame), Verdict::Consumed);
    }
    let here = Verdict::To(Target::Port(A));
    assert_eq!(lab.vtep(member(), &mut arp(ANSWER, from4, a().mac, a().v4)), here);
    assert_eq!(lab.vtep(member(), &mut advertise(from6, (a().mac, a().v6))), here);
    for (vtep, host) in [(member(), remote()), (foreign(), stranger())] {
        let (mac, to) = (host.mac, (a().mac, a().v6));
        for mut frame in [
            icmp((mac, host.v6), to, 255, (134, 0), [0; 4], &[0; 8]),
            icmp((mac, host.v6), to, 255, (137, 0), [0; 4], &[0; 32]),
            icmp((mac, host.v4), (a().mac, a().v4), 64, (5, 1), [0; 4], &[0; 28]),
        ] {
            assert_eq!(lab.vtep(vtep, &mut frame), Verdict::Drop(Reason::GuardRa));
        }
        let mut fragment = fragment(&advertise((mac, host.v6), to), 0, true, 58);
        assert_eq!(lab.vtep(vtep, &mut fragment), Verdict::Drop(Reason::GuardNd));
    }
}

#[test]
fn multicast_out_of_vxlan_goes_to_containers_only() {
    for ip in BOTH {
        let frame = udp((remote().mac, ip(remote())), group(ip(a())), 100);
        let dropped = Verdict::Drop(Reason::Multicast);
        assert_eq!(Lab::open().vtep(member(), &mut frame.clone()), dropped);
        let foreign = vec![foreign()];
        let mut lab = Lab::new(Spec { multicast: true, foreign, ..spec() });
        for _ in 0..1000 {
            assert_eq!(lab.vtep(member(), &mut frame.clone()), Verdict::Flood);
            assert_eq!(lab.targets(), [A, B, C].map(Target::Port));
        }
        let over = Verdict::Drop(Reason::MulticastRate);
        assert_eq!(lab.vtep(member(), &mut frame.clone()), over);
    }
}
