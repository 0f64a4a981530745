use super::*;

/// Another endpoint at the VTEP of `remote()`, in the other subnet.
fn sibling() -> Host {
    host(2, 22)
}

fn lab() -> Lab {
    let mut spec = spec();
    let (mac, addresses) = (sibling().mac, sibling().addresses());
    spec.remotes.push(Remote { mac, addresses, vtep: member() });
    Lab::new(spec)
}

fn here() -> (Mac, IpAddr) {
    (a().mac, a().v4)
}

fn here6() -> (Mac, IpAddr) {
    (a().mac, a().v6)
}

#[test]
fn what_a_member_may_send() {
    let router = Lab::closed().router_mac();
    let (mac, v4, v6) = (remote().mac, remote().v4, remote().v6);
    let link = (a().mac, a().link_local());
    for (name, mut frame) in [
        ("IPv4", udp((mac, v4), here(), 20)),
        ("IPv6", udp((mac, v6), here6(), 20)),
        ("link-local", udp((mac, remote().link_local()), link, 20)),
        ("another endpoint of its", udp((sibling().mac, sibling().v4), here(), 20)),
        ("an unknown protocol", ethernet(mac, a().mac, 0x88cc, &[0; 50])),
        ("routed IPv4", udp((router, sibling().v4), here(), 20)),
        ("routed IPv6", udp((router, sibling().v6), here6(), 20)),
        ("routed within a subnet", udp((router, v4), here(), 20)),
        ("a fragment", fragment(&udp((mac, v6), here6(), 24), 3, false, 17)),
        ("an ARP reply", arp(ANSWER, (mac, v4), a().mac, a().v4)),
        ("an advertisement", advertise((mac, v6), here6())),
        ("an advertisement without a MAC", nd((mac, v6), here6(), 136, [0x40, 0, 0, 0], v6, None)),
    ] {
        assert_eq!(lab().vtep(member(), &mut frame), Verdict::To(Target::Port(A)), "{name}");
    }
    let groups = (all_nodes().0, ip("ff02::16"));
    let mut report = icmp((mac, ip("::")), groups, 1, (143, 0), [0; 4], &[]);
    let mut lab = Lab::multicast();
    assert_eq!(lab.vtep(member(), &mut report), Verdict::Flood, "MLD without an address");
    let mut probe = solicit((mac, ip("::")), v6);
    assert_eq!(lab.vtep(member(), &mut probe), Verdict::Consumed, "a probe for a duplicate");
    let mut probe = arp(REQUEST, (mac, ip("0.0.0.0")), Mac::BROADCAST, v4);
    assert_eq!(lab.vtep(member(), &mut probe), Verdict::Consumed, "and in ARP");
}

#[test]
fn what_a_member_may_not_send() {
    let router = Lab::closed().router_mac();
    let (mac, v4, v6) = (remote().mac, remote().v4, remote().v6);
    let (far, near) = (remote2(), b());
    let nobody = Mac([2, 0, 0, 0, 0, 9]);
    for (name, mut frame, reason) in [
        ("a MAC of this host", udp((near.mac, near.v4), here(), 20), Reason::SpoofedMac),
        ("a MAC of a third host", udp((far.mac, far.v4), here(), 20), Reason::SpoofedMac),
        ("the MAC of a third host", udp((far.mac, v4), here(), 20), Reason::SpoofedMac),
        ("a MAC of nobody", udp((nobody, v4), here(), 20), Reason::SpoofedMac),
        (
            "a MAC of nobody, in an unknown protocol",
            ethernet(nobody, a().mac, 0x88cc, &[0; 50]),
            Reason::SpoofedMac,
        ),
        (
            "the router's MAC in an unknown protocol",
            ethernet(router, a().mac, 0x88cc, &[0; 50]),
            Reason::SpoofedMac,
        ),
        ("an address of this host", udp((mac, near.v4), here(), 20), Reason::SpoofedIp),
        ("an address of a third host", udp((mac, far.v6), here6(), 20), Reason::SpoofedIp),
        ("an address of nobody", udp((mac, ip("192.0.2.77")), here(), 20), Reason::SpoofedIp),
        ("a sibling's address", udp((mac, sibling().v4), here(), 20), Reason::SpoofedIp),
        ("the gateway's address", udp((mac, ip("10.0.1.1")), here(), 20), Reason::SpoofedIp),
        ("the gateway itself", udp((router, ip("10.0.1.1")), here(), 20), Reason::SpoofedIp),
        ("routed for a third host", udp((router, far.v4), here(), 20), Reason::SpoofedIp),
        ("routed for this host", udp((router, near.v6), here6(), 20), Reason::SpoofedIp),
        ("routed from outside", udp((router, ip("192.0.2.77")), here(), 20), Reason::SpoofedIp),
        ("UDP from ::", udp((mac, ip("::")), all_nodes(), 20), Reason::SpoofedIp),
        (
            "an ARP reply for this host",
            arp(ANSWER, (mac, near.v4), a().mac, a().v4),
            Reason::GuardArp,
        ),
        (
            "an ARP reply for the gateway",
            arp(ANSWER, (mac, ip("10.0.1.1")), a().mac, a().v4),
            Reason::GuardArp,
        ),
        (
            "an ARP reply by the gateway",
            arp(ANSWER, (router, ip("10.0.1.1")), a().mac, a().v4),
            Reason::SpoofedMac,
        ),
        (
            "an ARP reply by a third host",
            arp(ANSWER, (far.mac, far.v4), a().mac, a().v4),
            Reason::SpoofedMac,
        ),
        (
            "an ARP reply with another MAC inside",
            {
                let mut frame = arp(ANSWER, (mac, v4), a().mac, a().v4);
                frame[22..28].copy_from_slice(&far.mac.0);
                frame
            },
            Reason::GuardArp,
        ),
        (
            "NA of a third host's address",
            nd((mac, v6), here6(), 136, [0; 4], far.v6, Some((2, mac))),
            Reason::GuardNd,
        ),
        (
            "NA with a third host's MAC",
            nd((mac, v6), here6(), 136, [0; 4], v6, Some((2, far.mac))),
            Reason::GuardNd,
        ),
        (
            "NA that puts an endpoint behind the router",
            nd((router, v6), here6(), 136, [0; 4], v6, Some((2, router))),
            Reason::GuardNd,
        ),
        (
            "NA of the gateway's address",
            nd((router, v6), here6(), 136, [0; 4], ip("fd00:1::1"), Some((2, router))),
            Reason::GuardNd,
        ),
    ] {
        assert_eq!(lab().vtep(member(), &mut frame), Verdict::Drop(reason), "{name}");
    }
}

/// The old host has no right to an endpoint that the table gives to another.
#[test]
fn an_endpoint_that_moves_is_heard_where_it_is() {
    let mut frame = udp((remote().mac, remote().v4), here(), 20);
    let mut lab = Lab::closed();
    let spoofed = Verdict::Drop(Reason::SpoofedMac);
    assert_eq!(lab.vtep(member2(), &mut frame), spoofed);
    let mut spec = spec();
    spec.remotes[0].vtep = member2();
    spec.remotes[1].vtep = member();
    lab.plan = plan(spec);
    assert_eq!(lab.vtep(member2(), &mut frame), Verdict::To(Target::Port(A)));
    assert_eq!(lab.vtep(member(), &mut frame), spoofed);
}

/// What one switch routes, the other takes.
#[test]
fn routed_frames_pass_between_hosts() {
    let mut spec = spec();
    let (mac, addresses) = (sibling().mac, sibling().addresses());
    spec.ports = vec![Port { id: A, mac, addresses }];
    let (mac, addresses) = (a().mac, a().addresses());
    spec.remotes = vec![Remote { mac, addresses, vtep: own_vtep() }];
    let network = Arc::new(Network::new(5, vni(VNI), spec));
    let theirs = Plan::new(5, member(), [network]);
    let mut lab = lab();
    for ip in [|h: Host| h.v4, |h: Host| h.v6] {
        let mut frame = udp((sibling().mac, ip(sibling())), (lab.router_mac(), ip(a())), 100);
        let view = View::parse(&frame).unwrap();
        let verdict =
            Switch::new(9).from_port(&theirs, lab.now, A, &mut frame, &view, &Offload::NONE);
        assert_eq!(verdict, Verdict::To(Target::Vtep(own_vtep())));
        assert_eq!(lab.vtep(member(), &mut frame), Verdict::To(Target::Port(A)));
    }
}
