//! The API through its socket, with the real data plane on loopback. Nothing
//! here needs root: no interface is made.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::config::{Options, Settings};
use super::error::Error;
use super::server::Socket;
use super::store::Store;
use crate::core::cluster::entry::NodeId;
use crate::core::cluster::rpc::Response;
use crate::core::ipam::Pool;
use crate::core::tables::{Id, Joined, Network, Service};
use crate::wire::vxlan::Vni;

/// A daemon without signals.
struct Daemon {
    socket: PathBuf,
    end: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

/// A port that was free a moment ago, and that nobody else takes: it is below those that
/// the kernel gives out and those that the data plane sends from, and given once only.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let first = 10_000 + (std::process::id() % 10_000) as u16;
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn options(dir: &Path) -> Options {
    let settings = Settings {
        data_dir: Some(dir.join("data")),
        socket: Some(dir.join("run/s")),
        name: Some("n1".into()),
        advertise: Some("127.0.0.1".into()),
        data_port: Some(free_port()),
        ..Settings::default()
    };
    settings.resolve().unwrap()
}

impl Daemon {
    fn start(dir: &Path) -> Daemon {
        let options = options(dir);
        let store = Store::open(&options.data_dir).unwrap();
        let bound = Socket::bind(&options.socket).unwrap();
        let socket = options.socket.clone();
        let (control, _) = super::daemon::start(options, store, Handle::current()).unwrap();
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(Arc::new(control), async {
            let _ = ended.await;
        }));
        Daemon { socket, end, serving }
    }

    async fn end(self) {
        self.end.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
        assert!(!self.socket.exists(), "the socket's file is removed");
    }

    /// Status and body; `null` for none.
    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let request = format!(
            "{method} /v1{path} HTTP/1.1\r\nhost: vxmesh\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // The server may answer, and close, before it has read a large body.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() })
    }

    async fn refused(&self, method: &str, path: &str, body: &str, status: u16, part: &str) {
        let (got, body) = self.call(method, path, body).await;
        let message = body["message"].as_str().unwrap();
        assert_eq!(got, status, "{method} {path}: {message}");
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[tokio::test]
async fn networks_and_what_is_on_them_outlive_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let body = json!({"name": "web", "subnets": ["172.31.255.0/24"], "mtu": 1400}).to_string();
    let (status, made) = daemon.call("POST", "/networks", &body).await;
    assert_eq!((status, &made["VNI"]), (201, &json!(4096)));
    let spare = daemon.call("POST", "/networks", r#"{"name": "spare"}"#).await.1;
    assert_eq!(spare["VNI"], 4097);
    assert_eq!(daemon.call("PUT", "/networks/web/vteps/192.0.2.9", "").await.0, 204);
    daemon.end().await;

    let daemon = Daemon::start(dir.path());
    assert_eq!(daemon.call("GET", "/networks/spare", "").await.1["Id"], spare["Id"]);
    let pruned = daemon.call("POST", "/networks/prune", "").await;
    assert_eq!(pruned, (200, json!({"networks": ["spare"]})), "web has a foreign VTEP");
    let web = daemon.call("GET", "/networks/web", "").await.1;
    assert_eq!((&web["Id"], &web["MTU"]), (&made["Id"], &json!(1400)));
    assert_eq!(daemon.call("GET", "/networks/web/vteps", "").await.1, json!(["192.0.2.9"]));
    assert_eq!(daemon.call("DELETE", "/networks/web", "").await.0, 204);
    daemon.end().await;

    let daemon = Daemon::start(dir.path());
    assert_eq!(daemon.call("GET", "/networks", "").await.1, json!([]));
    assert_eq!(daemon.call("GET", "/status", "").await.1["networks"], 0);
    daemon.end().await;
}

#[tokio::test]
async fn a_host_alone_allocates_from_all_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let pools =
        json!({"default_addr_pool": ["172.31.0.0/16"], "default_addr_pool_mask_length": 20});
    let (status, _) = daemon.call("POST", "/cluster/init", &pools.to_string()).await;
    assert_eq!(status, 200);
    let create = async |body: Value| daemon.call("POST", "/networks", &body.to_string()).await.1;
    let subnet = |network: &Value| network["IPAM"]["Config"][0]["Subnet"].clone();
    let taken = create(json!({"name": "a", "subnets": ["172.31.16.0/21"], "vni": 4097})).await;
    assert_eq!(taken["VNI"], 4097);
    let first = create(json!({"name": "b"})).await;
    assert_eq!((&first["VNI"], subnet(&first)), (&json!(4096), json!("172.31.0.0/20")));
    let second = create(json!({"name": "c"})).await;
    assert_eq!((&second["VNI"], subnet(&second)), (&json!(4098), json!("172.31.32.0/20")));
    let same = r#"{"name": "d", "vni": 4096}"#;
    daemon.refused("POST", "/networks", same, 409, "VNI 4096 is taken by network b").await;
    let same = r#"{"name": "d", "subnets": ["172.31.32.0/24"]}"#;
    daemon.refused("POST", "/networks", same, 409, "overlaps 172.31.32.0/20").await;
    assert_eq!(daemon.call("DELETE", "/networks/b", "").await.0, 204);
    let again = create(json!({"name": "d"})).await;
    assert_eq!((&again["VNI"], subnet(&again)), (&json!(4096), json!("172.31.0.0/20")));
    daemon.end().await;
}

#[tokio::test]
async fn encrypted_networks_are_so_for_good_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let encrypted = json!({"name": "red", "options": {"encrypted": ""}, "mtu": 1424});
    let red = daemon.call("POST", "/networks", &encrypted.to_string()).await.1;
    assert_eq!(red["Options"], json!({"encrypted": ""}), "as given");
    assert!(red["Id"].as_str().unwrap().ends_with("5ea1"));
    let plain = json!({"name": "web", "options": {"encrypted": "false"}}).to_string();
    let web = daemon.call("POST", "/networks", &plain).await.1;
    assert!(!web["Id"].as_str().unwrap().ends_with("5ea1"));
    let foreign = "/networks/red/vteps/192.0.2.9";
    daemon.refused("PUT", foreign, "", 409, "network red is encrypted").await;
    daemon.end().await;

    let daemon = Daemon::start(dir.path());
    let status = daemon.call("GET", "/status", "").await.1;
    let shown = json!([{
        "name": "red", "id": red["Id"], "sealed": 0, "opened": 0, "clear_refused": 0,
        "clear_sent": 0, "clear_accepted": 0, "unreachable": [],
    }]);
    assert_eq!(status["encrypted"]["networks"], shown);
    assert_eq!(status["encrypted"]["sessions"], json!([]));
    let ciphers = status["encrypted"]["ciphers"].as_array().unwrap();
    assert!(ciphers.iter().any(|c| c["name"] == "ChaCha20-Poly1305"), "{ciphers:?}");
    assert_eq!(daemon.call("GET", "/nodes/n1", "").await.1["seal"], Value::Null);
    daemon.end().await;
}

#[tokio::test]
async fn bad_requests_get_a_sentence_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    daemon.call("POST", "/networks", r#"{"name": "web", "subnets": ["172.31.255.0/24"]}"#).await;
    let large = " ".repeat(2 << 20);
    for (method, path, body, status, part) in [
        ("POST", "/networks", "{", 400, "no JSON"),
        ("POST", "/networks", r#"{"name": "x", "foo": 1}"#, 400, "unknown field `foo`"),
        ("POST", "/networks", r#"{"name": 5}"#, 400, "invalid type"),
        ("POST", "/networks", r#"{"name": "x", "vni": 16777216}"#, 400, "24 bits"),
        ("POST", "/networks", &large, 413, "too large"),
        ("POST", "/networks", r#"{"name": "web"}"#, 409, "exists already"),
        ("PUT", "/networks/web/vteps/x", "", 400, "no address"),
        ("PUT", "/networks/web/vteps/127.0.0.1", "", 400, "own VTEP"),
        ("DELETE", "/networks/web/vteps/192.0.2.9", "", 404, "no foreign VTEP"),
        ("GET", "/networks/none", "", 404, "there is no network \"none\""),
        ("GET", "/endpoints?net=web", "", 400, "unknown field `net`"),
        ("GET", "/nothing", "", 404, "nothing at /v1/nothing"),
        ("PATCH", "/networks", "", 405, "does not take PATCH"),
        ("GET", "/networks/%ff", "", 400, "path cannot be read"),
    ] {
        daemon.refused(method, path, body, status, part).await;
    }
    let attach = |sandbox: Value| {
        json!({"network": "web", "sandbox": sandbox, "ifname": "eth0"}).to_string()
    };
    let own = json!({"pid": std::process::id()});
    for (body, status, part) in [
        (attach(json!({"netns": "vxmesh-none"})), 404, "/run/netns/vxmesh-none"),
        (attach(json!({"netns": "../x"})), 400, "no namespace's name"),
        (attach(json!({"netns": "/etc/passwd"})), 400, "no network namespace"),
        (attach(own), 400, "daemon's own network namespace"),
        (attach(json!({"tap": "vm0"})), 400, "named twice"),
        (attach(json!({"tap": "eth0", "pid": 1})), 400, "no"),
    ] {
        daemon.refused("POST", "/endpoints", &body, status, part).await;
    }
    let status = daemon.call("GET", "/status", "").await.1;
    assert_eq!((&status["networks"], &status["endpoints"]), (&json!(1), &json!(0)));
    daemon.end().await;
}

#[tokio::test]
async fn the_socket_is_for_its_group_and_for_one_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/s");
    let first = Socket::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let message = Socket::bind(&path).unwrap_err().to_string();
    assert!(message.contains("is listening at"), "{message}");
    drop(first);
    assert!(!path.exists());

    let left = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    left.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    assert!(path.exists(), "left by a daemon that was killed");
    drop(Socket::bind(&path).unwrap());

    std::fs::write(&path, "").unwrap();
    let message = Socket::bind(&path).unwrap_err().to_string();
    assert!(message.contains("cannot listen"), "{message}");
    assert!(path.exists(), "a file that is no socket is not ours to remove");
}

#[tokio::test]
async fn only_the_host_that_holds_an_endpoint_drains_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options.data_dir).unwrap();
    let (control, _) = super::daemon::start(options, store, Handle::current()).unwrap();
    let [holder, other] = [NodeId([1; 32]), NodeId([2; 32])];
    control.lock().remote_nodes.insert(Id::new([7; 32]), holder);
    for reset in [false, true] {
        assert_eq!(control.answer_drain(holder, [7; 32], reset), Response::Flows(0));
        let refused = control.answer_drain(other, [7; 32], reset);
        assert!(matches!(refused, Response::Refused(_)), "{refused:?}");
        assert_eq!(control.answer_drain(other, [8; 32], reset), Response::Flows(0), "unknown");
    }
}

/// Of two services that name one virtual IP, each says which of them has it.
#[tokio::test]
async fn services_that_name_one_address_say_which_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = Store::open(&options.data_dir).unwrap();
    let (control, _) = super::daemon::start(options, store, Handle::current()).unwrap();
    let (net, gateway) = ("10.1.0.0/24".parse().unwrap(), "10.1.0.1".parse().unwrap());
    let web = Network {
        id: Id::new([1; 32]),
        name: "web".into(),
        created: String::new(),
        vni: Vni::new(4096).unwrap(),
        mtu: None,
        pools: vec![Pool { net, gateway, range: None }],
        internal: false,
        options: Default::default(),
        labels: Default::default(),
    };
    let vips = vec!["10.1.0.9".parse().unwrap()];
    let shop = Service {
        id: Id::new([3; 32]),
        name: "shop".into(),
        created: "2026-01-01T00:00:00Z".into(),
        mode: Default::default(),
        scheduler: Default::default(),
        affinity: None,
        health: None,
        drain: 10,
        aliases: Vec::new(),
        published: Vec::new(),
        networks: vec![Joined { network: web.id.clone(), vips, active: true }],
        weights: Default::default(),
    };
    let created = "2026-01-02T00:00:00Z".to_owned();
    let cart = Service { id: Id::new([2; 32]), name: "cart".into(), created, ..shop.clone() };
    {
        let tables = &mut control.lock().tables;
        tables.put_network(web);
        [cart, shop].into_iter().for_each(|service| tables.put_service(service));
    }
    let shown = control.services();
    let said = |name: &str, words: &str| {
        let warnings = &shown.iter().find(|s| s.name == name).unwrap().warnings;
        assert!(warnings.iter().any(|w| w.contains(words)), "{name}: {warnings:?}");
    };
    said(
        "shop",
        "virtual IP 10.1.0.9 of service shop on network web is named by service cart too, which has it",
    );
    said("cart", "is named by service shop too, which does not have it");
}
