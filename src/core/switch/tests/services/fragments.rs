use super::*;

/// A datagram in fragments, the first with its whole header.
fn pieces(family: Family, whole: &[u8], id: u16) -> Vec<Vec<u8>> {
    let view = View::parse(whole).unwrap();
    let payload = &whole[view.l4..view.end];
    let (first, second) = payload.split_at(32);
    [(first, 0u16, true), (second, 4, false)]
        .into_iter()
        .map(|(bytes, offset, more)| {
            let (from, to) = ((view.src, view.source), (view.dst, view.destination));
            if family == Family::V6 {
                let field = (offset << 3 | u16::from(more)).to_be_bytes();
                let id = id.to_be_bytes();
                let header = [view.protocol, 0, field[0], field[1], 0, 0, id[0], id[1]];
                return packet(from, to, 44, 64, &[&header, bytes].concat());
            }
            let mut frame = packet(from, to, view.protocol, 64, bytes);
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            frame[20..22].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
            frame[24..26].fill(0);
            let sum = !ones_sum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame
        })
        .collect()
}

/// The transport of a packet that is put together again.
fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    let payload = pieces.iter().flat_map(|p| p[View::parse(p).unwrap().l4..].to_vec());
    let ((src, source), (dst, destination)) = addressed(&pieces[0]);
    let protocol = View::parse(&pieces[0]).unwrap().protocol;
    packet((src, source), (dst, destination), protocol, 64, &payload.collect::<Vec<u8>>())
}

#[test]
fn fragments_follow_the_first_both_ways() {
    for family in FAMILIES {
        for write in [
            |from, to, ports| datagram(from, to, ports, &[9; 50]),
            |from, to, ports| tcp(from, to, ports, Seg { payload: &[9; 50], ..SYN }),
        ] {
            let mut lab = Service::of(&[remote()]).lab();
            let (client, vip) = (client(family), vip(&lab, family));
            let server = (remote().mac, family.of(remote()));
            let whole = summed(write(client, vip, (40_000, 80)), Sum::Complete).0;
            let mut there = pieces(family, &whole, 77);
            for piece in &mut there {
                assert_eq!(lab.port(A, piece), Verdict::To(home(remote())));
                assert_eq!(addressed(piece), (client, server));
                assert_sound_header(piece);
            }
            assert_sound(&joined(&there), Sum::Complete);

            let whole = summed(write(server, client, (80, 40_000)), Sum::Complete).0;
            let mut back = pieces(family, &whole, 78);
            for piece in &mut back {
                assert_eq!(lab.vtep(member(), piece), Verdict::To(Target::Port(A)));
                assert_eq!(addressed(piece), (vip, client));
                assert_sound_header(piece);
            }
            assert_sound(&joined(&back), Sum::Complete);
        }
    }
}

fn assert_sound_header(frame: &[u8]) {
    if frame[12] == 8 {
        assert_eq!(ones_sum(&[&frame[14..34]]), 0xffff);
    }
}

#[test]
fn a_fragment_without_its_first_is_dropped() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let (client, vip) = (client(family), vip(&lab, family));
        let lost = Verdict::Drop(Reason::LostFragment);
        let whole = datagram(client, vip, (40_000, 53), &[9; 50]);
        let of = |id| pieces(family, &whole, id);
        assert_eq!(lab.port(A, &mut of(1)[1]), lost, "before the first");
        assert_eq!(lab.port(A, &mut of(1)[0]), Verdict::To(home(remote())));
        assert_eq!(lab.port(A, &mut of(2)[1]), lost, "of another packet");
        assert_eq!(lab.port(A, &mut of(1)[1]), Verdict::To(home(remote())));
        lab.now += Duration::from_secs(31);
        assert_eq!(lab.port(A, &mut of(1)[1]), lost, "too late");
        // A reply's fragment without its first might as well be of direct traffic.
        let server = (remote().mac, family.of(remote()));
        let whole = datagram(server, client, (53, 40_000), &[9; 50]);
        let mut late = pieces(family, &whole, 9).remove(1);
        let before = late.clone();
        assert_eq!(lab.vtep(member(), &mut late), Verdict::To(Target::Port(A)));
        assert_eq!(late, before);
    }
}

#[test]
fn a_first_fragment_without_its_header_is_malformed() {
    let mut lab = Service::of(&[remote()]).lab();
    let (client, vip) = (client(Family::V4), vip(&lab, Family::V4));
    // RFC 1858: eight bytes of TCP would show the ports and hide the flags.
    let whole = tcp(client, vip, (40_000, 80), SYN);
    let mut tiny = packet(client, vip, protocol::TCP, 64, &whole[34..42]);
    tiny[20] = 0x20;
    assert_eq!(lab.port(A, &mut tiny), Verdict::Drop(Reason::Malformed));
}
