use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::core::ipam::default_gateway;

/// The hosts a (this one), b and c; c is away.
struct Cluster {
    holdings: BTreeMap<NodeId, Holding>,
    used: Ranges,
    peers: BTreeMap<NodeId, Peer>,
}

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);
const C: NodeId = NodeId([3; 32]);

impl Cluster {
    fn new(a: &[Range], b: &[Range], c: &[Range]) -> Cluster {
        let holding = |ranges: &[Range]| Holding {
            ranges: ranges.iter().copied().collect(),
            ..Holding::default()
        };
        let peer = |name: &str, alive| Peer { name: name.to_owned(), alive };
        Cluster {
            holdings: [(A, holding(a)), (B, holding(b)), (C, holding(c))].into(),
            used: Ranges::default(),
            peers: [(A, peer("a", true)), (B, peer("b", true)), (C, peer("c", false))].into(),
        }
    }

    fn view(&self) -> View<'_> {
        View { me: A, holdings: &self.holdings, used: &self.used, peers: &self.peers }
    }
}

fn r(first: u128, last: u128) -> Range {
    Range { first, last }
}

fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

fn nets(net: &str) -> Range {
    net.parse::<IpNet>().unwrap().into()
}

fn pool(subnet: &str, range: Option<&str>) -> Pool {
    Pool { net: net(subnet), gateway: default_gateway(net(subnet)), range: range.map(net) }
}

fn why<T: std::fmt::Debug>(found: Found<T>) -> String {
    match found {
        Found::Exhausted(why) => why,
        other => panic!("{other:?}"),
    }
}

/// Takes addresses until there are none: these, and why there are no more.
fn drain(pool: &Pool, taken: &[IpAddr]) -> (Vec<IpAddr>, String) {
    let mut cluster = Cluster::new(&[pool.net.into()], &[], &[]);
    let mut order = Vec::new();
    loop {
        let held = taken.iter().chain(&order).copied();
        cluster.used = used_of_pool(pool, held);
        match cluster.view().address(pool) {
            Found::Here(ip) => {
                assert!(!order.contains(&ip) && !taken.contains(&ip), "{ip} was given twice");
                order.push(ip);
            }
            other => return (order, why(other)),
        }
    }
}

#[test]
fn a_small_subnet_is_used_to_the_last_address() {
    let (order, full) = drain(&pool("10.0.0.0/29", None), &[]);
    let expected: Vec<IpAddr> = (2..=6).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    assert_eq!(order, expected);
    assert!(full.contains("10.0.0.0/29") && full.contains("detach"), "{full}");
}

#[test]
fn the_range_limits_and_keeps_the_subnets_reserved_addresses() {
    let (order, full) = drain(&pool("10.0.0.0/24", Some("10.0.0.252/30")), &[]);
    assert_eq!(order.len(), 3, "252, 253, 254, but not the broadcast address");
    assert!(full.contains("10.0.0.252/30"), "{full}");
}

#[test]
fn the_end_of_the_address_space_does_not_overflow() {
    let p = pool("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", None);
    assert_eq!(drain(&p, &[]).0.len(), 2, "IPv6 has no broadcast address");
    assert_eq!(drain(&pool("255.255.255.252/30", None), &[]).0.len(), 1);
}

proptest! {
    #[test]
    fn never_twice_never_reserved_and_always_the_lowest(
        bits in any::<u128>(), v6: bool, small in 0u8..6, gateway in any::<u8>(),
        taken in proptest::collection::btree_set(any::<u8>(), 0..40),
    ) {
        let net: IpNet = if v6 {
            IpNet::new(Ipv6Addr::from_bits(bits).into(), 128 - 2 - small).unwrap()
        } else {
            IpNet::new(Ipv4Addr::from_bits(bits as u32).into(), 32 - 2 - small).unwrap()
        }.trunc();
        let (first, size) = (ipam::number(net.network()), 1u128 << (2 + small));
        let nth = |n: u8| ipam::address(first + u128::from(n) % size, net);
        let pool = Pool { net, gateway: nth(gateway), range: None };
        let taken: Vec<IpAddr> = taken.into_iter().map(nth).collect();
        let expected: Vec<IpAddr> = (0..size)
            .map(|n| ipam::address(first + n, net))
            .filter(|ip| pool.reserved(*ip).is_none() && !taken.contains(ip))
            .collect();
        prop_assert_eq!(drain(&pool, &taken).0, expected);
    }
}

#[test]
fn who_has_most_is_asked_first_and_the_dead_are_not() {
    let pool = pool("10.0.0.0/24", None);
    let at = |n: u128| nets("10.0.0.0/24").first + n;
    let d = NodeId([4; 32]);
    let mut cluster = Cluster::new(&[], &[r(at(0), at(9))], &[r(at(100), at(255))]);
    cluster.holdings.insert(d, Holding::whole(r(at(10), at(99))));
    cluster.peers.insert(d, Peer { name: "d".to_owned(), alive: true });
    cluster.used = used_of_pool(&pool, []);
    let want = Want::Within(nets("10.0.0.0/24"), 0);
    assert_eq!(cluster.view().address(&pool), Found::Ask(vec![d, B], want));

    cluster.used = used_of_pool(&pool, (2..=99).map(|n| ipam::address(at(n), pool.net)));
    assert_eq!(
        why(cluster.view().address(&pool)),
        "no address is free in 10.0.0.0/24: 256 are held, by b 10, \
         c 156 (155 of them free, but it cannot be reached), d 90; detach an endpoint, or create \
         a network with a larger subnet, or wait for c, or remove with `vxmesh node rm` what is \
         gone for good"
    );
}

#[test]
fn vnis_begin_at_4096() {
    let mut cluster = Cluster::new(&[VNIS], &[], &[]);
    cluster.used = [r(4096, 4098)].into_iter().collect();
    assert_eq!(cluster.view().vni(), Found::Here(Vni::new(4099).unwrap()));
    cluster.used = VNIS.into();
    assert!(why(cluster.view().vni()).contains("remove a network"));
    let low = Cluster::new(&[r(1, 4095)], &[r(4096, VNIS.last)], &[]);
    assert_eq!(low.view().vni(), Found::Ask(vec![B], Want::Within(r(4096, VNIS.last), 0)));
}

#[test]
fn subnets_are_aligned_and_overlap_nothing() {
    let mut cluster = Cluster::new(&[IPV4], &[], &[]);
    let pools = [net("10.0.0.0/8")];
    cluster.used =
        [nets("10.0.0.0/24"), nets("10.0.1.128/25"), nets("192.168.0.0/16")].into_iter().collect();
    let routes = [net("10.0.2.7/32"), net("::/0"), net("10.0.3.0/24")];
    let found = cluster.view().subnet(&pools, 24, &routes);
    assert_eq!(found, Found::Here(net("10.0.4.0/24")));
    let everything = why(cluster.view().subnet(&pools, 24, &[net("8.0.0.0/5")]));
    assert!(everything.contains("10.0.0.0/8") && everything.contains("--subnet"), "{everything}");
    assert!(why(cluster.view().subnet(&pools, 7, &[])).contains("no /7"));
    assert!(why(cluster.view().subnet(&[], 24, &[])).contains("no /24"));

    let six = Cluster::new(&[IPV6], &[], &[]);
    let found = six.view().subnet(&[net("fd00::/48")], 64, &[net("fd00::/64")]);
    assert_eq!(found, Found::Here(net("fd00:0:0:1::/64")));
    assert!(why(six.view().subnet(&[net("fd00::/48")], 0, &[])).contains("no /0"));
}

#[test]
fn subnets_are_asked_for_where_no_route_is_in_the_way() {
    let cluster = Cluster::new(&[], &[IPV4], &[]);
    let found = cluster.view().subnet(&[net("10.0.0.0/8")], 24, &[net("10.0.0.0/9")]);
    assert_eq!(found, Found::Ask(vec![B], Want::Within(nets("10.128.0.0/9"), 8)));
}

#[test]
fn what_is_asked_for_is_had_from_its_owner() {
    let mut cluster = Cluster::new(&[r(0, 9)], &[r(10, 19), r(30, 39)], &[r(20, 29)]);
    let exactly = |cluster: &Cluster, range| cluster.view().exactly(range, "VNI 7");
    assert_eq!(exactly(&cluster, r(3, 9)), Found::Here(r(3, 9)));
    assert_eq!(exactly(&cluster, r(30, 30)), Found::Ask(vec![B], Want::Exactly(r(30, 30))));
    assert_eq!(exactly(&cluster, r(8, 12)), Found::Ask(vec![B], Want::Exactly(r(10, 12))));
    let away = why(exactly(&cluster, r(15, 25)));
    assert!(away.starts_with("VNI 7 belongs to c, which cannot be reached"), "{away}");
    assert!(why(exactly(&cluster, r(39, 40))).contains("no node"));
    cluster.used = r(4, 4).into();
    assert!(why(exactly(&cluster, r(3, 9))).contains("in use"));

    let c = cluster.holdings.get_mut(&C).unwrap();
    c.grant(B, Want::Exactly(r(22, 23)), &Ranges::default()).unwrap();
    assert!(why(exactly(&cluster, r(23, 23))).contains("on its way from c to b"));
}

#[test]
fn several_owners_are_asked_one_after_the_other() {
    let none = Ranges::default();
    let mut cluster = Cluster::new(&[r(0, 9)], &[r(10, 19), r(30, 39)], &[r(20, 29)]);
    cluster.peers.insert(C, Peer { name: "c".to_owned(), alive: true });
    for _ in 0..3 {
        let Found::Ask(nodes, want) = cluster.view().exactly(r(5, 35), "this") else {
            panic!("not yet")
        };
        let giver = cluster.holdings.get_mut(&nodes[0]).unwrap();
        giver.grant(A, want, &none).unwrap();
        let giver = giver.clone();
        assert!(cluster.holdings.get_mut(&A).unwrap().take(A, nodes[0], &giver));
    }
    assert_eq!(cluster.view().exactly(r(5, 35), "this"), Found::Here(r(5, 35)));
}
