//! Members that do not know each other.

use super::*;

/// Host 2 was admitted by host 1 while host 0 was away; then host 1 has died. Host 2
/// knows host 0, and nobody has told host 0 of it. They cannot reach each other yet.
fn one_knows_the_other() -> Mesh {
    let mut mesh = Mesh::new(2);
    mesh.cut.insert(0);
    mesh.join(1, 2);
    mesh.run(20_000);
    assert_eq!(mesh.hosts[1].up(), [id(2)]);
    mesh.cut.insert(1);
    mesh.run(20_000);
    assert!(mesh.hosts[2].replica().is_member(&id(0)));
    assert!(!mesh.hosts[0].replica().is_member(&id(2)));
    mesh
}

/// Also where the keys of one of them, or of the other, have turned since.
#[test]
fn a_member_shows_one_that_does_not_know_it_who_has_admitted_it() {
    for turning in [None, Some(0), Some(2)] {
        let mut mesh = one_knows_the_other();
        for _ in 0..3 {
            let now = mesh.now;
            turning.into_iter().for_each(|n: usize| mesh.hosts[n].rotate_key(now));
            mesh.run(20_000);
        }
        let key = |n: usize| mesh.hosts[n].key_number();
        assert_eq!(key(0) == key(2), turning.is_none());
        mesh.cut.remove(&0);
        mesh.run(6000);
        assert_eq!(mesh.hosts[0].up(), [id(2)], "{turning:?}");
        assert_eq!(mesh.hosts[2].up(), [id(0)], "{turning:?}");
        assert_eq!(mesh.digests(0), mesh.digests(2));
    }
}

/// What host 2 shows, and who it shows.
fn chain(mesh: &Mesh) -> ([u8; 32], Vec<Entry>) {
    let chain = mesh.hosts[2].vouchers(id(2));
    assert_eq!(
        chain.iter().map(|e| e.key).collect::<Vec<_>>(),
        [2, 1, 0].map(|n| Key::Member(id(n)))
    );
    (identity(2).exchange_public(), chain)
}

/// Nothing of it is taken, nobody is blamed for it, and nothing is said.
fn assert_unheard(mesh: &mut Mesh, exchange: &[u8; 32], chain: Vec<Entry>) {
    let (before, now) = (mesh.digests(0), mesh.now);
    assert!(!mesh.hosts[0].introduced(now, exchange, chain));
    assert_eq!(mesh.digests(0), before);
    assert!(mesh.hosts[0].replica().refused().is_empty());
    assert_eq!(mesh.hosts[0].output(), None);
}

#[test]
fn what_a_member_has_not_signed_introduces_nobody() {
    let mut mesh = one_knows_the_other();
    let (exchange, whole) = chain(&mesh);
    for forged in 0..2 {
        let mut chain = whole.clone();
        chain[forged].version.0 += 1;
        let rest = chain.split_off(forged + 1);
        assert_unheard(&mut mesh, &exchange, [chain, rest[1 - forged..].to_vec()].concat());
    }
    // Somebody who has admitted itself, and what is not about belonging.
    let stranger = identity(7);
    let admitted = Body::Member(Member::Admitted { exchange: stranger.exchange_public() });
    let own = stranger.sign_entry(Key::Member(id(7)), Version(9), Some(admitted));
    let token =
        identity(0).sign_entry(Key::Token, Version(99), Some(Body::Secret(Secret([1; 32]))));
    assert_unheard(&mut mesh, &stranger.exchange_public(), vec![own, token, whole[2].clone()]);
    assert_unheard(&mut mesh, &exchange, Vec::new());
    // The whole of it does, and also who only hands it on learns nothing of that.
    let now = mesh.now;
    assert!(!mesh.hosts[0].introduced(now, &stranger.exchange_public(), whole.clone()));
    assert!(mesh.hosts[0].introduced(now, &exchange, whole));
}

/// A removed host has its key still: it brings nobody with it.
#[test]
fn a_removed_host_introduces_nobody() {
    let mut mesh = one_knows_the_other();
    let (exchange, whole) = chain(&mesh);
    let now = mesh.now;
    mesh.hosts[0].remove(now, vec![id(1)]).unwrap();
    mesh.run(1000);
    assert_eq!(mesh.removals, [Ok(())]);
    assert_unheard(&mut mesh, &exchange, whole);
}

/// Somebody has removed who admitted this one, and keeps it.
#[test]
fn whom_a_removal_keeps_is_introduced_by_it() {
    let mut mesh = Mesh::new(3);
    mesh.cut.insert(0);
    // Host 1 admits host 3, which then stays with host 2 alone.
    mesh.join(1, 3);
    mesh.run(20_000);
    let kept = [id(3).brief()].into();
    let removal = Member::Removed { heir: id(2), exchange: identity(1).exchange_public(), kept };
    let removal =
        identity(2).sign_entry(Key::Member(id(1)), Version(10_000), Some(Body::Member(removal)));
    let now = mesh.now;
    let told = Request::Exchange { entries: vec![removal], want: Vec::new() };
    mesh.hosts[3].request(now, id(2), told);
    mesh.cut.extend([1, 2]);
    mesh.run(20_000);
    assert!(
        mesh.hosts[3].replica().is_removed(&id(1)) && mesh.hosts[3].replica().is_member(&id(3))
    );
    mesh.cut.remove(&0);
    mesh.run(6000);
    assert_eq!(mesh.hosts[0].up(), [id(3)]);
    assert!(mesh.hosts[0].replica().is_removed(&id(1)));
}

/// A dead host is not asked again and again in every way.
#[test]
fn a_host_that_never_answers_is_looked_for_gently() {
    let mut mesh = Mesh::new(3);
    mesh.cut.insert(2);
    mesh.run(20_000);
    let (mut calls, end) = (0, mesh.now + ms(60_000));
    while mesh.now < end {
        mesh.now += ms(10);
        for n in 0..2 {
            mesh.hosts[n].tick(mesh.now);
            while let Some(output) = mesh.hosts[n].output() {
                calls += usize::from(matches!(&output, Output::Call { to, .. } if *to == id(2)));
                mesh.deliver(n, output);
            }
        }
    }
    assert!((10..=100).contains(&calls), "{calls} in a minute by two hosts");
}
