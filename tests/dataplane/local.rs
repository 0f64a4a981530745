//! Frames that never leave their host.

use super::*;

/// A host with two containers.
struct Local {
    // First: it is to end before its namespace does.
    plane: Dataplane,
    containers: [Container; 2],
    _events: Receiver<Event>,
    _host: Netns,
}

impl Local {
    fn new(kinds: [Kind; 2]) -> Local {
        let host = Netns::new("host");
        let vtep = IpAddr::from([127, 0, 0, 1]);
        let containers = [Container::new(2), Container::new(3)];
        let ports = vec![containers[0].port(0), containers[1].port(1)];
        let plan = plan(vtep, Spec { mtu: 1450, ports, ..Spec::default() });
        let (plane, events) = start(&host, vtep, true, Suite::ChaCha20Poly1305, plan);
        for ((container, kind), id) in containers.iter().zip(kinds).zip(0..) {
            plane.add_port(PortId(id), container.tap(kind, 1450));
        }
        Local { plane, containers, _events: events, _host: host }
    }
}

#[test]
fn two_containers_of_one_host_exchange_whole_super_frames() {
    if !able() {
        return;
    }
    for kinds in [[Kind::Fast, Kind::Fast], [Kind::Fast, Kind::Plain]] {
        let Local { plane, containers: [a, b], .. } = &Local::new(kinds);
        a.netns.ping(b.v6);
        transfer(&a.netns, &b.netns, b.v4, BULK);
        transfer(&b.netns, &a.netns, a.v6, BULK);
        let counters = plane.counters();
        assert_eq!(counters.get("udp_sends"), 0);
        let supers = counters.get("tap_super_writes");
        if kinds[1] == Kind::Fast {
            let mean = counters.get("tap_super_write_bytes") / supers.max(1);
            assert!(mean > 20_000, "bytes per super-frame written: {mean}");
        } else {
            assert!(supers > 0, "what a plain TAP sends in pieces is joined for a fast one");
        }
    }
}

/// How many there are together depends on how busy the machine is; what arrives does not.
#[test]
fn small_datagrams_between_two_containers_of_one_host_are_joined_on_their_way() {
    if !able() {
        return;
    }
    let Local { plane, containers: [a, b], .. } = &Local::new([Kind::Fast, Kind::Fast]);
    let joined = || plane.counters().get("tap_super_writes");
    for to in [b.v4, b.v6] {
        // While a kernel looks for a neighbour it may send in another order itself.
        a.netns.ping(to);
        let receiver = b.netns.run(move || UdpSocket::bind(SocketAddr::new(to, 0)).unwrap());
        receiver.set_read_timeout(Some(SOON)).unwrap();
        let at = receiver.local_addr().unwrap();
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let sender = a.netns.run(move || UdpSocket::bind(any).unwrap());
        sender.connect(at).unwrap();
        let (mut sent, before) = (0, joined());
        wait_until("some are joined", || {
            let train = sent..sent + 50;
            for n in train.clone() {
                sender.send(&pattern(n)).unwrap();
            }
            for n in train {
                let mut datagram = [0; 9];
                assert_eq!(receiver.recv(&mut datagram).unwrap(), 8);
                assert_eq!(datagram[..8], pattern(n));
            }
            sent += 50;
            joined() > before
        });
    }
    assert_eq!(plane.counters().get("udp_sends"), 0);
}
