//! Networks in the ranges of nodes that are taken out.

use super::removal::known_to;
use super::*;

/// So many hosts, of which the last is lost, and then makes network 1.
fn with_a_lost_maker(hosts: usize) -> Mesh {
    let (mut mesh, last) = (Mesh::new(hosts), hosts - 1);
    mesh.cut.insert(last);
    mesh.run(20_000);
    let now = mesh.now;
    mesh.hosts[last].publish_network(now, &network(1));
    mesh
}

/// All that a host knows, by way of another or straight from it.
fn tell(mesh: &mut Mesh, of: usize, by: usize, to: usize) {
    let (now, entries) = (mesh.now, known_to(mesh, of));
    mesh.hosts[to].request(now, id(by), Request::Exchange { entries, want: Vec::new() });
}

/// Before anything is gossiped.
fn remove_at_once(mesh: &mut Mesh, by: usize, dead: &[usize]) -> Result<(), String> {
    let now = mesh.now;
    mesh.hosts[by].remove(now, dead.iter().map(|n| id(*n)).collect())?;
    mesh.drain();
    mesh.removals.pop().unwrap()
}

fn networks(mesh: &Mesh, n: usize) -> Vec<&Network> {
    mesh.hosts[n].networks().collect()
}

#[test]
fn the_heir_hears_of_networks_in_what_it_inherits() {
    let mut mesh = with_a_lost_maker(3);
    tell(&mut mesh, 2, 2, 1);
    assert!(networks(&mesh, 0).is_empty());
    remove_at_once(&mut mesh, 0, &[2]).unwrap();
    assert_eq!(networks(&mesh, 0), [&network(1)]);
    let (maker, id1) = (id(2), network(1).id.bytes().unwrap());
    assert_eq!(mesh.hosts[0].replica().holder(&id1, maker), Some(id(0)));
    mesh.run(20_000);
    assert_eq!(networks(&mesh, 1), [&network(1)]);
    assert_eq!(mesh.check(POOL), 256);
    assert_eq!(mesh.digests(0), mesh.digests(1));
}

#[test]
fn a_network_that_is_heard_of_after_the_promise_does_not_exist() {
    let mut mesh = with_a_lost_maker(3);
    tell(&mut mesh, 2, 2, 0);
    tell(&mut mesh, 2, 2, 1);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    let asked = std::iter::from_fn(|| mesh.hosts[0].output()).find_map(|output| match output {
        Output::Call { id: call, request: Request::Estate(dead, known), .. } => {
            Some((call, Request::Estate(dead, known)))
        }
        _ => None,
    });
    let (call, request) = asked.unwrap();
    let promise = mesh.hosts[1].request(now, id(0), request);
    mesh.hosts[2].publish_network(now, &network(2));
    tell(&mut mesh, 2, 2, 1);
    assert_eq!(networks(&mesh, 1), [&network(1), &network(2)]);
    mesh.hosts[0].answered(now, call, Some(promise));
    mesh.run(10_000);
    assert_eq!(mesh.removals, [Ok(())]);
    // Nor does it come back by whoever had heard of it.
    tell(&mut mesh, 2, 1, 0);
    tell(&mut mesh, 2, 0, 1);
    for n in [0, 1] {
        assert_eq!(networks(&mesh, n), [&network(1)]);
        assert_eq!(mesh.digests(0), mesh.digests(n));
    }
}

#[test]
fn a_network_is_inherited_twice() {
    let mut mesh = with_a_lost_maker(4);
    tell(&mut mesh, 3, 3, 2);
    remove_at_once(&mut mesh, 2, &[3]).unwrap();
    // That reaches host 1 alone before the heir is lost too.
    tell(&mut mesh, 2, 2, 1);
    mesh.cut.insert(2);
    assert!(networks(&mesh, 0).is_empty() && mesh.hosts[0].replica().is_member(&id(3)));
    remove_at_once(&mut mesh, 0, &[2, 3]).unwrap();
    assert_eq!(networks(&mesh, 0), [&network(1)]);
    mesh.run(20_000);
    assert_eq!(networks(&mesh, 1), [&network(1)]);
    assert_eq!(mesh.check(POOL), 256);
    assert_eq!(mesh.digests(0), mesh.digests(1));
}

#[test]
fn a_node_with_more_networks_than_an_entry_names_is_not_removed() {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    for n in 1..=1000u16 {
        let mut id = [2; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        mesh.hosts[0].publish_network(now, &Network { id: Id::new(id), ..network(2) });
    }
    tell(&mut mesh, 0, 0, 1);
    mesh.cut.insert(0);
    mesh.run(20_000);
    // It has admitted host 1 and host 2 too.
    let why = remove_at_once(&mut mesh, 1, &[0]).unwrap_err();
    assert!(why.contains("n0 has admitted or made 1002 members, networks and services"), "{why}");
    for network in mesh.hosts[1].networks().take(2).map(|n| n.id.clone()).collect::<Vec<_>>() {
        mesh.hosts[1].withdraw_network(mesh.now, &network);
    }
    remove_at_once(&mut mesh, 1, &[0]).unwrap();
    mesh.sent.clear();
    // Hosts that look for each other show who has admitted them.
    mesh.cut.insert(2);
    mesh.run(20_000);
    mesh.cut.remove(&2);
    mesh.run(20_000);
    assert!(mesh.hosts[2].replica().is_removed(&id(0)));
    assert_eq!(networks(&mesh, 2).len(), 998);
    assert_eq!(mesh.digests(1), mesh.digests(2));
    let longest = mesh.sent.iter().map(|(_, bytes)| bytes.len()).max();
    assert!(longest < Some(1300), "{longest:?}");
}
