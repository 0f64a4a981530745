use super::*;

fn down() -> Service {
    Service::of(&[remote()]).standing(remote(), Standing::Unhealthy)
}

#[test]
fn a_segment_of_no_connection_is_reset() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let data = Seg { flags: flag::ACK | flag::FIN, ..DATA };
        let no_ack = Seg { flags: flag::FIN, ..DATA };
        let odd = Seg { flags: flag::SYN | flag::FIN, ..DATA };
        for (seg, flags, sequence, ack) in [
            (data, RST, 5000, 0),
            (no_ack, RST_ACK, 0, 1009),
            (odd, RST_ACK, 0, 1010),
            (SYN_ACK, RST, 1000, 0),
        ] {
            let (verdict, _) = send(&mut lab, family, 40_000, seg);
            assert_eq!(verdict, Verdict::Reply(Some(Reason::NoFlow)));
            let reply = lab.switch.reply();
            assert_eq!(addressed(reply), (vip(&lab, family), client(family)));
            let want = Read { ports: (80, 40_000), flags, sequence, ack };
            assert_eq!(read(reply), want);
        }
        let rst = Seg { flags: RST_ACK, ..DATA };
        assert_eq!(send(&mut lab, family, 40_000, rst).0, Verdict::Drop(Reason::NoFlow));
    }
}

#[test]
fn resets_are_limited_for_each_port() {
    let mut lab = down().lab();
    let answered = Verdict::Reply(Some(Reason::NoBackend));
    for port in 1..=1000 {
        assert_eq!(send(&mut lab, Family::V4, port, SYN).0, answered);
    }
    assert_eq!(send(&mut lab, Family::V4, 2000, SYN).0, Verdict::Drop(Reason::NoBackend));
    let to = vip(&lab, Family::V4);
    let mut other = tcp((b().mac, b().v4), to, (1, 80), SYN);
    assert_eq!(lab.port(B, &mut other), answered);
}

#[test]
fn without_a_backend_clients_are_told_at_once() {
    for family in FAMILIES {
        for service in [down(), Service::of(&[]), Service::of(&[stranger()])] {
            let mut lab = service.lab();
            let verdict = send(&mut lab, family, 40_000, SYN).0;
            assert_eq!(verdict, Verdict::Reply(Some(Reason::NoBackend)));
            let want = Read { ports: (80, 40_000), flags: RST_ACK, sequence: 0, ack: 1000 };
            assert_eq!(read(lab.switch.reply()), want);

            let (verdict, frame) = ask(&mut lab, family, 40_000);
            assert_eq!(verdict, Verdict::Reply(Some(Reason::NoBackend)));
            let reply = lab.reply();
            assert_eq!(reply.kind, if family == Family::V4 { (3, 3) } else { (1, 4) });
            assert_eq!(reply.body, frame[View::L3..], "it quotes what was sent");
            assert_eq!(lab.switch.flow_stats().made, 0);
        }
    }
}

#[test]
fn other_transports_are_refused() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let mut frame = packet(client(family), vip(&lab, family), 47, 64, &[0; 40]);
        assert_eq!(lab.port(A, &mut frame), Verdict::Reply(Some(Reason::VipTransport)));
    }
}

#[test]
fn port_0_and_headers_cut_short_are_dropped() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let (client, vip) = (client(family), vip(&lab, family));
        for ports in [(0, 80), (40_000, 0), (0, 0)] {
            for mut frame in [tcp(client, vip, ports, SYN), datagram(client, vip, ports, b"")] {
                assert_eq!(lab.port(A, &mut frame), Verdict::Drop(Reason::PortZero));
            }
        }
        let mut short = packet(client, vip, 132, 64, &[0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(lab.port(A, &mut short), Verdict::Drop(Reason::Malformed));
    }
}
