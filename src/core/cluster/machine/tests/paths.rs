//! How large a packet reaches others, and when that is forgotten.

use super::*;

pub(super) fn endpoint(n: usize) -> EndpointBody {
    EndpointBody {
        name: format!("c{n}"),
        mac: Mac([2, 0, 0, 0, 0, n as u8]),
        addresses: vec![IpAddr::from([10, 1, 0, n as u8 + 2])],
        aliases: Vec::new(),
        service: None,
        created: String::new(),
    }
}

/// An endpoint of network 1 on each host.
fn mesh(n: usize) -> Mesh {
    let mut mesh = Mesh::new(n);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    for n in 0..n {
        mesh.hosts[n].publish_endpoint(now, &network(1).id, &Id::new([n as u8; 32]), endpoint(n));
    }
    mesh.run(10_000);
    mesh
}

fn path(mesh: &Mesh, from: usize, to: IpAddr) -> Option<u16> {
    mesh.paths.get(&(from, to)).copied().flatten()
}

#[test]
fn the_path_to_a_removed_host_is_forgotten() {
    let mut mesh = mesh(3);
    let gone = control(2).ip();
    assert_eq!([0, 1].map(|n| path(&mesh, n, gone)), [Some(1500); 2]);
    mesh.cut.insert(2);
    mesh.run(20_000);
    assert_eq!(path(&mesh, 0, gone), Some(1500), "it may come back");
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(2)]).unwrap();
    mesh.run(5000);
    assert_eq!([0, 1].map(|n| path(&mesh, n, gone)), [None; 2]);
    assert_eq!(path(&mesh, 0, control(1).ip()), Some(1500));
}

#[test]
fn the_path_to_a_host_that_has_moved_is_another() {
    let mut mesh = mesh(2);
    let (old, new) = (control(1).ip(), IpAddr::from([10, 0, 0, 99]));
    let now = mesh.now;
    // Its control port stays where the laboratory finds it.
    mesh.hosts[1].describe(Node { vtep: new, ..node(1) });
    mesh.hosts[1].tick(now);
    mesh.run(5000);
    assert_eq!([old, new].map(|to| path(&mesh, 0, to)), [None, Some(1500)]);
}

/// A host that was set up anew, at the address of one that is removed after that.
#[test]
fn an_address_that_is_taken_over_keeps_its_path() {
    let mut mesh = mesh(3);
    mesh.cut.insert(2);
    mesh.run(20_000);
    let (now, shared) = (mesh.now, control(2).ip());
    mesh.hosts[1].describe(Node { vtep: shared, ..node(1) });
    mesh.hosts[1].tick(now);
    mesh.run(5000);
    mesh.hosts[0].remove(mesh.now, vec![id(2)]).unwrap();
    mesh.run(5000);
    assert_eq!(path(&mesh, 0, shared), Some(1500));
}
