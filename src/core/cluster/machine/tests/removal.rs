//! Nodes that are taken out for good.

use super::*;

#[test]
fn a_removed_hosts_ranges_are_inherited_and_it_is_shut_out() {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[2].publish_network(now, &network(1));
    mesh.run(1000);
    // Host 1 is given a part, the answer to which gets lost with the giver.
    let want = Want::Exactly(addresses(32, 63));
    let now = mesh.now;
    let gift = mesh.hosts[2].request(now, id(1), share(POOL, want));
    mesh.hosts[1].absorb(now, id(2), gift).unwrap();
    mesh.cut.insert(2);
    mesh.run(20_000);
    assert!(!mesh.hosts[0].is_up(&id(2)));
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    let again = mesh.hosts[0].remove(now, vec![id(2)]).unwrap_err();
    assert!(again.contains("under way"), "{again}");
    mesh.run(2000);
    assert_eq!(mesh.removals, [Ok(())]);
    for n in 0..2 {
        assert!(mesh.hosts[n].replica().is_removed(&id(2)));
        assert!(mesh.owned(n, 2, POOL).is_none());
        let renounced = &mesh.hosts[n].replica().node(&id(n)).unwrap().renounced;
        assert!(renounced.is_empty(), "{renounced:?}");
    }
    assert_eq!(mesh.owned(0, 1, POOL).unwrap().ranges.count(), 32);
    assert_eq!(mesh.owned(0, 0, POOL).unwrap().ranges.count(), 224);
    assert_eq!(mesh.check(POOL), 256);
    mesh.run(20_000);
    assert_eq!(mesh.hosts[0].key_number(), 2, "the removed host knows the old key");

    // It comes back and knows nothing of all that.
    let before = mesh.digests(0);
    mesh.cut.clear();
    mesh.run(20_000);
    assert_eq!(mesh.digests(0), before);
    assert!(!mesh.hosts[0].is_up(&id(2)));
    let now = mesh.now;
    for request in [Request::Ping, mesh.hosts[2].replica().ask_digests(None)] {
        let answer = mesh.hosts[0].request(now, id(2), request);
        assert!(matches!(answer, Response::Removed(_)), "{answer:?}");
    }
    let own = mesh.hosts[2].replica().entry(&Key::Node(id(2))).cloned();
    let join = Request::Join { exchange: [1; 32], entries: own.into_iter().collect() };
    let Response::Refused(why) = mesh.hosts[0].admit(now, id(2), join) else { panic!() };
    assert!(why.contains("fresh data directory"), "{why}");
}

#[test]
fn a_removal_that_cannot_be_stored_does_not_come_about() {
    let mut mesh = Mesh::new(3);
    mesh.cut.insert(2);
    mesh.run(20_000);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    // Its disk is full when the others answer.
    mesh.hosts[0].set_mute(true);
    mesh.run(2000);
    let why = mesh.removals.pop().unwrap().unwrap_err();
    assert!(why.contains("cannot write its state"), "{why}");
    assert!(mesh.hosts[0].replica().is_member(&id(2)));
    mesh.hosts[0].set_mute(false);
    mesh.run(20_000);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    mesh.run(2000);
    assert_eq!(mesh.removals, [Ok(())]);
}

#[test]
fn a_removal_needs_everybody() {
    let mut mesh = Mesh::new(4);
    mesh.cut.extend([2, 3]);
    mesh.run(20_000);
    let now = mesh.now;
    let why = mesh.hosts[0].remove(now, vec![id(3)]).unwrap_err();
    assert!(why.contains("n2 cannot be reached"), "{why}");
    let why = mesh.hosts[0].remove(now, vec![id(0)]).unwrap_err();
    assert!(why.contains("not another member"), "{why}");
    // Both at once can be removed.
    mesh.hosts[0].remove(now, vec![id(2), id(3)]).unwrap();
    mesh.run(1000);
    assert_eq!(mesh.removals, [Ok(())]);
    let members: Vec<NodeId> = mesh.hosts[1].replica().members().map(|(id, _)| id).collect();
    assert_eq!(members.len(), 2);
}

#[test]
fn who_does_not_answer_ends_a_removal_and_is_released() {
    let mut mesh = Mesh::new(4);
    mesh.cut.insert(3);
    mesh.run(20_000);
    mesh.cut.insert(2);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(3)]).unwrap();
    // Host 2 has promised, but its answer was lost.
    let estate = Request::Estate(vec![id(3)], mesh.hosts[0].replica().entries().cloned().collect());
    mesh.hosts[2].request(now, id(0), estate);
    assert!(mesh.hosts[2].replica().node(&id(2)).unwrap().renounces(&id(3)));
    mesh.drain();
    let why = mesh.removals.pop().unwrap().unwrap_err();
    assert!(why.contains("n2 did not answer"), "{why}");
    assert!(!mesh.hosts[1].replica().node(&id(1)).unwrap().renounces(&id(3)), "released at once");
    mesh.cut.clear();
    mesh.run(30_000);
    for n in 0..3 {
        assert!(mesh.hosts[n].replica().node(&id(n)).unwrap().renounced.is_empty(), "{n}");
    }
    assert_eq!(mesh.digests(0), mesh.digests(3));
}

#[test]
fn nobody_promises_two_that_could_contradict() {
    let mut mesh = Mesh::new(4);
    let estate =
        |dead: &[usize]| Request::Estate(dead.iter().map(|n| id(*n)).collect(), Vec::new());
    let now = mesh.now;
    let mut ask =
        |to: usize, by: usize, dead: &[usize]| mesh.hosts[to].request(now, id(by), estate(dead));
    assert!(matches!(ask(0, 1, &[3]), Response::Entries(_)));
    assert!(matches!(ask(0, 1, &[3]), Response::Entries(_)), "the same one may repeat it");
    let Response::Refused(why) = ask(0, 2, &[3]) else { panic!() };
    assert!(why.contains("n1 is removing it already"), "{why}");
    assert!(matches!(ask(0, 3, &[2]), Response::Refused(_)), "host 3 is being removed itself");
    assert!(matches!(ask(0, 2, &[0, 3]), Response::Refused(_)), "oneself");
    assert!(matches!(ask(0, 2, &[1, 3]), Response::Entries(_)), "with the one that was promised");
    let why = mesh.hosts[0].remove(now, vec![id(3)]).unwrap_err();
    assert!(why.contains("removing it already"), "{why}");
    // Nothing is given to who is to be removed.
    let share = share(Space::Vni, Want::Within(Range { first: 4096, last: 9000 }, 0));
    assert!(matches!(mesh.hosts[0].request(now, id(3), share), Response::Refused(_)));
    // A release that says nothing of the issuer's own mind counts only if that is known.
    let release = Request::Release(vec![id(3)], Vec::new());
    mesh.hosts[0].request(now, id(2), release);
    assert!(
        mesh.hosts[0].replica().node(&id(0)).unwrap().renounces(&id(3)),
        "host 1 still wants it"
    );
}

#[test]
fn a_restart_forgets_an_unfinished_removal() {
    let mut mesh = Mesh::new(3);
    mesh.cut.insert(2);
    mesh.run(20_000);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    let estate = Request::Estate(vec![id(2)], mesh.hosts[0].replica().entries().cloned().collect());
    mesh.hosts[1].request(now, id(0), estate);
    mesh.restart(0);
    assert!(!mesh.hosts[0].replica().node(&id(0)).unwrap().renounces(&id(2)));
    mesh.run(20_000);
    assert!(!mesh.hosts[1].replica().node(&id(1)).unwrap().renounces(&id(2)));
    let now = mesh.now;
    mesh.hosts[1].remove(now, vec![id(2)]).unwrap();
    mesh.run(1000);
    assert_eq!(mesh.removals, [Ok(())]);
}

#[test]
fn a_removal_that_only_others_remember_is_forgotten() {
    let mut mesh = Mesh::new(3);
    mesh.cut.insert(2);
    mesh.run(20_000);
    // The disk of host 0 keeps nothing of the removal that it begins.
    let disk = known_to(&mesh, 0);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    let estate = Request::Estate(vec![id(2)], known_to(&mesh, 0));
    mesh.hosts[1].request(now, id(0), estate);
    mesh.hosts[0] = mesh.machine(0, 3, disk);
    assert!(!mesh.hosts[0].replica().node(&id(0)).unwrap().renounces(&id(2)));
    mesh.run(20_000);
    for n in 0..2 {
        assert!(!mesh.hosts[n].replica().node(&id(n)).unwrap().renounces(&id(2)), "{n}");
    }
    remove(&mut mesh, 1, &[2]).unwrap();
}

#[test]
fn two_hosts_become_one_when_one_leaves() {
    let mut mesh = Mesh::new(2);
    let now = mesh.now;
    mesh.hosts[1].publish_network(now, &network(1));
    let farewell = mesh.hosts[1].farewell().unwrap();
    assert_eq!(mesh.hosts[0].request(now, id(1), farewell), Response::Done);
    mesh.drain();
    assert_eq!(mesh.removals, [Ok(())]);
    assert_eq!(mesh.owned(0, 0, POOL).unwrap().ranges.count(), 256);
}

/// Host 2 is removed by host 3, which joined when host 2 was away.
fn removed_by_a_newcomer() -> Mesh {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[2].publish_network(now, &network(1));
    mesh.run(10_000);
    mesh.cut.insert(2);
    mesh.run(20_000);
    mesh.join(0, 3);
    mesh.run(5000);
    let now = mesh.now;
    mesh.hosts[3].remove(now, vec![id(2)]).unwrap();
    mesh.run(5000);
    assert_eq!(mesh.removals, [Ok(())]);
    mesh
}

#[test]
fn a_removed_host_that_comes_back_is_told_and_falls_silent() {
    let mut mesh = removed_by_a_newcomer();
    assert_eq!(mesh.hosts[2].removed_by(), None);
    let before = mesh.digests(2);
    mesh.cut.clear();
    mesh.run(20_000);
    assert_eq!(mesh.hosts[2].removed_by(), Some(id(3)));
    assert_eq!(mesh.hosts[2].up(), []);
    let sees = |host: &Machine| (0..2).any(|n| host.is_visible(mesh.now, &id(n)));
    assert!(!sees(&mesh.hosts[2]));
    let kept = |of: &Mesh| of.owned(2, 2, POOL).is_some();
    assert!(kept(&mesh), "what it holds itself it can still take down in order");
    assert_eq!(before.len(), mesh.digests(2).len());
    // It says nothing more, and gives nothing away.
    mesh.sent.clear();
    let refused = mesh.refused(0);
    mesh.run(20_000);
    assert_eq!(mesh.refused(0), refused);
    let now = mesh.now;
    let share = share(POOL, Want::Within(addresses(0, 255), 0));
    assert!(matches!(mesh.hosts[2].request(now, id(0), share), Response::Refused(_)));
    // A restart forgets it, for as long as nobody can be asked.
    mesh.restart(2);
    assert_eq!(mesh.hosts[2].removed_by(), None);
    mesh.run(1000);
    assert_eq!(mesh.hosts[2].removed_by(), Some(id(3)));
    assert!(!mesh.hosts[2].is_visible(mesh.now, &id(0)), "also early after a start");
}

#[test]
fn nobody_is_talked_into_having_been_removed() {
    let mut mesh = removed_by_a_newcomer();
    let now = mesh.now;
    let Response::Removed(proof) = mesh.hosts[0].request(now, id(2), Request::Ping) else {
        panic!()
    };
    let exchange = identity(2).exchange_public();
    let by = |n: usize| {
        let removed =
            Body::Member(Member::Removed { heir: id(n), exchange, kept: BTreeSet::new() });
        identity(n).sign_entry(Key::Member(id(2)), Version(99), Some(removed))
    };
    let forged = Entry { author: id(0), ..by(9) };
    for entries in [vec![by(9)], vec![forged], vec![proof[0].clone()], Vec::new()] {
        let host = &mut mesh.hosts[2];
        assert!(host.absorb(now, id(0), Response::Removed(entries)).is_err());
        assert_eq!(host.removed_by(), None);
    }
    assert!(mesh.hosts[2].absorb(now, id(0), Response::Removed(proof)).is_err());
    assert_eq!(mesh.hosts[2].removed_by(), Some(id(3)));
}

#[test]
fn hosts_are_known_by_their_keys_also_when_removed() {
    let mesh = removed_by_a_newcomer();
    for n in 0..4 {
        let key = identity(n).exchange_public();
        assert_eq!(mesh.hosts[0].peer_by_exchange(&key), Some(id(n)), "{n}");
    }
    assert_eq!(mesh.hosts[0].peer_by_exchange(&identity(9).exchange_public()), None);
}

/// Hosts 0 to 2, of which 2 has a network, then is cut off together with host 3,
/// which it admits and gives addresses to.
fn with_a_secret_member() -> Mesh {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[2].publish_network(now, &network(1));
    mesh.run(1000);
    mesh.cut.extend([2, 3]);
    mesh.join(2, 3);
    let tables = Request::Exchange { entries: known_to(&mesh, 2), want: Vec::new() };
    let want = Want::Exactly(addresses(32, 63));
    let now = mesh.now;
    mesh.hosts[3].request(now, id(2), tables);
    let gift = mesh.hosts[2].request(now, id(3), share(POOL, want));
    mesh.hosts[3].absorb(now, id(2), gift).unwrap();
    assert_eq!(mesh.owned(3, 3, POOL).unwrap().ranges.count(), 32);
    mesh.run(20_000);
    assert!(!mesh.hosts[0].is_up(&id(2)));
    mesh
}

pub(super) fn known_to(mesh: &Mesh, n: usize) -> Vec<Entry> {
    mesh.hosts[n].replica().entries().cloned().collect()
}

fn remove(mesh: &mut Mesh, by: usize, dead: &[usize]) -> Result<(), String> {
    let now = mesh.now;
    mesh.hosts[by].remove(now, dead.iter().map(|n| id(*n)).collect())?;
    mesh.run(1000);
    mesh.removals.pop().unwrap()
}

#[test]
fn whom_only_the_removed_one_knew_never_belongs() {
    let mut mesh = with_a_secret_member();
    remove(&mut mesh, 0, &[2]).unwrap();
    // Host 3 finds the others, and shows them who has admitted it.
    mesh.cut.remove(&3);
    mesh.run(20_000);
    assert!(mesh.refused(0) > 0);
    assert_eq!(mesh.check(POOL), 256);
    for n in 0..2 {
        assert!(!mesh.hosts[n].replica().is_member(&id(3)), "host {n} takes it in");
    }
    assert_eq!(mesh.digests(0), mesh.digests(1));
    assert_eq!(mesh.hosts[3].up(), [], "it is alone, and sees that");
}

#[test]
fn whom_one_of_those_that_stay_knows_is_asked_too() {
    for there in [true, false] {
        let mut mesh = with_a_secret_member();
        // Host 1 hears of host 3 just before it is asked.
        let tables = Request::Exchange { entries: known_to(&mesh, 3), want: Vec::new() };
        let now = mesh.now;
        mesh.hosts[1].request(now, id(0), tables);
        assert!(mesh.hosts[1].replica().is_member(&id(3)));
        assert!(!mesh.hosts[0].replica().is_member(&id(3)));
        if there {
            mesh.cut.remove(&3);
        }
        let result = remove(&mut mesh, 0, &[2]);
        mesh.cut.remove(&3);
        mesh.run(20_000);
        assert!(mesh.hosts[0].replica().is_member(&id(3)));
        assert!(mesh.hosts[0].is_up(&id(3)));
        if there {
            assert_eq!(result, Ok(()));
            assert_eq!(mesh.check(POOL), 256);
            assert_eq!(mesh.owned(0, 3, POOL).unwrap().ranges.count(), 32);
        } else {
            assert!(result.unwrap_err().contains("did not answer"));
            assert!(mesh.hosts[0].replica().is_member(&id(2)));
        }
        assert_eq!(mesh.digests(0), mesh.digests(3));
    }
}

#[test]
fn who_comes_too_late_to_be_asked_goes_too() {
    let mut mesh = with_a_secret_member();
    mesh.cut.insert(1);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    let Some((call, request)) =
        std::iter::from_fn(|| mesh.hosts[0].output()).find_map(|o| match o {
            Output::Call { id: call, request: Request::Estate(dead, known), .. } => {
                Some((call, Request::Estate(dead, known)))
            }
            _ => None,
        })
    else {
        panic!("nobody is asked")
    };
    let promise = mesh.hosts[1].request(now, id(0), request);
    // Only now host 1 hears of host 3, which it takes for a member, but takes
    // nothing from it, and gives it nothing.
    let tables = Request::Exchange { entries: known_to(&mesh, 3), want: Vec::new() };
    mesh.hosts[1].request(now, id(0), tables);
    assert!(mesh.hosts[1].replica().is_member(&id(3)));
    let want = share(POOL, Want::Exactly(addresses(40, 40)));
    let gift = mesh.hosts[3].request(now, id(1), want.clone());
    assert!(matches!(gift, Response::Entries(_)));
    mesh.hosts[1].absorb(now, id(3), gift).unwrap();
    assert!(mesh.owned(1, 1, POOL).is_none());
    assert!(matches!(mesh.hosts[1].request(now, id(3), want), Response::Refused(_)));
    // Nor does host 4, whom host 1 admits.
    mesh.join(1, 4);
    assert!(mesh.hosts[4].replica().node(&id(4)).unwrap().renounces(&id(2)));

    mesh.hosts[0].answered(now, call, Some(promise));
    mesh.cut = [2].into();
    mesh.run(20_000);
    assert_eq!(mesh.removals, [Ok(())]);
    assert_eq!(mesh.check(POOL), 256);
    for n in [0, 1, 4] {
        let replica = mesh.hosts[n].replica();
        assert!(!replica.is_member(&id(3)) && replica.node(&id(3)).is_none(), "{n}");
        assert!(replica.node(&id(n)).unwrap().renounced.is_empty(), "{n}");
        assert_eq!(mesh.hosts[n].up().len(), 2, "{n}");
        assert_eq!(mesh.digests(0), mesh.digests(n));
    }
}

#[test]
fn an_answer_to_an_earlier_removal_does_not_count() {
    let mut mesh = Mesh::new(4);
    mesh.cut.insert(3);
    mesh.run(20_000);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(3)]).unwrap();
    let asked: Vec<CallId> = std::iter::from_fn(|| mesh.hosts[0].output())
        .filter_map(|output| match output {
            Output::Call { id: call, request: Request::Estate(..), .. } => Some(call),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 2);
    mesh.hosts[0].answered(now, asked[0], None);
    mesh.hosts[0].remove(now, vec![id(3)]).unwrap();
    // These are promises of which the others have been released.
    for call in asked {
        mesh.hosts[0].answered(now, call, Some(Response::Entries(Vec::new())));
    }
    let results: Vec<Output> = std::iter::from_fn(|| mesh.hosts[0].output())
        .filter(|output| matches!(output, Output::Removal(_)))
        .collect();
    assert!(matches!(results[..], [Output::Removal(Err(_))]), "{results:?}");
}
