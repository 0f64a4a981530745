use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::view::Sessions;
use super::*;
use crate::api;
use crate::core::Now;
use crate::core::cluster::entry::{Key, Node, Version};
use crate::core::cluster::machine::{Settings, Start};
use crate::core::cluster::rpc::{Request, Response};
use crate::core::cluster::secret::identity::Identity;
use crate::core::plan::PortId;
use crate::core::seal::cipher::Suite;
use crate::core::seal::{Established, Report};
use crate::core::tables::{NewEndpoint, NewNetwork, Underlay};
use crate::wire::vxlan::Vni;

const NOW: Now = Duration::from_secs(1);

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn vtep(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn host(n: u8) -> Machine {
    let node = Node {
        name: format!("n{n}"),
        vtep: vtep(n),
        control: SocketAddr::new(vtep(n), 7946),
        mtu: 1500,
        program: "1".into(),
        floor: Version(0),
        exchange: [0; 32],
        renounced: Default::default(),
    };
    let start = Start { identity: identity(n), node, generation: 1, entries: Vec::new() };
    Machine::new(NOW, start, Settings::default(), [n; 32], [n; 16])
}

/// Host `n` joins the cluster of `machine`.
fn admit(machine: &mut Machine, n: u8) {
    let newcomer = host(n);
    let me = newcomer.me();
    let own = newcomer.replica().entry(&Key::Node(me)).cloned();
    let request = Request::Join {
        exchange: identity(n).exchange_public(),
        entries: own.into_iter().collect(),
    };
    let admitted = machine.admit(NOW, me, request);
    assert!(matches!(admitted, Response::Entries(_)), "{admitted:?}");
}

/// Host 1, which has admitted hosts 2 and 3; its tables, and who holds what.
struct Lab {
    machine: Machine,
    tables: Tables,
    nodes: BTreeMap<Id, NodeId>,
}

impl Lab {
    fn new() -> Lab {
        let mut machine = host(1);
        [2, 3].into_iter().for_each(|n| admit(&mut machine, n));
        let tables = Tables::new(7, Underlay { vtep: vtep(1), mtu: 1500 });
        Lab { machine, tables, nodes: BTreeMap::new() }
    }

    fn network(&mut self, n: u8, encrypted: bool) -> Id {
        let option = encrypted.then(|| ("encrypted".to_owned(), String::new()));
        let new = NewNetwork {
            name: format!("net{n}"),
            subnets: vec![format!("10.{n}.0.0/24").parse().unwrap()],
            options: option.into_iter().collect(),
            ..NewNetwork::default()
        };
        let vni = Vni::new(4096 + u32::from(n)).unwrap();
        self.tables.create_network(new, vni, [n; 32], SystemTime::UNIX_EPOCH, &[]).unwrap().id
    }

    /// An endpoint of host `at` on a network.
    fn attach(&mut self, network: &Id, at: u8) {
        let ips = vec![
            self.tables.get_network(network).unwrap().pools[0].net.hosts().nth(at.into()).unwrap(),
        ];
        let new = NewEndpoint {
            name: Some(format!("c{at}")),
            default_name: String::new(),
            ips,
            mac: None,
            aliases: Vec::new(),
            service: None,
        };
        let mut id = network.bytes().unwrap();
        id[31] = at;
        let now = SystemTime::UNIX_EPOCH;
        let made = self.tables.add_endpoint(network, new, Id::new(id), now).unwrap();
        if at != 1 {
            self.nodes.insert(made.id.clone(), identity(at).id());
            self.tables.put_endpoint(Endpoint { holder: Holder::Vtep(vtep(at)), ..made });
        }
    }

    fn config(&self) -> Config {
        config(&self.machine, &self.tables, &self.nodes, 4789)
    }

    /// The peers by number, and whether they are wanted.
    fn peers(&self) -> Vec<(u8, bool)> {
        let number = |p: &Peer| (1..9).find(|n| identity(*n).id() == p.node).unwrap();
        let mut peers: Vec<_> = self.config().peers.iter().map(|p| (number(p), p.wanted)).collect();
        peers.sort_unstable();
        peers
    }
}

#[test]
fn all_other_members_are_told_with_their_keys() {
    let lab = Lab::new();
    let config = lab.config();
    assert_eq!(config.private, identity(1).exchange_private());
    assert_eq!(
        x25519_dalek::x25519(*config.private, x25519_dalek::X25519_BASEPOINT_BYTES),
        identity(1).exchange_public()
    );
    assert_eq!((config.primary, config.port), (1, 4789));
    assert!(config.keys.contains_key(&1));
    let expected = |n| Peer {
        node: identity(n).id(),
        public: identity(n).exchange_public(),
        vtep: vtep(n),
        wanted: false,
    };
    let mut peers = config.peers;
    peers.sort_by_key(|p| p.vtep);
    assert_eq!(peers, [expected(2), expected(3)]);
}

#[test]
fn who_shares_an_encrypted_network_is_wanted() {
    let mut lab = Lab::new();
    let (plain, red) = (lab.network(1, false), lab.network(2, true));
    [1, 2, 3].into_iter().for_each(|at| lab.attach(&plain, at));
    lab.attach(&red, 2);
    assert_eq!(lab.peers(), [(2, false), (3, false)], "nothing of the network is here");
    lab.attach(&red, 1);
    assert_eq!(lab.peers(), [(2, true), (3, false)]);
    lab.attach(&red, 3);
    assert_eq!(lab.peers(), [(2, true), (3, true)]);
}

#[test]
fn a_removed_member_is_no_peer_at_once() {
    let mut lab = Lab::new();
    let red = lab.network(1, true);
    [1, 2, 3].into_iter().for_each(|at| lab.attach(&red, at));
    assert_eq!(lab.peers(), [(2, true), (3, true)]);
    lab.machine.remove(NOW, vec![identity(2).id(), identity(3).id()]).unwrap();
    assert_eq!(lab.peers(), [], "whatever is still in the tables");
}

#[test]
fn nothing_is_told_twice() {
    let mut lab = Lab::new();
    let told = Told(Some(lab.config()));
    assert!(told.is(&lab.config()) && told.has_keys_of(&lab.machine));
    assert!(!Told::default().is(&lab.config()) && !Told::default().has_keys_of(&lab.machine));
    lab.machine.rotate_key(NOW);
    assert!(!told.is(&lab.config()) && !told.has_keys_of(&lab.machine), "a second key is accepted");
    let told = Told(Some(lab.config()));
    lab.machine.tick(NOW + Duration::from_secs(60));
    assert_eq!(lab.machine.ring().primary(), 2);
    assert!(!told.is(&lab.config()) && !told.has_keys_of(&lab.machine), "and used");
    let told = Told(Some(lab.config()));
    let red = lab.network(1, true);
    [1, 2].into_iter().for_each(|at| lab.attach(&red, at));
    assert!(!told.is(&lab.config()) && told.has_keys_of(&lab.machine), "another is wanted");
}

#[test]
fn keys_are_not_printed() {
    let told = Told(Some(Lab::new().config()));
    let printed = format!("{told:?}");
    assert!(!printed.contains("Secret") && !printed.contains("private"), "{printed}");
}

fn report(n: u8, sealed_with: Option<Suite>, trouble: Option<&str>) -> Report {
    let session = sealed_with.map(|suite| Established {
        suite,
        age: Duration::from_millis(3_723_900),
        handshake: Duration::from_secs(61),
        handshakes: 32,
    });
    let drops = BTreeMap::from([("replayed", 4)]);
    let trouble = trouble.map(str::to_owned);
    Report { node: identity(n).id(), session, trouble, sealed: 12, opened: 11, drops }
}

impl Lab {
    fn sessions(&self, reports: &[Report]) -> Sessions {
        let told = Told(Some(self.config()));
        Sessions::of(reports, |node| self.machine.name_of(node), |node| told.wants(node))
    }

    /// Whom a network does not reach, and why.
    fn unreachable(&self, network: &Id, reports: &[Report]) -> Vec<(String, String)> {
        let name = |node: &NodeId| self.machine.name_of(node);
        let network = self.tables.get_network(network).unwrap();
        let sessions = self.sessions(reports);
        let shown = view::network(&self.tables, &self.nodes, &sessions, network, name);
        shown.unreachable.into_iter().map(|u| (u.node, u.reason)).collect()
    }
}

#[test]
fn a_session_is_shown_whole() {
    let mut lab = Lab::new();
    let red = lab.network(1, true);
    [1, 2].into_iter().for_each(|at| lab.attach(&red, at));
    let sessions = lab.sessions(&[report(2, Some(Suite::Aes256Gcm), None)]);
    let expected = api::Session {
        node: "n2".into(),
        wanted: true,
        cipher: Some("AES-256-GCM".into()),
        age: Some(3723),
        handshake: Some(61),
        handshakes: 32,
        sealed: 12,
        opened: 11,
        drops: [("replayed".to_owned(), 4)].into(),
        trouble: None,
    };
    assert_eq!(sessions.with(&identity(2).id()), Some(expected));
    assert_eq!(sessions.with(&identity(3).id()), None);
    let idle = Report { sealed: 0, opened: 0, drops: BTreeMap::new(), ..report(3, None, None) };
    assert_eq!(lab.sessions(&[idle]).with(&identity(3).id()), None, "of no interest");
}

#[test]
fn an_encrypted_network_names_whom_it_does_not_reach() {
    let mut lab = Lab::new();
    let red = lab.network(1, true);
    [2, 3].into_iter().for_each(|at| lab.attach(&red, at));
    assert_eq!(lab.unreachable(&red, &[]), [], "nothing of it is here");
    lab.attach(&red, 1);
    let wait = "its key is not known yet: wait a second";
    let says = |node: &str, why: &str| (node.to_owned(), why.to_owned());
    assert_eq!(lab.unreachable(&red, &[]), [says("n2", wait), says("n3", wait)]);
    let reports = [
        report(2, Some(Suite::ChaCha20Poly1305), Some("it did not answer the last time")),
        report(3, None, Some("it does not answer")),
    ];
    assert_eq!(lab.unreachable(&red, &reports), [says("n3", "it does not answer")]);
}

#[test]
fn a_ledger_is_shown_and_what_it_must_not_say_is_a_warning() {
    let mut lab = Lab::new();
    let red = lab.network(1, true);
    lab.attach(&red, 1);
    let here = lab.tables.endpoints().next().unwrap().id.clone();
    lab.tables.bind(&here, PortId(0));
    let plan = lab.tables.plan();
    let ledger = plan.port(PortId(0)).unwrap().0.encrypted.clone().unwrap();
    ledger.count_sealed(1);
    ledger.count_opened(2);
    ledger.count_clear_refused(3);
    assert_eq!(view::warnings(&lab.tables).count(), 0);
    ledger.count_clear_sent(4);
    ledger.count_clear_accepted(5);
    let network = lab.tables.get_network(&red).unwrap();
    let shown = view::network(&lab.tables, &lab.nodes, &lab.sessions(&[]), network, |_| panic!());
    let counts = (shown.sealed, shown.opened, shown.clear_refused);
    assert_eq!((shown.name.as_str(), counts), ("net1", (1, 2, 3)));
    assert_eq!((shown.clear_sent, shown.clear_accepted), (4, 5));
    let warned: Vec<String> = view::warnings(&lab.tables).collect();
    assert!(warned[0].contains("net1") && warned[0].contains("4 datagrams"), "{warned:?}");
}
