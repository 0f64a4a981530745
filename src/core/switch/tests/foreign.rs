use super::*;

const BOTH: [fn(Host) -> IpAddr; 2] = [|host| host.v4, |host| host.v6];
const AGE: Duration = Duration::from_secs(300);

/// An ARP request or a solicitation for `target` by a host behind a foreign VTEP.
fn ask(from: (Mac, IpAddr), target: IpAddr) -> Vec<u8> {
    if target.is_ipv4() {
        arp(REQUEST, from, Mac::BROADCAST, target)
    } else {
        solicit(from, target)
    }
}

/// The stranger shows itself by a frame to A.
fn show(lab: &mut Lab, vtep: IpAddr, src: Mac) {
    let mut frame = udp((src, stranger().v4), (a().mac, a().v4), 20);
    assert_eq!(lab.vtep(vtep, &mut frame), Verdict::To(Target::Port(A)));
}

/// What becomes of a frame of A to the stranger.
fn send(lab: &mut Lab, to: Mac) -> Verdict {
    lab.port(A, &mut udp((a().mac, a().v4), (to, stranger().v4), 20))
}

#[test]
fn macs_are_learned_followed_and_forgotten() {
    let mut lab = Lab::open();
    let mac = stranger().mac;
    assert_eq!(send(&mut lab, mac), Verdict::Flood);
    show(&mut lab, foreign(), mac);
    assert_eq!(send(&mut lab, mac), Verdict::To(Target::Vtep(foreign())));
    show(&mut lab, foreign2(), mac);
    assert_eq!(send(&mut lab, mac), Verdict::To(Target::Vtep(foreign2())), "it moved");
    lab.now += AGE - Duration::from_secs(1);
    show(&mut lab, foreign2(), mac);
    lab.now += AGE - Duration::from_secs(1);
    assert_eq!(send(&mut lab, mac), Verdict::To(Target::Vtep(foreign2())), "refreshed");
    lab.now += Duration::from_secs(1);
    assert_eq!(send(&mut lab, mac), Verdict::Flood, "too old");
}

#[test]
fn nothing_is_learned_from_members_or_against_the_plan() {
    let mut lab = Lab::open();
    let mut unknown = udp((stranger().mac, stranger().v4), (a().mac, a().v4), 20);
    assert_eq!(lab.vtep(member(), &mut unknown), Verdict::Drop(Reason::SpoofedMac));
    assert_eq!(send(&mut lab, stranger().mac), Verdict::Flood);

    let router = lab.router_mac();
    for src in [a().mac, remote().mac, router] {
        let mut frame = udp((src, stranger().v4), (b().mac, b().v4), 20);
        assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Drop(Reason::SpoofedMac), "{src}");
    }
    assert_eq!(send(&mut lab, remote().mac), Verdict::To(Target::Vtep(member())));

    // An endpoint that was learned before the plan knew it.
    show(&mut lab, foreign(), stranger().mac);
    let mut spec = Spec { foreign: vec![foreign()], ..spec() };
    let (mac, addresses) = (stranger().mac, stranger().addresses());
    spec.remotes.push(Remote { mac, addresses, vtep: member2() });
    lab.plan = plan(spec);
    assert_eq!(send(&mut lab, mac), Verdict::To(Target::Vtep(member2())));
}

#[test]
fn an_endpoint_that_the_plan_has_at_a_foreign_vtep_may_speak() {
    let mut spec = Spec { foreign: vec![foreign(), foreign2()], ..spec() };
    let host = stranger();
    spec.remotes.push(Remote { mac: host.mac, addresses: host.addresses(), vtep: foreign() });
    let mut lab = Lab::new(spec);
    show(&mut lab, foreign(), host.mac);
    let mut asked = ask((host.mac, host.v4), a().v4);
    assert_eq!(lab.vtep(foreign(), &mut asked.clone()), Verdict::Reply(None));
    assert_eq!(lab.vtep(foreign2(), &mut asked), Verdict::Drop(Reason::SpoofedMac));
}

#[test]
fn what_the_plan_forgets_is_not_used() {
    let mut lab = Lab::open();
    show(&mut lab, foreign(), stranger().mac);
    lab.plan = plan(Spec { foreign: vec![foreign2()], ..spec() });
    assert_eq!(send(&mut lab, stranger().mac), Verdict::Flood);
    assert_eq!(lab.targets(), [Target::Vtep(foreign2())]);
    lab.plan = plan(spec());
    let dropped = Verdict::Drop(Reason::UnknownUnicast);
    assert_eq!(send(&mut lab, stranger().mac), dropped);
}

fn station(n: u32) -> Mac {
    let [_, x, y, z] = n.to_be_bytes();
    Mac([6, 0, 0, x, y, z])
}

#[test]
fn a_noisy_vtep_fills_its_own_share_only() {
    let mut lab = Lab::open();
    let (first, last) = (station(0), station(4095));
    for n in 0..4096 {
        show(&mut lab, foreign(), station(n));
    }
    let there = Verdict::To(Target::Vtep(foreign()));
    show(&mut lab, foreign(), station(4096));
    assert_eq!(send(&mut lab, station(4096)), Verdict::Flood, "refused");
    assert_eq!(send(&mut lab, first), there);
    assert_eq!(send(&mut lab, last), there);
    show(&mut lab, foreign2(), station(5000));
    assert_eq!(send(&mut lab, station(5000)), Verdict::To(Target::Vtep(foreign2())));
    // One moves away and makes room; then all the old ones do.
    show(&mut lab, foreign2(), first);
    show(&mut lab, foreign(), station(4096));
    assert_eq!(send(&mut lab, station(4096)), there);
    lab.now += AGE;
    for n in 6000..7000 {
        show(&mut lab, foreign(), station(n));
        assert_eq!(send(&mut lab, station(n)), there);
    }
}

#[test]
fn foreign_hosts_may_ask_for_what_is_here() {
    for ip in BOTH {
        let asker = (stranger().mac, ip(stranger()));
        let gateway = if asker.1.is_ipv4() { "10.0.2.1" } else { "fd00:2::1" };
        let router = Lab::open().router_mac();
        for (owner, verdict) in [
            ((a().mac, ip(a())), Verdict::Reply(None)),
            ((router, self::ip(gateway)), Verdict::Reply(None)),
            ((remote().mac, ip(remote())), Verdict::Consumed),
            ((stranger().mac, ip(stranger())), Verdict::Consumed),
        ] {
            let mut lab = Lab::open();
            assert_eq!(lab.vtep(foreign(), &mut ask(asker, owner.1)), verdict);
            if verdict == Verdict::Reply(None) {
                let view = View::parse(lab.switch.reply()).unwrap();
                assert_eq!((view.src, view.source), owner);
                assert_eq!((view.dst, view.destination), asker);
            }
            // The question itself is enough to learn from.
            assert_eq!(send(&mut lab, stranger().mac), Verdict::To(Target::Vtep(foreign())));
        }
    }
}

#[test]
fn foreign_answers_reach_who_asked() {
    let mut lab = Lab::open();
    let here = Verdict::To(Target::Port(A));
    let (from4, from6) = ((stranger().mac, stranger().v4), (stranger().mac, stranger().v6));
    assert_eq!(lab.vtep(foreign(), &mut arp(ANSWER, from4, a().mac, a().v4)), here);
    assert_eq!(lab.vtep(foreign(), &mut advertise(from6, (a().mac, a().v6))), here);
    for mut frame in [
        arp(ANSWER, from4, Mac::BROADCAST, from4.1),
        arp(REQUEST, from4, Mac::BROADCAST, from4.1),
        advertise(from6, all_nodes()),
        arp(ANSWER, from4, lab.router_mac(), ip("10.0.2.1")),
    ] {
        assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Consumed);
    }
    // A question whose MAC is known is a probe, and goes there alone.
    let mut probe = arp(REQUEST, (a().mac, a().v4), stranger().mac, stranger().v4);
    assert_eq!(lab.port(A, &mut probe), Verdict::To(Target::Vtep(foreign())));
}

#[test]
fn foreign_hosts_speak_for_themselves_only() {
    let mut lab = Lab::open();
    let mac = stranger().mac;
    let to = (b().mac, b().v6);
    for taken in [a().v4, remote().v4, ip("10.0.1.1")] {
        let mut frame = arp(ANSWER, (mac, taken), b().mac, b().v4);
        assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Drop(Reason::GuardArp), "{taken}");
    }
    for taken in [a().v6, a().link_local(), remote().v6, ip("fd00:1::1")] {
        let mut frame = advertise((mac, taken), to);
        assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Drop(Reason::SpoofedIp), "{taken}");
        let mut frame = nd((mac, stranger().v6), to, 136, [0; 4], taken, Some((2, mac)));
        assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Drop(Reason::GuardNd), "{taken}");
    }
    let own = (mac, stranger().v6);
    let mut lie = nd(own, to, 136, [0; 4], own.1, Some((2, a().mac)));
    assert_eq!(lab.vtep(foreign(), &mut lie), Verdict::Drop(Reason::GuardNd), "A's MAC inside");
}

#[test]
fn foreign_hosts_do_not_send_from_addresses_of_the_cluster() {
    let mac = stranger().mac;
    for (to, taken) in [
        (a().v4, [a().v4, remote().v4, ip("10.0.1.1")]),
        (a().v6, [remote().v6, remote().link_local(), ip("fd00:2::1")]),
    ] {
        for source in taken {
            let mut lab = Lab::open();
            let mut frame = udp((mac, source), (a().mac, to), 20);
            let spoofed = Verdict::Drop(Reason::SpoofedIp);
            assert_eq!(lab.vtep(foreign(), &mut frame), spoofed, "{source}");
            assert_eq!(send(&mut lab, mac), Verdict::Flood, "nothing learned from a lie");
        }
    }
    // From beyond, by a router of theirs.
    let mut frame = udp((mac, ip("203.0.113.9")), (a().mac, a().v4), 20);
    assert_eq!(Lab::open().vtep(foreign(), &mut frame), Verdict::To(Target::Port(A)));
}

#[test]
fn routes_to_foreign_hosts_that_have_spoken() {
    for ip in BOTH {
        let mut lab = Lab::open();
        let router = lab.router_mac();
        let frame = udp((a().mac, ip(a())), (router, ip(stranger())), 100);
        let unreachable = Verdict::Reply(Some(Reason::HostUnreachable));
        assert_eq!(lab.port(A, &mut frame.clone()), unreachable, "silent so far");
        show(&mut lab, foreign(), stranger().mac);
        assert_eq!(lab.port(A, &mut frame.clone()), unreachable, "a MAC without an address");

        let from = (stranger().mac, ip(stranger()));
        lab.vtep(foreign(), &mut ask(from, ip(c())));
        let mut routed = frame.clone();
        assert_eq!(lab.port(A, &mut routed), Verdict::To(Target::Vtep(foreign())));
        let view = View::parse(&routed).unwrap();
        assert_eq!((view.src, view.dst, view.ttl), (router, stranger().mac, 63));
        lab.now += AGE;
        assert_eq!(lab.port(A, &mut frame.clone()), unreachable, "too old");
    }
}

#[test]
fn addresses_outside_the_subnets_are_not_learned() {
    let mut lab = Lab::open();
    let mut alien = ask((stranger().mac, ip("192.0.2.77")), a().v4);
    assert_eq!(lab.vtep(foreign(), &mut alien), Verdict::Reply(None));
    let mut frame = udp((a().mac, a().v4), (lab.router_mac(), ip("192.0.2.77")), 20);
    assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::NoRoute)));
}

#[test]
fn routes_from_foreign_hosts_to_containers_here() {
    for ip in BOTH {
        let mut lab = Lab::open();
        let router = lab.router_mac();
        let v4 = ip(a()).is_ipv4();
        let from = (stranger().mac, ip(stranger()));
        let to = |destination| udp(from, (router, destination), 100);

        let mut frame = to(ip(a()));
        assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::To(Target::Port(A)));
        let view = View::parse(&frame).unwrap();
        assert_eq!((view.src, view.dst, view.ttl), (router, a().mac, 63));

        let not_here = Verdict::Drop(Reason::NotHere);
        assert_eq!(lab.vtep(foreign(), &mut to(ip(remote()))), not_here, "split horizon");
        lab.vtep(foreign2(), &mut ask((station(1), ip(host(2, 98))), ip(a())));
        assert_eq!(lab.vtep(foreign(), &mut to(ip(host(2, 98)))), not_here, "split horizon");

        let (none, outside) =
            if v4 { ("10.0.1.77", "192.0.2.77") } else { ("fd00:1::77", "2001:db8::77") };
        for (destination, reason) in [(none, Reason::HostUnreachable), (outside, Reason::NoRoute)] {
            let verdict = lab.vtep(foreign(), &mut to(self::ip(destination)));
            assert_eq!(verdict, Verdict::Reply(Some(reason)));
            let view = lab.reply().view;
            assert_eq!((view.dst, view.destination), from);
        }
        let expired = packet(from, (router, ip(a())), 17, 1, &[0, 0, 0, 0, 0, 8, 0, 0]);
        let verdict = lab.vtep(foreign(), &mut expired.clone());
        assert_eq!(verdict, Verdict::Reply(Some(Reason::TimeExceeded)));

        let gateway = self::ip(if v4 { "10.0.2.1" } else { "fd00:2::1" });
        let mut echo = ping(from, (router, gateway));
        assert_eq!(lab.vtep(foreign(), &mut echo), Verdict::Reply(None));
        assert_eq!(lab.reply().body, b"payload");
        echo[View::L3 + if v4 { 22 } else { 42 }] ^= 1;
        let verdict = lab.vtep(foreign(), &mut echo);
        assert_eq!(verdict, Verdict::Drop(Reason::InnerMalformed), "checksum");
    }
}

#[test]
fn broadcast_sources_get_no_errors() {
    let mut lab = Lab::open();
    let outside = (lab.router_mac(), ip("192.0.2.77"));
    let mut frame = udp((stranger().mac, ip("10.0.2.255")), outside, 20);
    assert_eq!(lab.vtep(foreign(), &mut frame), Verdict::Drop(Reason::NoRoute));
}

#[test]
fn martians_are_not_routed() {
    let mut lab = Lab::open();
    let (mac, router) = (stranger().mac, lab.router_mac());
    for (source, destination) in [
        ("0.0.0.0", a().v4),
        ("127.0.0.1", a().v4),
        ("224.0.0.1", ip("10.0.1.1")),
        ("::", a().v6),
        ("::1", a().v6),
        ("ff02::1", ip("fd00:1::1")),
    ] {
        let mut frame = udp((mac, ip(source)), (router, destination), 20);
        let verdict = lab.vtep(foreign(), &mut frame);
        assert_eq!(verdict, Verdict::Drop(Reason::InnerMalformed), "{source}");
    }
}
