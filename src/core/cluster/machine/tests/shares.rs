//! Shares of addresses that hosts ask of each other.

use super::*;

#[test]
fn another_share_is_given_before_gossip_tells_that_the_first_was_taken() {
    let mut mesh = Mesh::new(2);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    mesh.run(1000);
    let mut owned = Vec::new();
    for _ in 0..3 {
        let want = Want::Within(addresses(0, 255), 0);
        let question = mesh.hosts[1].ask_for_share(POOL, want).unwrap();
        let answer = mesh.hosts[0].request(mesh.now, id(1), question);
        mesh.hosts[1].absorb(mesh.now, id(0), answer).unwrap();
        owned.push(mesh.owned(1, 1, POOL).unwrap().ranges.count());
    }
    assert!(owned.is_sorted_by(|a, b| a < b), "{owned:?}");
    assert_eq!(mesh.check(POOL), 256);
    // What it holds may not be on its disk.
    mesh.hosts[1].set_mute(true);
    mesh.hosts[1].ask_for_share(POOL, Want::Within(addresses(0, 255), 0)).unwrap_err();
}

#[test]
fn a_share_is_given_once_and_not_lost_with_its_answer() {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    mesh.run(1000);
    let ask = |mesh: &mut Mesh, who: usize| {
        let want = Want::Within(addresses(0, 255), 0);
        let now = mesh.now;
        mesh.hosts[0].request(now, id(who), share(POOL, want))
    };
    let answer = ask(&mut mesh, 1);
    let now = mesh.now;
    mesh.hosts[1].absorb(now, id(0), answer.clone()).unwrap();
    let first = mesh.owned(1, 1, POOL).unwrap().ranges.clone();
    assert!(first.count() >= 16, "{first:?}");
    mesh.hosts[1].absorb(now, id(0), answer).unwrap();
    assert_eq!(mesh.owned(1, 1, POOL).unwrap().ranges, first, "an answer that comes twice");

    // Neither of these answers arrives.
    let lost = ask(&mut mesh, 2);
    assert_eq!(ask(&mut mesh, 2), lost, "nothing more is given before that was taken");
    mesh.run(2000);
    assert_eq!(mesh.owned(2, 2, POOL).unwrap().ranges.count(), first.count());
    assert_eq!(mesh.owned(0, 0, POOL).unwrap().given, [], "all was seen taken");
    assert_eq!(mesh.check(POOL), 256);
    // All the rest can be had, and no more.
    for _ in 0..64 {
        if let Response::Entries(entries) = ask(&mut mesh, 1) {
            let now = mesh.now;
            mesh.hosts[1].absorb(now, id(0), Response::Entries(entries)).unwrap();
            mesh.run(500);
        }
    }
    assert_eq!(mesh.check(POOL), 256);
    assert_eq!(mesh.owned(0, 0, POOL).unwrap().ranges.count(), 3, "the reserved addresses");
    let Response::Refused(why) = ask(&mut mesh, 2) else { panic!() };
    assert!(why.contains("nothing"), "{why}");
}
