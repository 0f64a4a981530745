use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use super::*;

fn gateway() -> Host {
    Host { mac: Mac([2, 0x42, 10, 0, 1, 1]), v4: ip("10.0.1.1"), v6: ip("fd00:1::1") }
}

/// The reply is an ARP answer from `owner` to `asker`.
fn assert_arp_answer(lab: &Lab, owner: (Mac, IpAddr), asker: (Mac, IpAddr), name: &str) {
    let reply = lab.switch.reply();
    let view = View::parse(reply).unwrap();
    assert_eq!((view.src, view.dst, view.net), (owner.0, asker.0, Net::Arp), "{name}");
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    } = ArpRepr::parse(&ArpPacket::new_checked(&reply[14..]).unwrap()).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(operation, ArpOperation::Reply, "{name}");
    assert_eq!(source_hardware_addr, EthernetAddress(owner.0.0), "{name}");
    assert_eq!(IpAddr::from(source_protocol_addr), owner.1, "{name}");
    assert_eq!(target_hardware_addr, EthernetAddress(asker.0.0), "{name}");
    assert_eq!(IpAddr::from(target_protocol_addr), asker.1, "{name}");
}

/// The reply is an advertisement of `owner` with these flags.
fn assert_advertised(lab: &Lab, owner: (Mac, IpAddr), to: (Mac, IpAddr), flags: u8, name: &str) {
    let reply = lab.reply();
    assert_eq!((reply.kind, reply.view.ttl), ((136, 0), 255), "{name}");
    assert_eq!((reply.view.src, reply.view.source), owner, "{name}");
    assert_eq!((reply.view.dst, reply.view.destination), to, "{name}");
    assert_eq!(reply.rest, [flags, 0, 0, 0], "{name}");
    let body = [octets(owner.1).as_slice(), &[2, 1], &owner.0.0].concat();
    assert_eq!(reply.body, body, "{name}");
}

#[test]
fn the_table_answers_arp() {
    let asker = (a().mac, a().v4);
    for (name, owner) in
        [("local", b()), ("remote", remote()), ("gateway", gateway()), ("other subnet", c())]
    {
        let owner = (owner.mac, owner.v4);
        // To all, and to one, as Linux asks again for a neighbour that it knows.
        for dst in [Mac::BROADCAST, owner.0] {
            let mut lab = Lab::closed();
            let verdict = lab.port(A, &mut arp(REQUEST, asker, dst, owner.1));
            assert_eq!(verdict, Verdict::Reply(None), "{name}");
            assert_arp_answer(&lab, owner, asker, name);
        }
        let mut lab = Lab::open();
        let nobody = (asker.0, ip("0.0.0.0"));
        let verdict = lab.port(A, &mut arp(REQUEST, nobody, Mac::BROADCAST, owner.1));
        assert_eq!(verdict, Verdict::Reply(None), "{name} to a probe");
        assert_arp_answer(&lab, owner, nobody, name);
    }
}

#[test]
fn the_table_answers_solicitations() {
    let owners = [
        ("local", (b().mac, b().v6), 0x60),
        ("local, link-local", (b().mac, b().link_local()), 0x60),
        ("remote", (remote().mac, remote().v6), 0x60),
        ("gateway", (gateway().mac, gateway().v6), 0xe0),
        ("gateway, link-local", (gateway().mac, gateway().link_local()), 0xe0),
    ];
    for (name, owner, flags) in owners {
        for asker in [(a().mac, a().v6), (a().mac, a().link_local())] {
            let mut lab = Lab::closed();
            assert_eq!(lab.port(A, &mut solicit(asker, owner.1)), Verdict::Reply(None), "{name}");
            assert_advertised(&lab, owner, asker, flags, name);
        }
        let mut lab = Lab::open();
        let probe = solicit((a().mac, ip("::")), owner.1);
        assert_eq!(lab.port(A, &mut probe.clone()), Verdict::Reply(None), "{name} to a probe");
        assert_advertised(&lab, owner, all_nodes(), flags & !0x40, name);
    }
}

#[test]
fn what_the_table_does_not_know_only_foreign_vteps_may() {
    let asker4 = (a().mac, a().v4);
    let asker6 = (a().mac, a().v6);
    for frame in [
        arp(REQUEST, asker4, Mac::BROADCAST, ip("10.0.1.77")),
        solicit(asker6, ip("fd00:1::77")),
        solicit(asker6, ip("fe80::77")),
    ] {
        for mut lab in [Lab::closed(), Lab::multicast()] {
            let verdict = lab.port(A, &mut frame.clone());
            assert_eq!(verdict, Verdict::Drop(Reason::UnknownNeighbour));
        }
        let mut lab = Lab::open();
        assert_eq!(lab.port(A, &mut frame.clone()), Verdict::Flood);
        assert_eq!(lab.targets(), FOREIGN_ONLY());
    }
}

#[test]
fn what_a_container_says_of_itself_is_news_to_foreign_vteps_only() {
    let own4 = (a().mac, a().v4);
    let own6 = (a().mac, a().v6);
    for (name, frame) in [
        ("gratuitous request", arp(REQUEST, own4, Mac::BROADCAST, a().v4)),
        ("gratuitous reply", arp(ANSWER, own4, Mac::BROADCAST, a().v4)),
        ("probe for its own", arp(REQUEST, (a().mac, ip("0.0.0.0")), Mac::BROADCAST, a().v4)),
        ("probe for none", arp(REQUEST, (a().mac, ip("0.0.0.0")), Mac::BROADCAST, ip("10.0.1.77"))),
        ("DAD of its own", solicit((a().mac, ip("::")), a().v6)),
        ("DAD of its link-local", solicit((a().mac, ip("::")), a().link_local())),
        ("DAD of none", solicit((a().mac, ip("::")), ip("fd00:1::77"))),
        ("advertisement to all", advertise(own6, all_nodes())),
    ] {
        for mut lab in [Lab::closed(), Lab::multicast()] {
            assert_eq!(lab.port(A, &mut frame.clone()), Verdict::Consumed, "{name}");
        }
        let mut lab = Lab::open();
        assert_eq!(lab.port(A, &mut frame.clone()), Verdict::Flood, "{name}");
        assert_eq!(lab.targets(), FOREIGN_ONLY(), "{name}");
    }
}

#[test]
fn answers_go_where_their_destination_is() {
    let own4 = (a().mac, a().v4);
    let own6 = (a().mac, a().v6);
    let mut lab = Lab::closed();
    for (to, target) in [(b(), Target::Port(B)), (remote(), Target::Vtep(member()))] {
        let verdict = Verdict::To(target);
        assert_eq!(lab.port(A, &mut arp(ANSWER, own4, to.mac, to.v4)), verdict);
        assert_eq!(lab.port(A, &mut advertise(own6, (to.mac, to.v6))), verdict);
    }
    let gateway = gateway();
    assert_eq!(lab.port(A, &mut arp(ANSWER, own4, gateway.mac, gateway.v4)), Verdict::Consumed);
    let advertised = lab.port(A, &mut advertise(own6, (gateway.mac, gateway.v6)));
    assert_eq!(advertised, Verdict::Consumed);
}

#[test]
fn router_solicitations_and_group_reports_end_here() {
    let link_local = (a().mac, a().link_local());
    let routers = (Mac([0x33, 0x33, 0, 0, 0, 2]), ip("ff02::2"));
    let option = [&[1, 1], a().mac.0.as_slice()].concat();
    let solicitation = icmp(link_local, routers, 255, (133, 0), [0; 4], &option);
    for mut lab in [Lab::closed(), Lab::multicast(), Lab::open()] {
        assert_eq!(lab.port(A, &mut solicitation.clone()), Verdict::Consumed);
    }
    let groups = (Mac([0x33, 0x33, 0, 0, 0, 0x16]), ip("ff02::16"));
    for from in [link_local, (a().mac, ip("::"))] {
        let report = with_options(&icmp(from, groups, 1, (143, 0), [0, 0, 0, 0], &[]));
        assert_eq!(Lab::closed().port(A, &mut report.clone()), Verdict::Consumed);
        assert_eq!(Lab::open().port(A, &mut report.clone()), Verdict::Consumed);
        assert_eq!(Lab::multicast().port(A, &mut report.clone()), Verdict::Flood);
    }
}
