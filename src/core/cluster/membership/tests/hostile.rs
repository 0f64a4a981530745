//! Bytes from members that are broken or lie.

use foca::{Header, Member, Message, State};
use proptest::prelude::*;

use super::super::packet::Packet;
use super::super::{Membership, Output, Peer, Settings};
use super::sim::{id, ms, peer};

/// Host 0, which knows host 1 and has admitted host 2.
fn host() -> Membership {
    let mut host = Membership::new(peer(0, 5), Settings::default(), [0; 32]);
    host.admit(id(1));
    host.admit(id(2));
    host.datagram(ms(0), &packet(peer(1, 0), Message::Announce, Vec::new()));
    while host.output().is_some() {}
    host
}

fn packet(src: Peer, message: Message<Peer>, news: Vec<Member<Peer>>) -> Vec<u8> {
    let header = Header { src, src_incarnation: 0, dst: peer(0, 5), message };
    Packet { header, news }.encode()
}

fn gossip(news: Vec<Member<Peer>>) -> Vec<u8> {
    packet(peer(1, 0), Message::Gossip, news)
}

fn records(host: &Membership) -> Vec<Member<Peer>> {
    host.foca.iter_membership_state().cloned().collect()
}

fn refuses(bytes: &[u8]) {
    let mut host = host();
    let before = (records(&host), host.refused());
    host.datagram(ms(1), bytes);
    assert_eq!((records(&host), host.refused()), (before.0, before.1 + 1), "{bytes:?}");
    assert_eq!(host.output(), None, "{bytes:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_change_nothing(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        refuses(&bytes);
    }

    #[test]
    fn damaged_packets_do_not_panic(at in 0usize..250, value: u8, cut in 0usize..250) {
        let members = (2..5).map(|n| Member::alive(peer(n, 0))).collect();
        let mut bytes = gossip(members);
        bytes.truncate(bytes.len().min(cut.max(1)));
        let at = at % bytes.len();
        bytes[at] = value;
        let mut host = host();
        host.datagram(ms(1), &bytes);
        prop_assert!(records(&host).len() <= 2);
        while host.output().is_some() {}
        host.tick(ms(5_000));
    }

    #[test]
    fn packets_survive_the_wire(generation: u64, v6: u128, number: u8, count in 0usize..9) {
        let control = std::net::SocketAddr::from((v6.to_be_bytes(), 7946));
        let who = Peer { control, ..peer(3, generation) };
        let news = vec![Member::new(who, 7, State::Suspect); count];
        let message = Message::PingReq { target: who, probe_number: number };
        let header = Header { src: peer(1, 0), src_incarnation: 3, dst: who, message };
        let packet = Packet { header, news };
        prop_assert_eq!(Packet::decode(&packet.encode()), Some(packet));
    }
}

#[test]
fn what_is_not_exactly_a_packet_is_refused() {
    let good = gossip(vec![Member::alive(peer(2, 0))]);
    for cut in 0..good.len() {
        refuses(&good[..cut]);
    }
    refuses(&[&good[..], &[0]].concat());
    refuses(&[&good[..], &[0; 1200]].concat());
    refuses(&packet(peer(9, 0), Message::Announce, Vec::new()));
    refuses(&packet(peer(0, 5), Message::Announce, Vec::new()));
    refuses(&packet(peer(1, 1 << 40), Message::Announce, Vec::new()));
    let target = peer(9, 0);
    refuses(&packet(peer(1, 0), Message::PingReq { target, probe_number: 1 }, Vec::new()));
    let elsewhere =
        Header { src: peer(1, 0), src_incarnation: 0, dst: peer(2, 0), message: Message::Announce };
    refuses(&Packet { header: elsewhere, news: Vec::new() }.encode());
}

#[test]
fn a_flood_of_strangers_leaves_no_trace() {
    let mut host = host();
    let before = host.refused();
    for batch in 0..2_000u64 {
        let news = (0..20).map(|n| Member::alive(peer(100 + 20 * (batch as usize) + n, batch)));
        host.datagram(ms(batch), &gossip(news.collect()));
    }
    assert_eq!(records(&host).len(), 1);
    assert_eq!(host.foca.updates_backlog(), 1);
    assert_eq!(host.refused() - before, 40_000);
    assert_eq!(std::iter::from_fn(|| host.output()).count(), 0);
}

#[test]
fn a_forged_generation_cannot_be_the_last() {
    let mut host = host();
    for generation in [u64::MAX, u64::MAX - 1, 1 << 33] {
        host.datagram(ms(1), &gossip(vec![Member::down(peer(2, generation))]));
        host.datagram(ms(1), &gossip(vec![Member::down(peer(0, generation))]));
    }
    assert_eq!(host.me().generation, 5);
    assert_eq!(records(&host).len(), 1);
    // One that could be its own is outdone.
    host.datagram(ms(1), &gossip(vec![Member::down(peer(0, 1 << 20))]));
    assert_eq!(host.me().generation, (1 << 20) + 1);
    assert!(host.is_up(&id(1)));
}

#[test]
fn a_million_deaths_of_this_host_leave_its_memory_bounded() {
    let mut host = host();
    for n in 0..20_000 {
        let me = *host.me();
        let header =
            Header { src: peer(1, 0), src_incarnation: 0, dst: me, message: Message::TurnUndead };
        host.datagram(ms(n), &Packet { header, news: Vec::new() }.encode());
        while let Some(output) = host.output() {
            assert!(matches!(output, Output::Datagram { .. }), "{output:?}");
        }
    }
    assert_eq!(host.me().generation, 20_005);
    assert_eq!(records(&host).len(), 1);
    assert!(host.foca.updates_backlog() <= 2);
}
