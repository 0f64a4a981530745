use super::*;

fn refused(name: &str, mut frame: Vec<u8>, reason: Reason) {
    for mut lab in [Lab::closed(), Lab::multicast(), Lab::open()] {
        assert_eq!(lab.port(A, &mut frame), Verdict::Drop(reason), "{name}");
    }
}

#[test]
fn what_a_container_may_not_send() {
    let (a, b) = (a(), b());
    let own4 = (a.mac, a.v4);
    let own6 = (a.mac, a.v6);
    let unspecified = (a.mac, ip("::"));
    let lies: &[(&str, Vec<u8>, Reason)] = &[
        ("another's MAC", udp((b.mac, a.v4), (b.mac, b.v4), 20), Reason::GuardMac),
        ("another's MAC in IPv6", udp((b.mac, a.v6), (b.mac, b.v6), 20), Reason::GuardMac),
        ("a group as source", udp((Mac::BROADCAST, a.v4), (b.mac, b.v4), 20), Reason::GuardMac),
        ("an unknown protocol", ethernet(b.mac, a.mac, 0x88cc, &[0; 50]), Reason::GuardMac),
        ("another's IPv4", udp((a.mac, b.v4), (b.mac, b.v4), 20), Reason::GuardIp),
        ("another's IPv6", udp((a.mac, b.v6), (b.mac, b.v6), 20), Reason::GuardIp),
        ("another's link-local", udp((a.mac, b.link_local()), (b.mac, b.v6), 20), Reason::GuardIp),
        ("the gateway's", udp((a.mac, ip("10.0.1.1")), (b.mac, b.v4), 20), Reason::GuardIp),
        (
            "0.0.0.0",
            udp((a.mac, ip("0.0.0.0")), (Mac::BROADCAST, ip("255.255.255.255")), 20),
            Reason::GuardIp,
        ),
        ("UDP from ::", udp(unspecified, all_nodes(), 20), Reason::GuardIp),
        (
            "MLD from :: to one host",
            icmp(unspecified, (b.mac, b.v6), 1, (131, 0), [0; 4], &[0; 16]),
            Reason::GuardIp,
        ),
        (
            "a fragment from ::",
            fragment(&icmp(unspecified, all_nodes(), 1, (131, 0), [0; 4], &[0; 16]), 0, true, 58),
            Reason::GuardIp,
        ),
        (
            "a ping from ::",
            icmp(unspecified, all_nodes(), 1, (128, 0), [0; 4], &[]),
            Reason::GuardIp,
        ),
        (
            "ARP with another's MAC inside",
            {
                let mut frame = arp(REQUEST, own4, Mac::BROADCAST, b.v4);
                frame[22..28].copy_from_slice(&b.mac.0);
                frame
            },
            Reason::GuardArp,
        ),
        (
            "an ARP request for another",
            arp(REQUEST, (a.mac, b.v4), Mac::BROADCAST, b.v4),
            Reason::GuardArp,
        ),
        ("an ARP reply for another", arp(ANSWER, (a.mac, c().v4), b.mac, b.v4), Reason::GuardArp),
        (
            "an ARP reply for the gateway",
            arp(ANSWER, (a.mac, ip("10.0.1.1")), b.mac, b.v4),
            Reason::GuardArp,
        ),
        (
            "an ARP reply of 0.0.0.0",
            arp(ANSWER, (a.mac, ip("0.0.0.0")), b.mac, b.v4),
            Reason::GuardArp,
        ),
        ("reverse ARP", arp(3, own4, Mac::BROADCAST, b.v4), Reason::GuardArp),
        (
            "NS with another's MAC",
            nd(own6, solicited(b.v6), 135, [0; 4], b.v6, Some((1, b.mac))),
            Reason::GuardNd,
        ),
        (
            "NS that contradicts itself",
            {
                let options =
                    [octets(b.v6).as_slice(), &[1, 1], &b.mac.0, &[1, 1], &a.mac.0].concat();
                icmp(own6, solicited(b.v6), 255, (135, 0), [0; 4], &options)
            },
            Reason::GuardNd,
        ),
        (
            "NS from beyond the link",
            {
                let mut frame = solicit(own6, b.v6);
                frame[View::L3 + 7] = 254;
                frame
            },
            Reason::GuardNd,
        ),
        (
            "NS with a code",
            icmp(own6, solicited(b.v6), 255, (135, 1), [0; 4], &octets(b.v6)),
            Reason::GuardNd,
        ),
        (
            "NS cut short",
            icmp(own6, solicited(b.v6), 255, (135, 0), [0; 4], &[0xfd; 15]),
            Reason::GuardNd,
        ),
        (
            "NS with an empty option",
            icmp(own6, solicited(b.v6), 255, (135, 0), [0; 4], &[0; 24]),
            Reason::GuardNd,
        ),
        (
            "NS with half an option",
            icmp(own6, solicited(b.v6), 255, (135, 0), [0; 4], &[1; 17]),
            Reason::GuardNd,
        ),
        (
            "NS with a long MAC",
            {
                let body = [octets(b.v6).as_slice(), &[1, 2], &a.mac.0, &[0; 8]].concat();
                icmp(own6, solicited(b.v6), 255, (135, 0), [0; 4], &body)
            },
            Reason::GuardNd,
        ),
        (
            "NS for a group",
            nd(own6, all_nodes(), 135, [0; 4], ip("ff02::1"), None),
            Reason::GuardNd,
        ),
        (
            "a probe with a MAC",
            nd(unspecified, solicited(b.v6), 135, [0; 4], b.v6, Some((1, a.mac))),
            Reason::GuardNd,
        ),
        ("a probe to all", nd(unspecified, all_nodes(), 135, [0; 4], b.v6, None), Reason::GuardNd),
        (
            "NA of another's address",
            nd(own6, all_nodes(), 136, [0; 4], b.v6, Some((2, a.mac))),
            Reason::GuardNd,
        ),
        (
            "NA of the gateway's",
            nd(own6, (b.mac, b.v6), 136, [0; 4], ip("fd00:1::1"), Some((2, a.mac))),
            Reason::GuardNd,
        ),
        (
            "NA with another's MAC",
            nd(own6, (b.mac, b.v6), 136, [0; 4], a.v6, Some((2, b.mac))),
            Reason::GuardNd,
        ),
        (
            "NA in a fragment",
            fragment(&advertise(own6, (b.mac, b.v6)), 0, true, 58),
            Reason::GuardNd,
        ),
        (
            "ND behind options",
            with_options(&nd(own6, (b.mac, b.v6), 136, [0; 4], b.v6, Some((2, a.mac)))),
            Reason::GuardNd,
        ),
        (
            "a fragment that hides its protocol",
            {
                let frame = packet(own6, (b.mac, b.v6), 60, 255, &[58, 1, 0, 0, 0, 0, 0, 0]);
                let mut frame = frame;
                frame[View::L3 + 6] = 59; // lets the view pass: no transport
                fragment(&frame, 0, true, 60)
            },
            Reason::GuardNd,
        ),
        (
            "a fragment in a fragment",
            fragment(&udp(own6, (b.mac, b.v6), 24), 0, true, 44),
            Reason::GuardNd,
        ),
        ("an empty ICMPv6 message", packet(own6, (b.mac, b.v6), 58, 64, &[]), Reason::GuardNd),
        (
            "RA",
            icmp((a.mac, a.link_local()), all_nodes(), 255, (134, 0), [64, 0, 7, 8], &[0; 8]),
            Reason::GuardRa,
        ),
        (
            "RA to one host",
            icmp(own6, (b.mac, b.v6), 255, (134, 0), [64, 0, 7, 8], &[0; 8]),
            Reason::GuardRa,
        ),
        (
            "RA behind options",
            with_options(&icmp(own6, all_nodes(), 255, (134, 0), [0; 4], &[0; 8])),
            Reason::GuardRa,
        ),
        (
            "RA in a fragment",
            fragment(&icmp(own6, all_nodes(), 255, (134, 0), [0; 4], &[0; 8]), 0, true, 58),
            Reason::GuardRa,
        ),
        (
            "RA in a fragment behind authentication",
            {
                let ra = icmp(own6, all_nodes(), 255, (134, 0), [0; 4], &[0; 8]);
                let mut payload = [58, 2].to_vec(); // (2 + 2) * 4 bytes
                payload.resize(16, 0);
                payload.extend(&ra[View::L3 + 40..]);
                fragment(&packet(own6, all_nodes(), 59, 255, &payload), 0, true, 51)
            },
            Reason::GuardRa,
        ),
        (
            "RA in a fragment behind options",
            {
                let frame = with_options(&icmp(own6, all_nodes(), 255, (134, 0), [0; 4], &[0; 8]));
                fragment(&frame, 0, true, 60)
            },
            Reason::GuardRa,
        ),
        (
            "an ICMPv6 redirect",
            icmp(own6, (b.mac, b.v6), 255, (137, 0), [0; 4], &[0; 32]),
            Reason::GuardRa,
        ),
        (
            "an ICMP redirect",
            icmp(own4, (b.mac, b.v4), 64, (5, 1), [10, 0, 1, 10], &[0; 28]),
            Reason::GuardRa,
        ),
        (
            "an ICMP redirect in a fragment",
            {
                let mut frame = icmp(own4, (b.mac, b.v4), 64, (5, 1), [10, 0, 1, 10], &[0; 24]);
                frame[View::L3 + 6] = 0x20;
                frame
            },
            Reason::GuardRa,
        ),
    ];
    for (name, frame, reason) in lies {
        refused(name, frame.clone(), *reason);
    }
}

#[test]
fn what_a_container_may_send() {
    let (a, b) = (a(), b());
    let to = Verdict::To(Target::Port(B));
    let own6 = (a.mac, a.v6);
    let truths: &[(&str, Vec<u8>)] = &[
        ("IPv4", udp((a.mac, a.v4), (b.mac, b.v4), 20)),
        ("IPv6", udp(own6, (b.mac, b.v6), 20)),
        ("link-local", udp((a.mac, a.link_local()), (b.mac, b.link_local()), 20)),
        ("an unknown protocol", ethernet(a.mac, b.mac, 0x88cc, &[0; 50])),
        ("ping", ping((a.mac, a.v4), (b.mac, b.v4))),
        ("ping in IPv6", ping(own6, (b.mac, b.v6))),
        ("a fragment of a ping", fragment(&ping(own6, (b.mac, b.v6)), 0, true, 58)),
        ("a later fragment", fragment(&udp(own6, (b.mac, b.v6), 24), 3, false, 58)),
        ("a later fragment that looks like RA", {
            fragment(&packet(own6, (b.mac, b.v6), 59, 64, &[134; 16]), 3, false, 58)
        }),
        (
            "a fragment behind options",
            fragment(&with_options(&udp(own6, (b.mac, b.v6), 24)), 0, true, 60),
        ),
        ("an ARP reply", arp(ANSWER, (a.mac, a.v4), b.mac, b.v4)),
        ("an advertisement", advertise(own6, (b.mac, b.v6))),
        (
            "an advertisement without a MAC",
            nd(own6, (b.mac, b.v6), 136, [0x40, 0, 0, 0], a.v6, None),
        ),
        ("an advertisement with other options", {
            let body =
                [octets(a.v6).as_slice(), &[14, 1, 1, 2, 3, 4, 5, 6], &[2, 1], &a.mac.0].concat();
            icmp(own6, (b.mac, b.v6), 255, (136, 0), [0x60, 0, 0, 0], &body)
        }),
    ];
    for (name, frame) in truths {
        assert_eq!(Lab::closed().port(A, &mut frame.clone()), to, "{name}");
    }
}

#[test]
fn a_port_that_is_gone_sends_nothing() {
    let mut frame = udp((a().mac, a().v4), (b().mac, b().v4), 20);
    for gone in [PortId(4), PortId(u32::MAX)] {
        assert_eq!(Lab::closed().port(gone, &mut frame), Verdict::Drop(Reason::NoEndpoint));
    }
}
