//! Endpoints of nodes that are away.

use super::paths::endpoint;
use super::*;

fn hidden(mesh: &Mesh, later: Duration) -> Vec<NodeId> {
    let network = network(1).id;
    let all = mesh.hosts[0].hidden_endpoints(mesh.now + later, &network);
    all.map(|(node, _)| node).collect()
}

#[test]
fn for_a_day_endpoints_of_a_node_that_is_away_count() {
    let (hour, mut mesh) = (Duration::from_secs(3600), Mesh::new(3));
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    mesh.hosts[1].publish_endpoint(now, &network(1).id, &Id::new([1; 32]), endpoint(1));
    mesh.hosts[2].publish_endpoint(now, &network(1).id, &Id::new([2; 32]), endpoint(2));
    mesh.run(12_000);
    assert_eq!(hidden(&mesh, Duration::ZERO), []);
    mesh.cut.insert(2);
    mesh.run(20_000);
    assert_eq!([Duration::ZERO, 23 * hour].map(|n| hidden(&mesh, n)), [[id(2)], [id(2)]]);
    assert_eq!(hidden(&mesh, 24 * hour), []);
    assert!(mesh.hosts[0].used(POOL).count() == 5, "its address is its own still");
    // What this host does not know it does not count against anybody.
    mesh.restart(0);
    mesh.run(12_000);
    assert_eq!(mesh.hosts[0].down_since(&id(2)), None);
    assert_eq!([Duration::ZERO, 23 * hour].map(|n| hidden(&mesh, n)), [[id(2)], [id(2)]]);
    assert_eq!(hidden(&mesh, 24 * hour), []);
    mesh.cut.clear();
    mesh.run(20_000);
    assert_eq!(hidden(&mesh, Duration::ZERO), [], "it is back, and shown");
}
