//! Virtual IPs when services are changed on several hosts at once.

use super::*;
use crate::core::tables::{Joined, Service};

fn service() -> Service {
    Service {
        id: Id::new([9; 32]),
        name: "shop".into(),
        created: String::new(),
        mode: Default::default(),
        scheduler: Default::default(),
        affinity: None,
        health: None,
        drain: 10,
        aliases: Vec::new(),
        published: Vec::new(),
        networks: Vec::new(),
        weights: Default::default(),
    }
}

fn on(n: u8, vips: &[u8]) -> Joined {
    let vips = vips.iter().map(|last| IpAddr::from([10, n, 0, *last])).collect();
    Joined { network: network(n).id, vips, active: true }
}

fn shown(mesh: &Mesh, host: usize) -> Option<Service> {
    mesh.hosts[host].services().next().cloned()
}

/// Three hosts that know networks 1 and 2, made on host 0, and a service on the first.
fn mesh() -> Mesh {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    mesh.hosts[0].publish_network(now, &network(2));
    mesh.hosts[0].publish_service(now, &Service { networks: vec![on(1, &[2])], ..service() });
    mesh.run(3000);
    mesh
}

#[test]
fn an_address_is_not_free_because_a_change_was_lost() {
    let mut mesh = mesh();
    mesh.cut.insert(1);
    let joined = Service { networks: vec![on(1, &[2]), on(2, &[2])], ..service() };
    let now = mesh.now;
    mesh.hosts[0].publish_service(now, &joined);
    // Later by far, and of nothing that was done meanwhile.
    for n in 0..50 {
        let drain = n + 20;
        let change = Service { networks: vec![on(1, &[2])], drain, ..service() };
        mesh.hosts[1].publish_service(now, &change);
    }
    mesh.run(1000);
    mesh.cut.clear();
    let mut used = Vec::new();
    for _ in 0..100 {
        mesh.run(200);
        used.push(mesh.hosts[0].used(Space::Pool([2; 32], 0)).count());
    }
    assert_eq!(used, [4; 100], "the address was free at times");
    for host in 0..3 {
        assert_eq!(shown(&mesh, host).unwrap(), Service { drain: 69, ..joined.clone() });
    }
    // Until the service is gone.
    let now = mesh.now;
    mesh.hosts[2].withdraw_service(now, &service().id);
    mesh.run(2000);
    assert_eq!(mesh.hosts[0].used(Space::Pool([2; 32], 0)).count(), 3);
}

#[test]
fn both_addresses_stay_that_two_hosts_chose_at_once() {
    let mut mesh = mesh();
    let now = mesh.now;
    // Host 1 owns some addresses of network 2.
    let whole = Range::from(network(2).pools[0].net);
    let share = share(Space::Pool([2; 32], 0), Want::Within(whole, 0));
    let Response::Entries(given) = mesh.hosts[0].request(now, id(1), share) else { panic!() };
    mesh.hosts[1].absorb(now, id(0), Response::Entries(given)).unwrap();
    mesh.run(2000);
    let owned = mesh.owned(1, 1, Space::Pool([2; 32], 0)).unwrap().ranges.lowest().unwrap();
    let last = (owned & 0xff) as u8;
    mesh.cut.insert(1);
    for (host, vip) in [(0, 2), (1, last)] {
        let now = mesh.now;
        let networks = vec![on(1, &[2]), on(2, &[vip])];
        mesh.hosts[host].publish_service(now, &Service { networks, ..service() });
    }
    mesh.run(500);
    mesh.cut.clear();
    mesh.run(20_000);
    let vips = &shown(&mesh, 2).unwrap().networks[1].vips;
    let both: BTreeSet<IpAddr> = vips.iter().copied().collect();
    assert_eq!(both, on(2, &[2, last]).vips.into_iter().collect());
    assert_eq!(mesh.digests(0), mesh.digests(1));
}

#[test]
fn deletion_beats_whatever_is_changed_at_the_same_time() {
    let mut mesh = mesh();
    mesh.cut.insert(1);
    let now = mesh.now;
    mesh.hosts[0].withdraw_service(now, &service().id);
    for n in 0..20 {
        let change = Service { networks: vec![on(1, &[2])], drain: n, ..service() };
        mesh.hosts[1].publish_service(now, &change);
    }
    mesh.run(1000);
    assert!(shown(&mesh, 1).is_some() && shown(&mesh, 2).is_none());
    mesh.cut.clear();
    mesh.run(20_000);
    assert_eq!([0, 1, 2].map(|n| shown(&mesh, n)), [None, None, None]);
    assert_eq!(mesh.hosts[0].used(POOL).count(), 3);
}

#[test]
fn an_address_of_a_deleted_network_is_let_go() {
    let mut mesh = mesh();
    let now = mesh.now;
    let joined = Service { networks: vec![on(1, &[2]), on(2, &[2])], ..service() };
    mesh.hosts[0].publish_service(now, &joined);
    mesh.hosts[0].withdraw_network(now, &network(2).id);
    let back = Service { networks: vec![on(1, &[2])], ..service() };
    mesh.hosts[0].publish_service(now, &back);
    mesh.run(2000);
    assert_eq!(shown(&mesh, 2), Some(back));
}

#[test]
fn who_inherits_addresses_knows_whose_they_are() {
    let mut mesh = mesh();
    let now = mesh.now;
    // Only host 1 hears of it, and the host that chose the address dies.
    mesh.cut.insert(2);
    let joined = Service { networks: vec![on(1, &[2]), on(2, &[2])], ..service() };
    mesh.hosts[0].publish_service(now, &joined);
    mesh.run(500);
    assert_eq!(shown(&mesh, 1), Some(joined.clone()));
    mesh.cut.insert(0);
    mesh.cut.insert(1);
    mesh.run(30_000);
    mesh.cut.remove(&2);
    mesh.cut.remove(&1);
    while !mesh.hosts[2].is_up(&id(1)) {
        mesh.run(10);
    }
    let now = mesh.now;
    mesh.hosts[2].remove(now, vec![id(0)]).unwrap();
    while mesh.removals.is_empty() {
        mesh.run(10);
        let owned = mesh.owned(2, 2, Space::Pool([2; 32], 0)).is_some();
        assert!(!owned || shown(&mesh, 2) == Some(joined.clone()));
    }
    assert_eq!(mesh.removals, [Ok(())]);
    assert_eq!(mesh.hosts[2].used(Space::Pool([2; 32], 0)).count(), 4);
}

/// Before anything more is gossiped.
fn remove(mesh: &mut Mesh, by: usize, dead: usize) {
    let now = mesh.now;
    mesh.hosts[by].remove(now, vec![id(dead)]).unwrap();
    mesh.drain();
    assert_eq!(mesh.removals, [Ok(())]);
}

#[test]
fn who_hears_of_an_addresses_next_use_hears_that_it_was_free() {
    for endpoint in [false, true] {
        let mut mesh = mesh();
        // Nobody hears that the service is deleted, however often it is told.
        mesh.cut.insert(0);
        let now = mesh.now;
        mesh.hosts[0].withdraw_service(now, &service().id);
        mesh.run(1200);
        mesh.cut.clear();
        assert!(!mesh.hosts[0].replica().has_rumours());
        assert!(shown(&mesh, 1).is_some());
        let (now, other) = (mesh.now, Id::new([8; 32]));
        if endpoint {
            let body = EndpointBody {
                name: "db".into(),
                mac: Mac([2; 6]),
                addresses: vec![IpAddr::from([10, 1, 0, 2])],
                aliases: Vec::new(),
                service: None,
                created: String::new(),
            };
            mesh.hosts[0].publish_endpoint(now, &network(1).id, &other, body);
        } else {
            let networks = vec![on(1, &[2])];
            let next = Service { id: other.clone(), networks, ..service() };
            mesh.hosts[0].publish_service(now, &next);
        }
        let told = |host: &Machine| {
            let next = host.services().any(|s| s.id == other);
            next || host.endpoints().any(|(.., id, _)| Some(id) == other.bytes())
        };
        while !told(&mesh.hosts[1]) {
            assert!(mesh.now < now + ms(1000), "it is told");
            mesh.run(10);
        }
        let before = mesh.hosts[1].replica().get(&Key::Service([9; 32]));
        assert_eq!(before, None, "endpoint: {endpoint}");
    }
}

#[test]
fn an_address_that_was_lost_is_kept_by_who_inherits_it() {
    let mut mesh = mesh();
    mesh.cut.insert(2);
    let joined = Service { networks: vec![on(1, &[2]), on(2, &[2])], ..service() };
    let now = mesh.now;
    mesh.hosts[0].publish_service(now, &joined);
    mesh.run(500);
    for n in 0..50 {
        let change = Service { networks: vec![on(1, &[2])], drain: n + 20, ..service() };
        mesh.hosts[2].publish_service(now, &change);
    }
    // Host 0 dies before it hears of that; host 1 has seen both.
    mesh.cut = [0].into();
    mesh.run(20_000);
    for n in [1, 2] {
        assert_eq!(shown(&mesh, n).unwrap().networks, [on(1, &[2])]);
    }
    remove(&mut mesh, 1, 0);
    let kept = Service { drain: 69, ..joined };
    assert_eq!(shown(&mesh, 1).unwrap(), kept);
    assert_eq!(mesh.hosts[1].used(Space::Pool([2; 32], 0)).count(), 4);
    mesh.run(2000);
    assert_eq!(shown(&mesh, 2).unwrap(), kept);
}

#[test]
fn who_inherits_addresses_is_told_of_records_older_than_its_own() {
    let mut mesh = mesh();
    let now = mesh.now;
    mesh.hosts[1].publish_network(now, &network(3));
    mesh.hosts[1].publish_service(now, &Service { networks: vec![on(3, &[2])], ..service() });
    mesh.run(3000);
    // Only host 1 hears of an address that host 0 chooses, and dies.
    mesh.cut.insert(2);
    let joined = Service { networks: vec![on(2, &[2]), on(3, &[2])], ..service() };
    let now = mesh.now;
    mesh.hosts[0].publish_service(now, &joined);
    mesh.run(500);
    for n in 0..50 {
        let change = Service { networks: vec![on(3, &[2])], drain: n + 20, ..service() };
        mesh.hosts[2].publish_service(mesh.now, &change);
    }
    mesh.cut = [0].into();
    remove(&mut mesh, 2, 0);
    assert_eq!(mesh.hosts[2].used(Space::Pool([2; 32], 0)).count(), 4);
    let now = mesh.now;
    // What host 1 knows would have won by that.
    mesh.hosts[1].publish_service(now, &Service { drain: 5, ..joined });
    mesh.run(20_000);
    for n in [1, 2] {
        let networks = shown(&mesh, n).unwrap().networks;
        assert!(networks.contains(&on(2, &[2])), "{networks:?}");
    }
}

#[test]
fn who_inherits_what_was_given_last_knows_what_is_a_services() {
    let mut mesh = mesh();
    let (now, space) = (mesh.now, Space::Pool([2; 32], 0));
    mesh.cut.insert(2);
    let want = share(space, Want::Within(network(2).pools[0].net.into(), 0));
    let Response::Entries(given) = mesh.hosts[0].request(now, id(2), want) else { panic!() };
    mesh.hosts[2].absorb(now, id(0), Response::Entries(given)).unwrap();
    let owned = mesh.owned(2, 2, space).unwrap().ranges.lowest().unwrap();
    mesh.run(500);
    // Of all that only what host 2 says of the service comes to host 1.
    let joined = on(2, &[(owned & 0xff) as u8]);
    let change = Service { networks: vec![on(1, &[2]), joined], ..service() };
    mesh.hosts[2].publish_service(mesh.now, &change);
    let entries = mesh.hosts[2].replica().entry(&Key::Service([9; 32])).cloned();
    let told = Request::Exchange { entries: entries.into_iter().collect(), want: Vec::new() };
    mesh.hosts[1].request(mesh.now, id(2), told);
    remove(&mut mesh, 0, 2);
    assert!(mesh.owned(0, 0, space).unwrap().ranges.contains(owned));
    assert_eq!(shown(&mesh, 0), Some(change));
}

/// What host 0 says of the service while it is cut off: with an address of its own.
fn said_by_the_dead(mesh: &mut Mesh) -> Vec<Entry> {
    mesh.cut.insert(0);
    let now = mesh.now;
    let networks = vec![on(1, &[2]), on(2, &[7])];
    mesh.hosts[0].publish_service(now, &Service { networks, ..service() });
    mesh.hosts[0].replica().entry(&Key::Service([9; 32])).cloned().into_iter().collect()
}

fn tell(mesh: &mut Mesh, to: usize, entries: &[Entry]) {
    let told = Request::Exchange { entries: entries.to_vec(), want: Vec::new() };
    let now = mesh.now;
    mesh.hosts[to].request(now, id(0), told);
}

/// One that stays had heard of it when it promised the removal: then it stays.
#[test]
fn a_removed_nodes_word_on_a_service_stays_if_it_was_heard_in_time() {
    let mut mesh = mesh();
    let said = said_by_the_dead(&mut mesh);
    tell(&mut mesh, 2, &said);
    mesh.run(20_000);
    remove(&mut mesh, 1, 0);
    mesh.run(5000);
    for n in [1, 2] {
        assert_eq!(shown(&mesh, n).unwrap().networks, [on(1, &[2]), on(2, &[7])]);
        assert_eq!(mesh.hosts[n].used(Space::Pool([2; 32], 0)).count(), 4, "it is not free");
    }
}

/// Who hears of it after its promise builds nothing on it; after the removal it is forgotten
/// and not taken any more, and the addresses that it names are the heir's to give.
#[test]
fn a_removed_nodes_word_on_a_service_does_not_count_afterwards() {
    for promised in [true, false] {
        let mut mesh = mesh();
        let said = said_by_the_dead(&mut mesh);
        mesh.run(20_000);
        let now = mesh.now;
        mesh.hosts[1].remove(now, vec![id(0)]).unwrap();
        while let Some(output) = mesh.hosts[1].output() {
            let Output::Call { id: call, request, .. } = output else { continue };
            let answer = mesh.hosts[2].request(now, id(1), request);
            if promised {
                tell(&mut mesh, 2, &said);
                assert_eq!(shown(&mesh, 2).unwrap().networks, [on(1, &[2]), on(2, &[7])]);
                assert!(mesh.hosts[2].check_changeable(&service().id).is_err());
            }
            mesh.hosts[1].answered(now, call, Some(answer));
        }
        assert!(mesh.hosts[1].replica().is_removed(&id(0)));
        mesh.run(5000);
        tell(&mut mesh, 2, &said);
        let now = mesh.now;
        let other = Service { id: Id::new([8; 32]), networks: vec![on(2, &[7])], ..service() };
        mesh.hosts[1].publish_service(now, &other);
        mesh.run(20_000);
        for n in [1, 2] {
            let naming = |s: &&Service| s.networks.contains(&on(2, &[7]));
            let all: Vec<&Id> = mesh.hosts[n].services().filter(naming).map(|s| &s.id).collect();
            assert_eq!(all, [&other.id], "promised: {promised}, host {n}");
            assert_eq!(mesh.hosts[n].services().count(), 2);
        }
        assert_eq!(mesh.digests(1), mesh.digests(2));
    }
}

/// The address that a change of another's has lost is restored when its owner may: not
/// while that one is being removed, but at once when nothing comes of the removal.
#[test]
fn an_address_is_restored_when_a_promise_ends() {
    let mut mesh = mesh();
    mesh.cut.insert(1);
    let now = mesh.now;
    let joined = Service { networks: vec![on(1, &[2]), on(2, &[2])], ..service() };
    mesh.hosts[0].publish_service(now, &joined);
    for drain in 20..70 {
        let change = Service { networks: vec![on(1, &[2])], drain, ..service() };
        mesh.hosts[1].publish_service(now, &change);
    }
    let change = mesh.hosts[1].replica().entry(&Key::Service([9; 32])).cloned();
    let node = mesh.hosts[2].replica().entry(&Key::Node(id(2))).cloned();
    let node: Vec<Entry> = node.into_iter().collect();
    let estate = Request::Estate(vec![id(1)], node.clone());
    assert!(matches!(mesh.hosts[0].request(now, id(2), estate), Response::Entries(_)));
    let told = Request::Exchange { entries: change.into_iter().collect(), want: Vec::new() };
    mesh.hosts[0].request(now, id(1), told);
    assert_eq!(shown(&mesh, 0).unwrap().networks, [on(1, &[2])]);
    assert_eq!(mesh.hosts[0].used(Space::Pool([2; 32], 0)).count(), 4, "nobody else gets it");
    mesh.hosts[0].request(now, id(2), Request::Release(vec![id(1)], node));
    assert_eq!(shown(&mesh, 0).unwrap(), Service { drain: 69, ..joined });
}

#[test]
fn what_a_record_names_is_used_though_too_much_is_remembered() {
    let mut mesh = mesh();
    let host = &mut mesh.hosts[0];
    let before = host.used(POOL);
    let many = (0..2000).map(|n| IpAddr::from([10, 3, (n / 256) as u8, (n % 256) as u8]));
    let older =
        Service { networks: vec![Joined { vips: many.collect(), ..on(2, &[]) }], ..service() };
    let older =
        identity(1).sign_entry(Key::Service([9; 32]), Version(0), Some(Body::Service(older)));
    host.remember_vips(&[older]);
    assert_eq!(host.used(POOL), before);
}
