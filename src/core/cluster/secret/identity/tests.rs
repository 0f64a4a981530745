use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::super::testing::{assert_hidden, identity};
use super::{Identity, verify};
use crate::core::cluster::entry::{
    Body, EndpointBody, Entry, Key, Member, Node, NodeId, Secret, Space, Version,
};
use crate::core::cluster::holding::Holding;
use crate::core::tables::{Id, Network};
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

fn entries() -> Vec<Entry> {
    let me = identity(1);
    let id = me.id();
    let network = Network {
        id: Id::new([4; 32]),
        name: "blue".into(),
        created: "2024-05-01T00:00:00Z".into(),
        vni: Vni::new(4_096).unwrap(),
        mtu: Some(1_400),
        pools: Vec::new(),
        internal: false,
        options: [("encrypted".to_owned(), String::new())].into(),
        labels: Default::default(),
    };
    let node = Node {
        name: "a".into(),
        vtep: Ipv4Addr::LOCALHOST.into(),
        control: "[::1]:7946".parse().unwrap(),
        mtu: 1_500,
        program: "0.1.0".into(),
        floor: Version(3),
        exchange: [0; 32],
        renounced: [(NodeId([7; 32]), NodeId([8; 32]))].into(),
    };
    let endpoint = EndpointBody {
        name: "web".into(),
        mac: Mac([2, 66, 10, 0, 0, 2]),
        addresses: vec![IpAddr::from([10, 0, 0, 2])],
        aliases: vec!["www".into()],
        service: None,
        created: "2024-05-01T00:00:00Z".into(),
    };
    let admitted = Member::Admitted { exchange: me.exchange_public() };
    vec![
        (Key::Member(id), Some(Body::Member(admitted))),
        (
            Key::Member(NodeId([9; 32])),
            Some(Body::Member(Member::Removed {
                heir: id,
                exchange: [1; 32],
                kept: Default::default(),
            })),
        ),
        (Key::Secret(7), Some(Body::Secret(Secret([5; 32])))),
        (Key::Node(id), Some(Body::Node(node))),
        (Key::Network([4; 32]), Some(Body::Network(network))),
        (Key::Holding(id, Space::Ipv6), Some(Body::Holding(Holding::default()))),
        (Key::Endpoint(id, [4; 32], [6; 32]), Some(Body::Endpoint(endpoint))),
        (Key::Endpoint(id, [4; 32], [7; 32]), None),
    ]
    .into_iter()
    .map(|(key, body)| me.sign_entry(key, Version(12), body))
    .collect()
}

#[test]
fn every_kind_of_entry_survives_the_wire_and_verifies() {
    for entry in entries() {
        let bytes = postcard::to_stdvec(&entry).unwrap();
        let read: Entry = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read, entry);
        assert!(verify(&read), "{:?}", read.key);
    }
}

#[test]
fn nothing_in_an_entry_can_be_changed() {
    let entry = entries().remove(0);
    let other = entries().remove(1);
    assert!(!verify(&Entry { key: other.key, ..entry.clone() }));
    assert!(!verify(&Entry { body: other.body, ..entry.clone() }));
    assert!(!verify(&Entry { body: None, ..entry.clone() }));
    assert!(!verify(&Entry { version: Version(13), ..entry.clone() }));
    assert!(!verify(&Entry { author: identity(2).id(), ..entry.clone() }));
}

#[test]
fn an_author_of_small_order_signs_nothing() {
    // The neutral point signs everything with R = the neutral point and S = 0,
    // for those who do not look closely.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let entry = entries().remove(0);
    assert!(!verify(&Entry { author: NodeId(neutral), signature, ..entry }));
}

#[test]
fn a_seed_makes_one_identity_and_its_keys_differ() {
    assert_eq!(identity(1).id(), identity(1).id());
    assert_eq!(identity(1).exchange_public(), identity(1).exchange_public());
    assert_ne!(identity(1).id(), identity(2).id());
    assert_ne!(identity(1).exchange_public(), identity(2).exchange_public());
    assert_ne!(identity(1).id().0, identity(1).exchange_public());
}

#[test]
fn debug_hides_the_keys() {
    let seed: [u8; 32] = std::array::from_fn(|n| 200 - n as u8);
    let identity = Identity::from_seed(&seed);
    let printed = format!("{identity:?} {identity:#?}");
    assert_hidden(&printed, &seed);
    assert_hidden(&printed, identity.signing.as_bytes());
    assert_hidden(&printed, identity.exchange().as_bytes());
    assert_eq!(format!("{:?}", Secret(seed)), "Secret(..)");
}

proptest! {
    #[test]
    fn a_flipped_bit_is_found(which in 0usize..8, at: prop::sample::Index, bit in 0u8..8) {
        let entry = entries().remove(which);
        let mut bytes = postcard::to_stdvec(&entry).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Some do not decode, some decode as the same: neither is a forgery.
        if let Ok(read) = postcard::from_bytes::<Entry>(&bytes) && read != entry {
            prop_assert!(!verify(&read));
        }
    }
}
