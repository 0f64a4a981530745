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

/// What it says of itself came before the word that it belongs, say, and was refused.
#[test]
fn a_member_that_answers_is_asked_though_nobody_has_told_where_it_is() {
    let mut mesh = Mesh::new(2);
    let mut entries: Vec<Entry> = mesh.hosts[1].replica().entries().cloned().collect();
    entries.retain(|e| e.key != Key::Node(id(0)));
    mesh.hosts[1] = mesh.machine(1, 3, entries);
    for _ in 0..300 {
        mesh.now += ms(10);
        for n in 0..2 {
            mesh.hosts[n].tick(mesh.now);
            while let Some(output) = mesh.hosts[n].output() {
                // Host 0 does not tell by itself what host 1 could ask for.
                match output {
                    Output::Call { id, .. } if n == 0 => mesh.hosts[0].answered(mesh.now, id, None),
                    output => mesh.deliver(n, output),
                }
            }
        }
    }
    assert!(mesh.hosts[1].is_up(&id(0)));
    assert!(mesh.hosts[1].replica().node(&id(0)).is_some());
    assert_eq!(mesh.digests(0), mesh.digests(1));
}
