use super::*;

#[test]
fn packets_reach_a_backend_and_replies_come_from_the_vip() {
    for family in FAMILIES {
        for backend in [b(), c(), remote(), remote2()] {
            for sum in [Sum::Complete, Sum::Partial, Sum::Zero] {
                for udp in [false, true] {
                    if sum == Sum::Zero && !udp {
                        continue;
                    }
                    there_and_back(family, backend, sum, udp);
                }
            }
        }
    }
}

fn there_and_back(family: Family, backend: Host, sum: Sum, udp: bool) {
    let name = format!("{family:?} {:?} {sum:?} {udp}", backend.v4);
    let mut lab = Service::of(&[backend]).lab();
    let (client, vip) = (client(family), vip(&lab, family));
    let server = (backend.mac, family.of(backend));
    let write = |from, to, ports, seg| match udp {
        true => datagram(from, to, ports, b"something"),
        false => tcp(from, to, ports, seg),
    };
    let (before, offload) = summed(write(client, vip, (40_000, 80), SYN), sum);
    let mut frame = before.clone();
    assert_eq!(lab.offloaded(A, &mut frame, offload), Verdict::To(home(backend)), "{name}");
    assert_eq!(addressed(&frame), (client, server), "{name}");
    assert_sound(&frame, sum);
    let (old, new) = (View::parse(&before).unwrap(), View::parse(&frame).unwrap());
    assert_eq!((new.ttl, new.ports, new.end), (old.ttl, old.ports, old.end), "{name}");
    assert_eq!(frame[new.payload..], before[new.payload..], "{name}");

    // Another subnet's replies were routed by the backend's own host.
    let far = matches!(home(backend), Target::Vtep(_));
    let routed = backend.mac == remote2().mac || backend.mac == c().mac;
    let from = if far && routed { (vip.0, server.1) } else { server };
    let to = if !far && routed { (vip.0, client.1) } else { client };
    let (reply, offload) = summed(write(from, to, (80, 40_000), SYN_ACK), sum);
    let mut frame = reply;
    let verdict = match home(backend) {
        Target::Port(port) => lab.offloaded(port, &mut frame, offload),
        // The sums of a kernel's VTEP may be partial.
        Target::Vtep(vtep) => lab.vtep(vtep, &mut frame),
    };
    assert_eq!(verdict, Verdict::To(Target::Port(A)), "{name}");
    assert_eq!(addressed(&frame), (vip, client), "{name}");
    assert_sound(&frame, sum);
}

#[test]
fn a_super_frame_is_translated_whole() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        connect(&mut lab, family, 40_000, remote());
        let payload: &'static [u8] = Box::leak(vec![7; 60_000].into());
        let seg = Seg { payload, ..DATA };
        let (mut frame, _) =
            summed(tcp(client(family), vip(&lab, family), (40_000, 80), seg), Sum::Partial);
        let offload = Offload::super_frame(Kind::Tcp, 1380, &View::parse(&frame).unwrap());
        assert_eq!(lab.offloaded(A, &mut frame, offload), Verdict::To(home(remote())));
        assert_eq!(addressed(&frame).1, (remote().mac, family.of(remote())));
        assert_sound(&frame, Sum::Partial);
    }
}

#[test]
fn sctp_has_no_pseudo_header() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let body = [&[0x9c, 0x40, 0, 80][..], &[1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef], &[9; 20]];
        let mut frame = packet(client(family), vip(&lab, family), 132, 64, &body.concat());
        let before = frame.clone();
        assert_eq!(lab.port(A, &mut frame), Verdict::To(home(remote())));
        let l4 = View::parse(&frame).unwrap().l4;
        assert_eq!(frame[l4..], before[l4..]);
        assert_sound(&frame, Sum::Complete);
        let server = (remote().mac, family.of(remote()));
        let body = [&[0, 80, 0x9c, 0x40][..], &[1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef], &[9; 20]];
        let reply = packet(server, client(family), 132, 64, &body.concat());
        let (verdict, frame) = from_home(&mut lab, remote(), reply);
        assert_eq!(verdict, Verdict::To(Target::Port(A)));
        assert_eq!(addressed(&frame).0, vip(&lab, family));
    }
}

#[test]
fn the_router_answers_for_a_virtual_ip() {
    let mut lab = Service::of(&[remote()]).lab();
    let (router, all) = (lab.router_mac(), Mac([0xff; 6]));
    let mut who_has = arp(REQUEST, (a().mac, a().v4), all, service().v4);
    assert_eq!(lab.port(A, &mut who_has), Verdict::Reply(None));
    let reply = View::parse(lab.switch.reply()).unwrap();
    assert_eq!((reply.src, reply.source), (router, service().v4));
    let mut solicitation = solicit((a().mac, a().v6), service().v6);
    assert_eq!(lab.port(A, &mut solicitation), Verdict::Reply(None));
    let reply = lab.reply();
    assert_eq!((reply.view.src, reply.kind, reply.rest[0]), (router, (136, 0), 0x60));
    assert_eq!(reply.body[16..], [&[2, 1][..], &router.0].concat());
    for family in FAMILIES {
        let from = client(family);
        let vip = vip(&lab, family);
        assert_eq!(lab.port(A, &mut ping(from, vip)), Verdict::Reply(None));
        let reply = lab.reply();
        assert_eq!((reply.view.src, reply.view.source), vip);
        assert_eq!(reply.body, b"payload");
        let mut reply =
            icmp(from, vip, 64, (if family == Family::V4 { 0 } else { 129 }, 0), [0; 4], &[]);
        assert_eq!(lab.port(A, &mut reply), Verdict::Drop(Reason::GatewayClosed));
    }
}

#[test]
fn from_another_subnet_it_is_reached_over_the_gateway() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let from = (c().mac, family.of(c()));
        let vip = vip(&lab, family);
        let mut frame = datagram(from, vip, (40_000, 53), b"question");
        frame[View::L3 + if family == Family::V4 { 8 } else { 7 }] = 1; // no hop is left
        let mut frame = if family == Family::V4 {
            // The header's sum with the other TTL.
            frame[24..26].fill(0);
            let sum = !ones_sum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame
        } else {
            frame
        };
        assert_eq!(lab.port(C, &mut frame), Verdict::To(home(remote())));
        // From its own MAC, which the backend's host lets in.
        assert_eq!(addressed(&frame), (from, (remote().mac, family.of(remote()))));
        assert_sound(&frame, Sum::Zero);
    }
}

#[test]
fn a_moved_backend_is_followed() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        connect(&mut lab, family, 40_000, remote());
        // Whatever becomes of an endpoint makes its service's virtual IPs anew.
        let mut spec = Service { version: 2, ..Service::of(&[remote()]) }.spec();
        spec.remotes[0].vtep = member2();
        lab.replan(spec);
        assert_eq!(send(&mut lab, family, 40_000, DATA).0, Verdict::To(Target::Vtep(member2())));
        assert!(lab.settle().is_empty());
    }
}

#[test]
fn foreign_hosts_do_not_see_services() {
    let service = Service::of(&[b()]);
    let mut lab = Lab::new(Spec { foreign: vec![foreign()], ..service.spec() });
    let from = (stranger().mac, stranger().v4);
    let mut who_has = arp(REQUEST, from, Mac([0xff; 6]), self::service().v4);
    assert_eq!(lab.vtep(foreign(), &mut who_has), Verdict::Consumed);
    let mut frame = datagram(from, vip(&lab, Family::V4), (40_000, 53), b"question");
    assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Reply(Some(Reason::HostUnreachable)));
}

#[test]
fn nobody_speaks_as_a_virtual_ip() {
    for family in FAMILIES {
        let mut lab = Service::of(&[b(), remote()]).lab();
        let vip = family.of(service());
        let to = client(family);
        let mut frame = datagram((b().mac, vip), to, (53, 40_000), b"reply");
        assert_eq!(lab.port(B, &mut frame), Verdict::Drop(Reason::GuardIp));
        for mac in [remote().mac, lab.router_mac()] {
            let mut frame = datagram((mac, vip), to, (53, 40_000), b"reply");
            assert_eq!(lab.vtep(member(), &mut frame), Verdict::Drop(Reason::SpoofedIp));
        }
    }
}
