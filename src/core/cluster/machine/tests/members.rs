//! Members that come.

use super::*;

fn calls(host: &mut Machine, to: SocketAddr) -> bool {
    let said = std::iter::from_fn(|| host.output()).collect::<Vec<_>>();
    said.iter().any(|o| matches!(o, Output::Datagram { to: other, .. } if *other == to))
}

#[test]
fn a_member_is_looked_for_as_soon_as_it_is_known_where_it_is() {
    let mesh = Mesh::new(3);
    let mut entries: Vec<Entry> = mesh.hosts[2].replica().entries().cloned().collect();
    entries.retain(|e| e.key != Key::Node(id(0)));
    let mut host = mesh.machine(2, 3, entries);
    assert!(host.replica().is_member(&id(0)));
    assert!(calls(&mut host, control(1)) && !calls(&mut host, control(0)));
    let node = mesh.hosts[0].replica().entry(&Key::Node(id(0))).cloned();
    let told = Request::Exchange { entries: node.into_iter().collect(), want: Vec::new() };
    host.request(mesh.now, id(1), told);
    assert!(calls(&mut host, control(0)));
    assert!(!calls(&mut host, control(1)), "it has been called");
}
