//! Who belongs, and who does not any more.

use super::*;
use crate::core::tables::Service;

#[test]
fn removal_wins_over_any_later_admission_and_sweeps() {
    let mut replicas = cluster(3);
    for (what, value) in [(3, Some(1)), (6, Some(1)), (0, Some(1))] {
        write(&mut replicas[2], 3, what, value);
    }
    let of_third = all(&replicas[2]);
    let count = |r: &Replica| r.entries().filter(|e| e.key.owner() == Some(id(3))).count();
    for replica in &mut replicas[..2] {
        replica.accept(id(3), of_third.clone());
        assert_eq!(count(replica), 3);
    }
    let kept = [brief(&[1; 32])].into();
    let gone = Member::Removed { heir: id(1), exchange: [0; 32], kept };
    replicas[0].write(Key::Member(id(3)), Some(Body::Member(gone)));
    // Host 2 has not heard of it, and writes a newer admission.
    replicas[1].write(Key::Token, Some(Body::Secret(Secret([1; 32]))));
    for name in ["a", "b"] {
        replicas[1].write(Key::Network([7; 32]), Some(network(7, name)));
    }
    let late = Body::Member(Member::Admitted { exchange: [5; 32] });
    replicas[1].write(Key::Member(id(3)), Some(late));
    let (first, second) = pair(&mut replicas, 0, 1).unwrap();
    let newer = second.entry(&Key::Member(id(3))).unwrap().version;
    assert!(first.entry(&Key::Member(id(3))).unwrap().version < newer);
    sync(second, first);
    sync(first, second);
    for replica in [first, second] {
        assert!(replica.is_removed(&id(3)) && count(replica) == 0);
        assert_eq!(replica.accept(id(2), of_third.clone()), 0, "does not come back");
        assert!(replica.refused().is_empty(), "that is nobody's fault");
        assert!(
            replica.get(&Key::Network([1; 32])).is_some(),
            "a network that the removal names stays"
        );
    }
    assert_eq!(digests(&replicas[0]), digests(&replicas[1]));
}

#[test]
fn a_removal_reaches_who_asks_and_who_is_asked() {
    for asker in [0, 1] {
        let mut replicas = cluster(2);
        replicas[0].write(Key::Member(id(9)), Some(removed(1)));
        let newer = identity(2).sign_entry(Key::Member(id(9)), Version(99), Some(admitted(9)));
        replicas[1].accept(id(2), vec![newer]);
        let (a, b) = pair(&mut replicas, asker, 1 - asker).unwrap();
        sync(a, b);
        assert!(a.is_removed(&id(9)) && b.is_removed(&id(9)));
        assert_eq!(digests(a), digests(b));
    }
}

fn said_of(drain: u32) -> Body {
    Body::Service(Service { drain, ..super::services::service() })
}

/// Whatever is heard first, of what a removed node says of a service that counts which its
/// removal names.
#[test]
fn a_removal_leaves_the_records_of_services_that_it_names() {
    let key = Key::Service([9; 32]);
    let admit = identity(1).sign_entry(Key::Member(id(2)), Version(1), Some(admitted(2)));
    let said = |v| identity(2).sign_entry(key, Version(v), Some(said_of(v as u32)));
    let (kept, late) = (said(5), said(9));
    let gone = Member::Removed { heir: id(1), exchange: [0; 32], kept: [kept.brief()].into() };
    let gone = identity(1).sign_entry(Key::Member(id(2)), Version(7), Some(Body::Member(gone)));
    let deleted = identity(2).sign_entry(key, Version(11), None);
    for order in [[&kept, &late, &gone], [&gone, &late, &kept], [&late, &gone, &kept]] {
        let mut replica = cluster(1).remove(0);
        replica.accept(id(1), vec![admit.clone()]);
        for entry in order {
            replica.accept(id(1), vec![entry.clone()]);
        }
        // Who dropped the late one gets the other from somebody else.
        replica.accept(id(1), vec![kept.clone()]);
        assert_eq!(replica.entry(&key), Some(&kept));
        assert!(replica.refused().is_empty(), "{:?}", replica.refused());
        // That a service is removed is true whoever says it.
        replica.accept(id(1), vec![deleted.clone()]);
        assert_eq!(replica.entry(&key), Some(&deleted));
    }
}

proptest! {
    #[test]
    fn which_networks_stay_depends_on_no_order(order in Just((0..7).collect::<Vec<usize>>()).prop_shuffle()) {
        let admit = |n: u8, v| identity(1).sign_entry(Key::Member(id(n)), Version(v), Some(admitted(n)));
        let made = |n: u8, v| identity(2).sign_entry(Key::Network([n; 32]), Version(v), Some(network(n, "n")));
        let gone = |by: u8, n: u8, kept: &[u8], v| {
            let kept = kept.iter().map(|n| brief(&[*n; 32])).collect();
            let body = Body::Member(Member::Removed { heir: id(by), exchange: [0; 32], kept });
            identity(by).sign_entry(Key::Member(id(n)), Version(v), Some(body))
        };
        // 3 inherits from 2, which has made networks 4 to 6; and 1 from 3.
        let told = [
            admit(2, 1), admit(3, 2), made(4, 3), made(5, 4), made(6, 5),
            gone(3, 2, &[4, 5], 6), gone(1, 3, &[4, 6], 7),
        ];
        let (mut one, mut other) = (Replica::new(identity(1)), Replica::new(identity(9)));
        one.write(Key::Member(id(1)), Some(admitted(1)));
        one.write(Key::Member(id(9)), Some(admitted(9)));
        other.restore(all(&one));
        one.accept(id(9), told.to_vec());
        for i in order {
            other.accept(id(1), vec![told[i].clone()]);
        }
        sync(&mut other, &mut one);
        for replica in [&one, &other] {
            let networks = replica.live(Key::Network([0; 32])..=Key::Network([255; 32]));
            let networks: Vec<Key> = networks.map(|(key, _)| *key).collect();
            prop_assert_eq!(networks, [Key::Network([4; 32])]);
            prop_assert_eq!(replica.heir(id(2)), Some(id(1)));
        }
        prop_assert_eq!(digests(&one), digests(&other));
    }

    #[test]
    fn who_goes_with_a_removed_node_depends_on_no_order(order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle()) {
        let admit = |by: u8, n: u8, v| identity(by).sign_entry(Key::Member(id(n)), Version(v), Some(admitted(n)));
        let kept = Body::Member(Member::Removed { heir: id(1), exchange: [0; 32], kept: [id(5).brief()].into() });
        let told = [
            admit(1, 2, 1),
            admit(2, 3, 2),
            admit(3, 4, 3),
            admit(2, 5, 4),
            identity(3).sign_entry(Key::Node(id(3)), Version(5), Some(node("goes"))),
            identity(1).sign_entry(Key::Member(id(2)), Version(6), Some(kept)),
        ];
        let (mut one, mut other) = (Replica::new(identity(1)), Replica::new(identity(9)));
        one.write(Key::Member(id(1)), Some(admitted(1)));
        one.write(Key::Member(id(9)), Some(admitted(9)));
        other.restore(all(&one));
        one.accept(id(9), told.to_vec());
        // Some of it is refused where it comes before what it depends on.
        for i in order {
            other.accept(id(1), vec![told[i].clone()]);
        }
        sync(&mut other, &mut one);
        for replica in [&one, &other] {
            let members: BTreeSet<NodeId> = replica.members().map(|(id, _)| id).collect();
            prop_assert_eq!(members, [id(1), id(5), id(9)].into());
            prop_assert!([2, 3, 4].iter().all(|n| replica.is_removed(&id(*n))));
            prop_assert!(replica.node(&id(3)).is_none());
        }
        prop_assert_eq!(digests(&one), digests(&other));
    }
}
