use super::*;
use crate::wire::vnet;

const BOTH: [fn(Host) -> IpAddr; 2] = [|host| host.v4, |host| host.v6];
const NARROW: u16 = 1350;

/// The way to `member()` is narrower than the network.
fn lab() -> Lab {
    Lab::new(Spec { narrow: vec![(member(), NARROW)], ..spec() })
}

/// A SYN that announces 1,410 bytes, with a checksum that is complete or partial.
fn syn(from: (Mac, IpAddr), to: (Mac, IpAddr), complete: bool) -> (Vec<u8>, Offload) {
    let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 1, 0, 0, 0, 0, 0];
    tcp.extend([2, 4, 0x05, 0x82]);
    let mut frame = packet(from, to, protocol::TCP, 64, &tcp);
    let view = View::parse(&frame).unwrap();
    let sum = checksum::pseudo_header(view.addresses(&frame), protocol::TCP, tcp.len());
    frame[view.l4 + 16..view.l4 + 18].copy_from_slice(&checksum::fold(sum).to_be_bytes());
    let offload = Offload::partial(Kind::Tcp, &view);
    if !complete {
        return (frame, offload);
    }
    let end = frame.len();
    vnet::complete(&mut frame, offload.checksum.unwrap(), end);
    (frame, Offload::NONE)
}

/// The segment size that a SYN announces, its checksum being right in the end.
fn announced(mut frame: Vec<u8>, offload: Offload) -> u16 {
    let view = View::parse(&frame).unwrap();
    if let Some(partial) = offload.checksum {
        vnet::complete(&mut frame, partial, view.end);
    }
    let tcp = &frame[view.l4..];
    let pseudo = checksum::pseudo_header(view.addresses(&frame), protocol::TCP, tcp.len());
    assert_eq!(checksum::fold(pseudo + checksum::sum(tcp)), 0xffff);
    u16::from_be_bytes([frame[view.l4 + 22], frame[view.l4 + 23]])
}

#[test]
fn what_does_not_fit_a_narrow_path_is_answered() {
    for (ip, header) in BOTH.into_iter().zip([20, 40]) {
        let mtu = usize::from(NARROW);
        let from = (a().mac, ip(a()));
        for (to, from_there) in [
            ((remote().mac, ip(remote())), Verdict::To(Target::Vtep(member()))),
            ((lab().router_mac(), ip(remote())), Verdict::To(Target::Vtep(member()))),
        ] {
            let mut lab = lab();
            assert_eq!(lab.port(A, &mut udp(from, to, mtu - header)), from_there);
            let long = udp(from, to, mtu - header + 1);
            assert_eq!(lab.port(A, &mut long.clone()), Verdict::Reply(Some(Reason::TooBig)));
            assert_eq!(lab.reply().rest, u32::from(NARROW).to_be_bytes());
            assert_eq!(lab.reply().view.dst, a().mac);

            let big = udp(from, to, 8 + 40_000);
            let segment = (mtu - header - 8) as u16;
            assert_eq!(lab.offloaded(A, &mut big.clone(), gso(&big, segment)), from_there);
            let verdict = lab.offloaded(A, &mut big.clone(), gso(&big, segment + 1));
            assert_eq!(verdict, Verdict::Reply(Some(Reason::TooBig)));
        }
        let wide = (remote2().mac, ip(remote2()));
        let verdict = lab().port(A, &mut udp(from, wide, usize::from(MTU) - header));
        assert_eq!(verdict, Verdict::To(Target::Vtep(member2())), "the other path is wide");
    }
}

#[test]
fn connections_over_a_narrow_path_hear_of_it() {
    for (ip, size) in BOTH.into_iter().zip([1310, 1290]) {
        for complete in [true, false] {
            let here = (a().mac, ip(a()));
            let router = lab().router_mac();
            for (to, size) in [
                ((remote().mac, ip(remote())), size),
                ((router, ip(remote())), size),
                ((remote2().mac, ip(remote2())), 1410),
                ((b().mac, ip(b())), 1410),
            ] {
                let (mut frame, offload) = syn(here, to, complete);
                let verdict = lab().offloaded(A, &mut frame, offload);
                assert!(matches!(verdict, Verdict::To(_)));
                assert_eq!(announced(frame, offload), size, "to {to:?}, complete: {complete}");
            }
            for (from, vtep, size) in [(remote(), member(), size), (remote2(), member2(), 1410)] {
                let (mut frame, offload) = syn((from.mac, ip(from)), here, complete);
                assert_eq!(lab().vtep(vtep, &mut frame), Verdict::To(Target::Port(A)));
                assert_eq!(announced(frame, offload), size, "from {from:?}, {complete}");
            }
        }
    }
}
