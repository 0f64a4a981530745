use super::*;
use crate::wire::testing::{Packet, Sum};

/// A question of A to its gateway, its transport's checksum in this state.
fn question(lab: &Lab, v6: bool, sum: Sum) -> Vec<u8> {
    let packet = Packet { v6, ports: (40_000, 53), ..Packet::udp(b"who is it?") };
    let built = packet.build(sum);
    let view = View::parse(&built).unwrap();
    let gateway = ip(if v6 { "fd00:1::1" } else { "10.0.1.1" });
    let own = if v6 { a().v6 } else { a().v4 };
    let mut datagram = built[view.l4..view.end].to_vec();
    if sum == Sum::Complete {
        datagram[6..8].fill(0);
        let frame = self::packet((a().mac, own), (lab.router_mac(), gateway), 17, 64, &datagram);
        let view = View::parse(&frame).unwrap();
        let pseudo = checksum::pseudo_header(view.addresses(&frame), 17, datagram.len());
        let sum = checksum::finish(pseudo + checksum::sum(&datagram));
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    self::packet((a().mac, own), (lab.router_mac(), gateway), 17, 64, &datagram)
}

#[test]
fn the_gateway_is_asked_for_names() {
    for v6 in [false, true] {
        let mut lab = Lab::closed();
        for sum in [Sum::Complete, Sum::Zero] {
            let mut frame = question(&lab, v6, sum);
            assert_eq!(lab.port(A, &mut frame), Verdict::Question, "{v6} {sum:?}");
        }
        let mut broken = question(&lab, v6, Sum::Complete);
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(lab.port(A, &mut broken), Verdict::Drop(Reason::Malformed));
    }
}

#[test]
fn only_a_gateway_of_ones_own_network_is_asked() {
    let mut lab = Lab::closed();
    let elsewhere = (lab.router_mac(), ip("10.0.9.1"));
    let mut frame =
        packet((a().mac, a().v4), elsewhere, 17, 64, &question(&lab, false, Sum::Zero)[34..]);
    assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::NoRoute)));
    let mut other = udp((a().mac, a().v4), (lab.router_mac(), ip("10.0.1.1")), 30);
    assert_eq!(lab.port(A, &mut other), Verdict::Reply(Some(Reason::GatewayClosed)), "port 80");
}

#[test]
fn questions_of_one_container_are_limited() {
    let mut lab = Lab::closed();
    let mut verdicts = Vec::new();
    for _ in 0..1100 {
        let mut frame = question(&lab, false, Sum::Zero);
        verdicts.push(lab.port(A, &mut frame));
    }
    let asked = verdicts.iter().filter(|v| **v == Verdict::Question).count();
    assert_eq!(asked, 1000, "the burst");
    assert_eq!(verdicts[1099], Verdict::Drop(Reason::QuestionRate));
}
