use super::*;

/// An ICMP error of this type from someone about the packet in a frame.
fn about(family: Family, from: (Mac, IpAddr), to: (Mac, IpAddr), quoted: &[u8]) -> Vec<u8> {
    let kind = if family == Family::V4 { (3, 3) } else { (1, 4) };
    icmp(from, to, 64, kind, [0; 4], &quoted[View::L3..])
}

/// The packet that an error quotes, as a frame.
fn quoted(frame: &[u8]) -> Vec<u8> {
    let reply = Reply::read(frame);
    ethernet(Mac([0; 6]), Mac([0; 6]), reply.view.ethertype, &reply.body)
}

#[test]
fn errors_about_packets_to_a_backend_are_shown_as_of_the_vip() {
    for family in FAMILIES {
        for backend in [b(), remote(), remote2()] {
            for cut in [0, 10, 25] {
                let mut lab = Service::of(&[backend]).lab();
                let (_, sent) = ask(&mut lab, family, 40_000);
                let server = (backend.mac, family.of(backend));
                let quote = &sent[..sent.len().min(if cut == 0 { 999 } else { sent.len() - cut })];
                if cut == 25 {
                    // Nothing but the ports is left of the transport.
                    assert!(quote.len() < sent.len());
                }
                let far = backend.mac == remote2().mac;
                let mac = if far { lab.router_mac() } else { server.0 };
                let error = about(family, (mac, server.1), client(family), quote);
                let (verdict, frame) = from_home(&mut lab, backend, error);
                if quoted_ports(quote) {
                    assert_eq!(verdict, Verdict::To(Target::Port(A)));
                    assert_eq!(addressed(&frame), (vip(&lab, family), client(family)));
                    let inner = quoted(&frame);
                    let (inner, want) = (&inner[View::L3..], ask_bytes(&lab, family));
                    assert_eq!(inner, &want[View::L3..][..inner.len()], "as the client sent it");
                }
            }
        }
    }
}

fn quoted_ports(frame: &[u8]) -> bool {
    frame.len() >= View::L3 + if frame[12] == 8 { 24 } else { 44 }
}

/// What [`ask`] sends from port 40000.
fn ask_bytes(lab: &Lab, family: Family) -> Vec<u8> {
    let frame = datagram(client(family), vip(lab, family), (40_000, 53), b"question");
    summed(frame, Sum::Complete).0
}

#[test]
fn errors_of_the_client_reach_the_backend_as_about_its_packets() {
    for family in FAMILIES {
        for backend in [b(), remote()] {
            let mut lab = Service::of(&[backend]).lab();
            ask(&mut lab, family, 40_000);
            let (client, vip) = (client(family), vip(&lab, family));
            let server = (backend.mac, family.of(backend));
            let sent = summed(datagram(server, client, (53, 40_000), b"reply"), Sum::Complete).0;
            let (_, got) = from_home(&mut lab, backend, sent.clone());
            let mut error = about(family, client, vip, &got);
            assert_eq!(lab.port(A, &mut error), Verdict::To(home(backend)));
            assert_eq!(addressed(&error), (client, server));
            assert_eq!(quoted(&error)[View::L3..], sent[View::L3..], "as the backend sent it");
        }
    }
}

#[test]
fn errors_about_what_never_was_are_dropped() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        ask(&mut lab, family, 40_000);
        let (client, vip) = (client(family), vip(&lab, family));
        let other = (b().mac, family.of(b()));
        for quote in [
            datagram(vip, client, (53, 40_001), b"other port"),
            datagram(vip, client, (54, 40_000), b"other service"),
            datagram(vip, other, (53, 40_000), b"another's"),
            datagram(client, vip, (40_000, 53), b"own"),
            tcp(vip, client, (53, 40_000), DATA),
        ] {
            let mut error = about(family, client, vip, &quote);
            let before = error.clone();
            assert_eq!(lab.port(A, &mut error), Verdict::Drop(Reason::StrayError));
            assert_eq!(error, before);
        }
        let kind = if family == Family::V4 { (11, 0) } else { (3, 0) };
        let mut empty = icmp(client, vip, 64, kind, [0; 4], &[]);
        assert_eq!(lab.port(A, &mut empty), Verdict::Drop(Reason::StrayError));
        // About direct traffic it passes as it is.
        let server = (remote().mac, family.of(remote()));
        let direct = datagram(client, server, (41_000, 53), b"direct");
        let error = about(family, server, client, &direct);
        let (verdict, frame) = from_home(&mut lab, remote(), error.clone());
        assert_eq!((verdict, frame), (Verdict::To(Target::Port(A)), error));
        // And what a bystander says does not become the service's word.
        let (_, sent) = ask(&mut lab, family, 40_000);
        let error = about(family, other, client, &sent);
        let (verdict, frame) = from_home(&mut lab, b(), error.clone());
        assert_eq!((verdict, frame), (Verdict::To(Target::Port(A)), error));
    }
}

#[test]
fn what_is_too_big_is_shown_as_it_was_sent() {
    for family in FAMILIES {
        let narrow = vec![(member(), 1300)];
        let mut lab = Lab::new(Spec { narrow, ..Service::of(&[remote()]).spec() });
        let (client, vip) = (client(family), vip(&lab, family));
        let sent = summed(datagram(client, vip, (40_000, 53), &[5; 1350]), Sum::Complete).0;
        let mut frame = sent.clone();
        assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::TooBig)));
        let reply = lab.reply();
        assert_eq!(reply.body, sent[View::L3..][..reply.body.len()]);

        // And where the kernel says so later, about the translated frame.
        let mut frame = summed(datagram(client, vip, (40_000, 53), &[5; 1200]), Sum::Complete).0;
        let sent = frame.clone();
        assert_eq!(lab.port(A, &mut frame), Verdict::To(home(remote())));
        let view = View::parse(&frame).unwrap();
        assert!(lab.switch.too_big(&lab.plan, lab.now, A, &frame, &view, 1200));
        let reply = lab.reply();
        assert_eq!((reply.view.dst, reply.view.destination), client);
        assert_eq!(reply.body, sent[View::L3..][..reply.body.len()]);
    }
}
