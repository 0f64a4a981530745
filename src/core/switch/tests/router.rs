use super::*;

fn gw(s: u8) -> (IpAddr, IpAddr) {
    (ip(&format!("10.0.{s}.1")), ip(&format!("fd00:{s}::1")))
}

/// Both families: a host's address, the gateway's in a subnet, an address by text.
struct Family {
    of: fn(Host) -> IpAddr,
    gateway: fn(u8) -> IpAddr,
    pick: fn(&'static str, &'static str) -> IpAddr,
    header: usize,
}

const FAMILIES: [Family; 2] = [
    Family { of: |h| h.v4, gateway: |s| gw(s).0, pick: |v4, _| ip(v4), header: 20 },
    Family { of: |h| h.v6, gateway: |s| gw(s).1, pick: |_, v6| ip(v6), header: 40 },
];

impl Family {
    fn v4(&self) -> bool {
        self.header == 20
    }

    fn by<T>(&self, v4: T, v6: T) -> T {
        if self.v4() { v4 } else { v6 }
    }
}

/// The answer to a frame of A is this ICMP error from its gateway, quoting it.
fn assert_complaint(lab: &Lab, family: &Family, kind: (u8, u8), frame: &[u8], name: &str) {
    let reply = lab.reply();
    assert_eq!(reply.kind, kind, "{name}");
    assert_eq!((reply.view.src, reply.view.dst), (lab.router_mac(), a().mac), "{name}");
    assert_eq!(reply.view.source, (family.gateway)(1), "{name}");
    assert_eq!(reply.view.destination, (family.of)(a()), "{name}");
    assert_eq!(reply.view.ttl, 64, "{name}");
    let quoted = (frame.len() - View::L3).min(family.by(548, 1232));
    assert_eq!(reply.body, frame[View::L3..][..quoted], "{name}");
}

#[test]
fn routes_between_subnets() {
    for family in FAMILIES {
        for (to, target) in [(c(), Target::Port(C)), (remote2(), Target::Vtep(member2()))] {
            let mut lab = Lab::closed();
            let from = (a().mac, (family.of)(a()));
            let router = lab.router_mac();
            let before = udp(from, (router, (family.of)(to)), 100);
            let mut frame = before.clone();
            assert_eq!(lab.port(A, &mut frame), Verdict::To(target));
            let view = View::parse(&frame).unwrap();
            assert_eq!((view.src, view.dst, view.ttl), (router, to.mac, 63));
            let ip = family.header;
            if family.v4() {
                assert_eq!(checksum::fold(checksum::sum(&frame[14..34])), 0xffff);
            }
            assert_eq!(frame[14 + ip..], before[14 + ip..], "the transport is untouched");
        }
    }
}

#[test]
fn routes_super_frames_whole() {
    for family in FAMILIES {
        let mut lab = Lab::closed();
        let from = (a().mac, (family.of)(a()));
        let router = lab.router_mac();
        let mut frame = udp(from, (router, (family.of)(remote2())), 8 + 60_000);
        let offload = gso(&frame, 1400);
        let len = frame.len();
        let verdict = lab.offloaded(A, &mut frame, offload);
        assert_eq!((verdict, frame.len()), (Verdict::To(Target::Vtep(member2())), len));
        let mut frame = udp(from, (router, (family.of)(remote2())), 8 + 60_000);
        let verdict = lab.offloaded(A, &mut frame.clone(), gso(&frame, 1450));
        assert_eq!(verdict, Verdict::Reply(Some(Reason::TooBig)));
        let kind = family.by((3, 4), (2, 0));
        assert_complaint(&lab, &family, kind, &frame, "a segment too long");
        let verdict = lab.offloaded(A, &mut frame, Offload::NONE);
        assert_eq!(verdict, Verdict::Reply(Some(Reason::TooBig)));
    }
}

#[test]
fn what_cannot_be_routed_is_answered() {
    for family in FAMILIES {
        let router = Lab::closed().router_mac();
        let from = (a().mac, (family.of)(a()));
        let to = |v4, v6| (router, (family.pick)(v4, v6));
        let send = |to| udp(from, to, 700);
        let expired =
            |ttl| packet(from, (router, (family.of)(c())), 17, ttl, &[0, 0, 0, 0, 0, 8, 0, 0]);
        for (name, frame, reason, kind) in [
            ("no hop left", expired(1), Reason::TimeExceeded, family.by((11, 0), (3, 0))),
            ("less than none", expired(0), Reason::TimeExceeded, family.by((11, 0), (3, 0))),
            (
                "outside",
                send(to("192.0.2.77", "2001:db8::77")),
                Reason::NoRoute,
                family.by((3, 0), (1, 0)),
            ),
            (
                "nobody",
                send(to("10.0.2.77", "fd00:2::77")),
                Reason::HostUnreachable,
                family.by((3, 1), (1, 3)),
            ),
            (
                "the gateway",
                send(to("10.0.1.1", "fd00:1::1")),
                Reason::GatewayClosed,
                family.by((3, 3), (1, 4)),
            ),
            (
                "its far side",
                send(to("10.0.2.1", "fd00:2::1")),
                Reason::GatewayClosed,
                family.by((3, 3), (1, 4)),
            ),
        ] {
            for mut lab in [Lab::closed(), Lab::multicast(), Lab::open()] {
                let mut sent = frame.clone();
                assert_eq!(lab.port(A, &mut sent), Verdict::Reply(Some(reason)), "{name}");
                assert_eq!(sent, frame, "{name}: left as it was");
                assert_complaint(&lab, &family, kind, &frame, name);
            }
        }
    }
}

#[test]
fn link_local_packets_do_not_leave_the_link() {
    let mut lab = Lab::closed();
    let router = (lab.router_mac(), IpAddr::from(lab.router_mac().link_local()));
    let from = (a().mac, a().link_local());
    let mut frame = udp(from, (router.0, c().v6), 100);
    assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::NoRoute)));
    let reply = lab.reply();
    assert_eq!((reply.kind, reply.view.source), ((1, 2), router.1));
    assert_eq!((reply.view.dst, reply.view.destination), from);
    let mut frame = udp(from, (router.0, ip("fe80::77")), 100);
    assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::NoRoute)));
    assert_eq!(lab.port(A, &mut ping(from, router)), Verdict::Reply(None));
    assert_eq!(lab.reply().view.source, router.1);
}

#[test]
fn some_packets_get_no_answer() {
    for family in FAMILIES {
        let router = Lab::closed().router_mac();
        let from = (a().mac, (family.of)(a()));
        let nobody = (router, (family.pick)("10.0.2.77", "fd00:2::77"));
        let outside = (router, (family.pick)("192.0.2.77", "2001:db8::77"));
        let mut frames: Vec<(&str, Vec<u8>, Reason)> = Vec::new();
        let errors: &[u8] = family.by(&[3, 4, 11, 12, 19, 255], &[1, 2, 3, 4, 127]);
        for kind in errors {
            let frame = icmp(from, outside, 64, (*kind, 0), [0; 4], &[0; 28]);
            frames.push(("an ICMP error", frame, Reason::NoRoute));
        }
        let groups = (router, (family.pick)("224.0.0.251", "ff0e::fb"));
        frames.push(("a group", udp(from, groups, 20), Reason::NoRoute));
        let mut late = udp(from, nobody, 24);
        if family.v4() {
            late[View::L3 + 7] = 3;
            frames.push((
                "a broadcast",
                udp(from, (router, ip("10.0.2.255")), 20),
                Reason::HostUnreachable,
            ));
            frames.push((
                "the broadcast",
                udp(from, (router, ip("255.255.255.255")), 20),
                Reason::NoRoute,
            ));
        } else {
            late = fragment(&late, 3, true, 17);
            let error = with_options(&icmp(from, outside, 64, (1, 0), [0; 4], &[0; 40]));
            frames.push(("an error behind options", error.clone(), Reason::NoRoute));
            let error = fragment(&error, 0, true, 60);
            frames.push(("an error in a fragment", error, Reason::NoRoute));
        }
        frames.push(("a later fragment", late, Reason::HostUnreachable));
        for (name, mut frame, reason) in frames {
            assert_eq!(Lab::closed().port(A, &mut frame), Verdict::Drop(reason), "{name}");
        }
        let mut query = icmp(from, nobody, 64, (family.by(8, 128), 0), [0; 4], &[]);
        let verdict = Lab::closed().port(A, &mut query);
        assert_eq!(verdict, Verdict::Reply(Some(Reason::HostUnreachable)), "ping is no error");
    }
}

#[test]
fn first_fragments_are_answered() {
    let router = Lab::closed().router_mac();
    let mut first = udp((a().mac, a().v4), (router, ip("10.0.2.77")), 24);
    first[View::L3 + 6] = 0x20;
    let answered = Verdict::Reply(Some(Reason::HostUnreachable));
    assert_eq!(Lab::closed().port(A, &mut first), answered);
    let whole = udp((a().mac, a().v6), (router, ip("fd00:2::77")), 24);
    assert_eq!(Lab::closed().port(A, &mut fragment(&whole, 0, true, 17)), answered);
}

#[test]
fn the_gateway_answers_ping() {
    for family in FAMILIES {
        for s in [1, 2] {
            let mut lab = Lab::closed();
            let from = (a().mac, (family.of)(a()));
            let to = (lab.router_mac(), (family.gateway)(s));
            let whole = ping(from, to);
            // With its checksum complete, and left to do.
            let mut partial = whole.clone();
            let l4 = (View::L3 + family.header) as u16;
            partial[usize::from(l4) + 2] ^= 0xff;
            let todo = Offload { checksum: Some(Partial { start: l4, offset: 2 }), gso: None };
            for (mut frame, offload) in [(whole, Offload::NONE), (partial, todo)] {
                assert_eq!(lab.offloaded(A, &mut frame, offload), Verdict::Reply(None));
                let reply = lab.reply();
                assert_eq!(reply.kind, (family.by(0, 129), 0));
                assert_eq!((reply.view.src, reply.view.source), to);
                assert_eq!((reply.view.dst, reply.view.destination), from);
                assert_eq!((reply.rest, reply.body.as_slice()), ([1, 2, 0, 3], &b"payload"[..]));
            }
        }
    }
}

#[test]
fn the_gateway_answers_no_strange_ping() {
    for family in FAMILIES {
        let mut lab = Lab::closed();
        let from = (a().mac, (family.of)(a()));
        let to = (lab.router_mac(), (family.gateway)(1));
        let echo = family.by(8, 128);
        let closed = Verdict::Drop(Reason::GatewayClosed);

        let mut wrong = ping(from, to);
        wrong[View::L3 + family.header + 2] ^= 1;
        assert_eq!(lab.port(A, &mut wrong), Verdict::Drop(Reason::Malformed), "checksum");
        let protocol = family.by(protocol::ICMP, protocol::ICMPV6);
        let mut short = finish(packet(from, to, protocol, 64, &[echo, 0, 0, 0]));
        assert_eq!(lab.port(A, &mut short), Verdict::Drop(Reason::Malformed), "cut short");
        let mut long = icmp(from, to, 64, (echo, 0), [0; 4], &[0; 1500]);
        assert_eq!(lab.port(A, &mut long), closed, "longer than the MTU");
        let mut fragmented = ping(from, to);
        if family.v4() {
            fragmented[View::L3 + 6] = 0x20;
        } else {
            fragmented = fragment(&fragmented, 0, true, 58);
        }
        assert_eq!(lab.port(A, &mut fragmented), closed, "a fragment");
        let mut reply = icmp(from, to, 64, (family.by(0, 129), 0), [0; 4], &[]);
        assert_eq!(lab.port(A, &mut reply), closed, "a reply");
        let mut other = ethernet(a().mac, to.0, 0x88cc, &[0; 50]);
        assert_eq!(lab.port(A, &mut other), closed, "no IP");
    }
}

#[test]
fn hairpins_are_routed_but_never_to_the_sender() {
    for family in FAMILIES {
        let mut lab = Lab::closed();
        let from = (a().mac, (family.of)(a()));
        let mut same_subnet = udp(from, (lab.router_mac(), (family.of)(b())), 20);
        assert_eq!(lab.port(A, &mut same_subnet), Verdict::To(Target::Port(B)));
        let mut itself = udp(from, (lab.router_mac(), from.1), 20);
        let before = itself.clone();
        assert_eq!(lab.port(A, &mut itself), Verdict::Drop(Reason::UnknownUnicast));
        assert_eq!(itself, before);
    }
}

#[test]
fn errors_are_limited_for_each_port() {
    for family in FAMILIES {
        let mut lab = Lab::closed();
        let outside = (lab.router_mac(), (family.pick)("192.0.2.77", "2001:db8::77"));
        let send = |lab: &mut Lab, port, host: Host| {
            lab.port(port, &mut udp((host.mac, (family.of)(host)), outside, 20))
        };
        let answered = Verdict::Reply(Some(Reason::NoRoute));
        for _ in 0..50 {
            assert_eq!(send(&mut lab, A, a()), answered);
        }
        assert_eq!(send(&mut lab, A, a()), Verdict::Drop(Reason::NoRoute));
        assert_eq!(send(&mut lab, B, b()), answered);
        lab.now += Duration::from_millis(10);
        assert_eq!(send(&mut lab, A, a()), answered);
        assert_eq!(send(&mut lab, A, a()), Verdict::Drop(Reason::NoRoute));
    }
}

#[test]
fn a_source_outside_every_subnet_gets_no_answer() {
    let mut spec = spec();
    spec.ports[0].addresses.push(ip("172.16.0.1"));
    let mut lab = Lab::new(spec);
    let mut frame = udp((a().mac, ip("172.16.0.1")), (lab.router_mac(), ip("10.0.2.77")), 20);
    assert_eq!(lab.port(A, &mut frame), Verdict::Drop(Reason::HostUnreachable));
}

#[test]
fn a_pair_of_addresses_has_no_broadcast_address() {
    let mut spec = spec();
    spec.subnets[1] = Subnet { net: "10.0.2.0/31".parse().unwrap(), gateway: ip("10.0.2.0") };
    let mut lab = Lab::new(spec);
    let mut frame = udp((a().mac, a().v4), (lab.router_mac(), ip("10.0.2.1")), 20);
    assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::HostUnreachable)));
}
