//! Writes the seed corpus, `fuzz/seeds/<target>/`: good frames of every kind, in
//! the form that each target reads. Run in `fuzz/`: `cargo run --example seeds`.

use std::{fs, io};

use vxmesh::core::cluster::entry::{
    Body, Entry, Key, Member, NodeId, Realm, Secret, Space, Version,
};
use vxmesh::core::cluster::holding::{Range, Want};
use vxmesh::core::cluster::rpc::Request;
use vxmesh::core::cluster::secret::identity::Identity;
use vxmesh::core::cluster::secret::introduction;
use vxmesh::core::cluster::secret::noise::{self, Handshake};
use vxmesh::core::cluster::secret::token::{Tag, Token};
use vxmesh::core::seal::cipher::{Backend, Suite};
use vxmesh::core::seal::lane::{LANES, Sender};
use vxmesh::wire::frame::View;
use vxmesh::wire::sealed::{HEADROOM, Header, TAG};
use vxmesh::wire::vnet::{Kind, Offload};
use vxmesh::wire::vxlan::{Vni, header};
use vxmesh_fuzz::testing::{Packet, Sum, flag};
use zeroize::Zeroizing;

fn main() -> io::Result<()> {
    for (name, packet) in packets() {
        let frame = packet.build(Sum::Complete);
        let write = |target: &str, before: &[u8]| seed(target, name, &[before, &frame].concat());
        write("frame", &[])?;
        write("vxlan", &header(Vni::new(4_096).expect("fits")))?;
        write("split", &[0, 10])?;
        write("ecn", &[3])?;
        write("adopt", &[0, 70, 0, 5, 2])?;
        write("mss", &[4, 0, 2])?;
        write("vnet", &virtio(&packet))?;

        let first = [&[0, frame.len() as u8], &frame[..]].concat();
        // Two in sequence, one with another TTL, two more, one shorter.
        let ttl = if packet.v6 { 21 } else { 22 };
        let rest = [1, 0, 1, 0, 1, 2, ttl, 7, 1, 0, 1, 0, 5, 0];
        seed("coalesce", name, &[&first[..], &rest].concat())?;
    }
    seed("mss", "syn", &[&[4, 0, 2], &syn().build(Sum::Complete)[..]].concat())?;
    seed("frame", "arp", &arp())?;
    names()?;
    balance()?;
    sealed()?;
    seals()?;
    cluster()
}

/// Connections through virtual IPs and what may happen to them.
fn balance() -> io::Result<()> {
    // From container 0 to the first service, port 1000 to 80: SYN, its answer by each
    // of the others, data, FIN from both.
    let syn = [0, 2, 0x06];
    let answers: Vec<u8> = (1..4).flat_map(|from| [3, 2 | from << 2, 0x39]).collect();
    let (data, fin) = ([0, 2, 0x26], [0, 2, 0x46]);
    let fins: Vec<u8> = (1..4).flat_map(|from| [3, 2 | from << 2, 0x49]).collect();
    let whole = [&syn[..], &answers, &data, &fin, &fins].concat();
    let (asks, settle) = ([0, 1, 0x06], [7, 2, 0]);
    // Every backend of the first service gone, then restored one by one.
    let gone: Vec<u8> = (0..4).flat_map(|n| [6, n << 1, 7]).collect();
    let back: Vec<u8> = (0..4).flat_map(|n| [6, n << 1, 0x10]).collect();
    for (scheduler, name) in [(0, "turns"), (1, "maglev"), (2, "least")] {
        let first = [scheduler];
        let write = |what: &str, steps: &[&[u8]]| {
            let steps = [&[&first[..]], steps].concat().concat();
            seed("balance", &format!("{name}-{what}"), &steps)
        };
        write("connection", &[&whole])?;
        write("gone", &[&syn, &answers, &data, &gone, &settle, &data, &back, &syn])?;
        write("datagrams", &[&asks, &asks, &gone, &asks, &back, &asks, &[5, 4, 0], &asks])?;
        write("restart", &[&syn, &answers, &data, &[7, 0, 0], &gone, &data, &back, &data])?;
        write("condemned", &[&syn, &answers, &data, &[7, 1, 0], &[7, 1, 4], &[7, 1, 6]])?;
        write("again", &[&whole, &syn, &[5, 3, 0], &syn, &settle])?;
    }
    Ok(())
}

/// Questions over UDP, each with an OPT record.
fn names() -> io::Result<()> {
    let arpa = "2.0.1.10.in-addr.arpa";
    for (name, kind, of) in
        [("alias", 1, "Api.web"), ("pointer", 12, arpa), ("any", 255, "box"), ("other", 28, "a.b")]
    {
        let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        let labels = of.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat());
        let name_and_type: Vec<u8> = labels.chain([0, 0, kind, 0, 1]).collect();
        let opt = [0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0];
        seed("names", name, &[&[0], &header[..], &name_and_type, &opt].concat())?;
    }
    Ok(())
}

/// Frames, and datagrams that a peer of the target's sealed, for each of its ciphers.
fn sealed() -> io::Result<()> {
    let suites = [
        ("chacha-to-ring", 0, Suite::ChaCha20Poly1305),
        ("chacha-from-ring", 1, Suite::ChaCha20Poly1305),
        ("aes", 2, Suite::Aes256Gcm),
    ];
    for (name, which, suite) in suites {
        let write = |kind: &str, bytes: &[u8]| {
            seed("sealed", &format!("{name}-{kind}"), &[&[which, 1, 9][..], bytes].concat())
        };
        let secret = Zeroizing::new([7; 32]);
        let mut peer = Sender::new(Backend::Ring, suite, &secret, 0, 3).expect("it has both");
        let life = peer.sign_of_life().expect("the first");
        let mut datagram = [&[0; HEADROOM][..], &arp(), &[0; TAG]].concat();
        peer.seal(Vni::new(4_096).expect("fits"), &mut datagram).expect("the second");
        write("frame", &arp())?;
        write("empty", &[])?;
        write("life", &life)?;
        write("sealed", &datagram)?;
        datagram[1] = LANES;
        write("lane", &datagram)?;
        write("late", &late(suite))?;
    }
    Ok(())
}

/// A sign of life with the first counter that is too high.
fn late(suite: Suite) -> Vec<u8> {
    // Lane 0 of the secret above.
    const KEY: [u8; 32] = [
        0x6e, 0xec, 0x7f, 0x3c, 0xf0, 0x8d, 0xd7, 0x90, 0x12, 0x27, 0x77, 0x4f, 0x70, 0x1b, 0x02,
        0x47, 0x3e, 0x34, 0x92, 0xc6, 0x7d, 0xda, 0x84, 0xd8, 0x6c, 0xd6, 0x5b, 0x80, 0xf2, 0x18,
        0xbe, 0xb0,
    ];
    let key = Backend::Ring.maker(suite).expect("it has both")(&Zeroizing::new(KEY));
    let header = Header { lane: 0, index: 3, counter: suite.reject_after() };
    let tag = key.seal(header.counter, &header.bytes(), &mut []);
    [&header.bytes()[..], &tag].concat()
}

/// What the targets of sealed sessions read.
fn seals() -> io::Result<()> {
    for (name, far) in [("initiation", 0), ("response", 1), ("session", 3)] {
        seed("handshake", name, &[far, 0, 40, 0, 1])?;
        seed("handshake", &format!("{name}-cut"), &[far, 1, 0, 60, 0])?;
    }
    let data = [&[4, 0, 0, 0, 0, 4, 0][..], &[9; 40]].concat();
    seed("handshake", "data", &data)?;
    let (up, talk, rekey) = ([7, 100, 10, 50], [0, 0, 1, 0, 2, 0, 2, 0], [8, 125, 2, 0, 3, 1]);
    seed("seal_pair", "rekey", &[&up[..], &talk, &rekey, &talk, &[10, 9]].concat())?;
    seed("seal_pair", "restart", &[&up[..], &talk, &[9, 0, 7, 200, 4, 0, 8, 3], &talk].concat())?;
    seed("seal_pair", "replay", &[&up[..], &talk, &[5, 0, 5, 1, 6, 2, 8, 190, 5, 3]].concat())
}

/// What the targets of control traffic read, under the keys that they have.
fn cluster() -> io::Result<()> {
    let (me, peer) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let token = Token::new([7; 32], Tag(*b"mesh1"));
    seed("token", "good", token.reveal().as_bytes())?;
    seed("token", "capitals", token.reveal().to_uppercase().as_bytes())?;
    seed("token", "short", &token.reveal().as_bytes()[..40])?;

    let seeds = &[11; 32];
    let to = peer.exchange_public();
    let member = Handshake::initiate_member(&me, &to, token.tag(), seeds).write();
    let join = Handshake::initiate_join(&me, &token, seeds).write();
    for (name, kind, first) in
        [("member", noise::Kind::Member, member), ("join", noise::Kind::Join, join)]
    {
        seed("stream", name, &[&[kind as u8], &first.expect("the first")[..]].concat())?;
    }
    seed("stream", "frames", &[&[0, 0, 17][..], &[9; 17], &[0, 18], &[9; 18]].concat())?;
    seed("envelope", "text", b"\x01\x02a datagram of some bytes")?;
    seed("envelope", "stranger", &[&[1, 0, 0, 0, 7][..], &[9; 72]].concat())?;

    let ask = |request: &Request| postcard::to_stdvec(request).expect("it is of known length");
    let range = Range { first: 4096, last: 4096 };
    // Whom a member of the target's cluster has admitted.
    let newcomer = Identity::from_seed(&[3; 32]);
    let admitted = Body::Member(Member::Admitted { exchange: newcomer.exchange_public() });
    let admitted = peer.sign_entry(Key::Member(newcomer.id()), Version(7), Some(admitted));
    let introduction = Request::Introduction(vec![admitted]);
    for (name, request) in [
        ("ping", Request::Ping),
        ("digests", Request::Digests { realms: vec![(Realm::Cluster, 7)], behind: None }),
        (
            "share",
            Request::Share { space: Space::Vni, want: Want::Exactly(range), entries: Vec::new() },
        ),
        ("estate", Request::Estate(vec![NodeId([9; 32])], Vec::new())),
        ("introduction", introduction.clone()),
    ] {
        seed("machine", name, &[&[1], &ask(&request)[..]].concat())?;
    }
    let sealed = introduction::seal(&newcomer, &to, token.tag(), &ask(&introduction), seeds);
    let sealed = sealed.expect("it is short, and the key is one");
    seed("stream", "introduction", &[&[noise::Kind::Introduction as u8], &sealed[..]].concat())?;
    seed("machine", "swim", &[0, 0, 3, 1, 2, 3])?;
    seed("machine", "news", &[0, 1, 0])?;

    for (name, entry) in entries(&me) {
        seed("entry", name, &postcard::to_stdvec(&entry).expect("it is of known length"))?;
    }
    Ok(())
}

fn entries(me: &Identity) -> Vec<(&'static str, Entry)> {
    let id = me.id();
    let admitted = Member::Admitted { exchange: me.exchange_public() };
    let removed = Member::Removed { heir: id, exchange: [1; 32], kept: [id.brief()].into() };
    let ring = Body::Secret(Secret([42; 32]));
    let sign = |key, body| me.sign_entry(key, Version(3), body);
    vec![
        ("admitted", sign(Key::Member(id), Some(Body::Member(admitted)))),
        ("removed", sign(Key::Member(NodeId([9; 32])), Some(Body::Member(removed)))),
        ("secret", sign(Key::Secret(7), Some(ring))),
        ("deleted", sign(Key::Endpoint(id, [4; 32], [5; 32]), None)),
    ]
}

fn packets() -> Vec<(&'static str, Packet)> {
    let options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let flags = flag::ACK | flag::CWR | flag::PSH;
    let tcp = Packet { options, tos: 2, ..Packet::tcp(b"a payload of some bytes") };
    let udp = Packet::udp(b"a payload of some bytes");
    let v6 = |packet: &Packet| Packet { v6: true, ..packet.clone() };
    vec![
        ("tcp6", v6(&tcp)),
        ("tcp6-extensions", Packet { extras: 2, ..v6(&tcp) }),
        ("tcp4-flags", Packet { flags, ..tcp.clone() }),
        ("tcp4", tcp),
        ("udp6", v6(&udp)),
        ("udp4-options", Packet { extras: 2, padding: 4, ..udp.clone() }),
        ("udp4", udp),
    ]
}

/// With its segment size at an odd place.
fn syn() -> Packet {
    let options = vec![1, 2, 4, 5, 0xb4, 4, 2, 0];
    Packet { flags: flag::SYN, options, ..Packet::tcp(b"") }
}

/// The virtio header of a super-frame.
fn virtio(packet: &Packet) -> [u8; 10] {
    let view = View::parse(&packet.build(Sum::Partial)).expect("a frame");
    let kind = if packet.udp { Kind::Udp } else { Kind::Tcp };
    Offload::super_frame(kind, 5, &view).header(&view).to_bytes()
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 42];
    frame[6..22].copy_from_slice(&[2, 66, 10, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = format!("seeds/{target}");
    fs::create_dir_all(&folder)?;
    fs::write(format!("{folder}/{name}"), bytes)
}
