//! Realms that are too large to be compared at once.

use super::paths::endpoint;
use super::*;

#[test]
fn a_large_network_is_learned_part_by_part() {
    let mut mesh = Mesh::new(2);
    mesh.cut.insert(1);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    let many = 8500;
    for n in 0..many {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&(n as u16).to_be_bytes());
        mesh.hosts[0].publish_endpoint(now, &network(1).id, &Id::new(id), endpoint(0));
    }
    // What it has of its own comes in the last part.
    mesh.hosts[1].publish_network(now, &network(2));
    mesh.cut.clear();
    // One sync is enough: gossip would take longer.
    mesh.run(6000);
    assert_eq!(mesh.hosts[1].endpoints().count(), many);
    assert_eq!(mesh.digests(0), mesh.digests(1));
}
