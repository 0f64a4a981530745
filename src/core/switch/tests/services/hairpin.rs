use super::*;

/// A is its own backend.
fn lab() -> Lab {
    Service::of(&[a()]).lab()
}

#[test]
fn a_backend_that_calls_its_service_is_called_by_the_service() {
    for family in FAMILIES {
        for sum in [Sum::Complete, Sum::Partial] {
            let mut lab = lab();
            let (own, vip) = (client(family), vip(&lab, family));
            let (mut call, offload) = summed(tcp(own, vip, (40_000, 80), SYN), sum);
            assert_eq!(lab.offloaded(A, &mut call, offload), Verdict::To(Target::Port(A)));
            assert_eq!(addressed(&call), (vip, own));
            assert_sound(&call, sum);
            assert_eq!(View::parse(&call).unwrap().ports, (40_000, 80));
            let (mut reply, offload) = summed(tcp(own, vip, (80, 40_000), SYN_ACK), sum);
            assert_eq!(lab.offloaded(A, &mut reply, offload), Verdict::To(Target::Port(A)));
            assert_eq!(addressed(&reply), (vip, own));
            assert_sound(&reply, sum);
            assert_eq!(lab.switch.flow_stats().active, 1);
        }
    }
}

#[test]
fn errors_about_either_side_are_turned_back() {
    for family in FAMILIES {
        for ports in [(40_000, 53), (53, 40_000)] {
            let mut lab = lab();
            let (own, vip) = (client(family), vip(&lab, family));
            ask(&mut lab, family, 40_000);
            let sent = summed(datagram(own, vip, ports, b"something"), Sum::Complete).0;
            let mut got = sent.clone();
            assert_eq!(lab.port(A, &mut got), Verdict::To(Target::Port(A)));
            let kind = if family == Family::V4 { (3, 3) } else { (1, 4) };
            let mut error = icmp(own, vip, 64, kind, [0; 4], &got[View::L3..]);
            assert_eq!(lab.port(A, &mut error), Verdict::To(Target::Port(A)));
            assert_eq!(addressed(&error), (vip, own));
            assert_eq!(Reply::read(&error).body, sent[View::L3..]);
        }
    }
}

#[test]
fn equal_ports_cannot_be_told_apart() {
    for family in FAMILIES {
        let mut lab = lab();
        let (own, vip) = (client(family), vip(&lab, family));
        let mut same = datagram(own, vip, (53, 53), b"something");
        assert_eq!(lab.port(A, &mut same), Verdict::Drop(Reason::FlowClash));
        // With another backend there is nothing to be told apart.
        let mut lab = Service::of(&[a(), remote()]).lab();
        for _ in 0..4 {
            let mut same = datagram(own, vip, (53, 53), b"something");
            assert_eq!(lab.port(A, &mut same), Verdict::To(home(remote())));
        }
    }
}

#[test]
fn a_container_with_two_addresses_may_be_client_and_backend() {
    let mut spec = Service::of(&[a()]).spec();
    let second = ip("10.0.1.200");
    spec.ports[0].addresses.push(second);
    let mut lab = Lab::new(spec);
    let (vip, from) = (vip(&lab, Family::V4), (a().mac, second));
    let mut call = tcp(from, vip, (40_000, 80), SYN);
    assert_eq!(lab.port(A, &mut call), Verdict::To(Target::Port(A)));
    assert_eq!(addressed(&call), (vip, client(Family::V4)));
    let mut reply = tcp(client(Family::V4), vip, (80, 40_000), SYN_ACK);
    assert_eq!(lab.port(A, &mut reply), Verdict::To(Target::Port(A)));
    assert_eq!(addressed(&reply), (vip, from));
}
