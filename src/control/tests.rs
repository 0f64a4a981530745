//! The API through its socket, with the real data plane on loopback. Nothing
//! here needs root: no interface is made.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::config::{Options, Settings};
use super::error::Error;
use super::server::Socket;
use super::store::Store;

/// A daemon without signals.
struct Daemon {
    socket: PathBuf,
    end: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

fn options(dir: &Path) -> Options {
    // A port that was free a moment ago; every test has its own.
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = Settings {
        data_dir: Some(dir.join("data")),
        socket: Some(dir.join("run/s")),
        name: Some("n1".into()),
        advertise: Some("127.0.0.1".into()),
        data_port: Some(free),
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
        let (control, _) = super::daemon::start(options, store).unwrap();
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
    daemon.call("POST", "/networks", r#"{"name": "spare"}"#).await;
    assert_eq!(daemon.call("PUT", "/networks/web/vteps/192.0.2.9", "").await.0, 204);
    let remote = json!({"network": "web", "ips": ["172.31.255.9"], "vtep": "192.0.2.8"});
    let (status, remote) = daemon.call("POST", "/remote-endpoints", &remote.to_string()).await;
    assert_eq!((status, &remote["mac"]), (201, &json!("02:42:ac:1f:ff:09")));
    daemon.refused("DELETE", "/networks/web", "", 409, "in use by 172.31.255.9").await;
    let pruned = daemon.call("POST", "/networks/prune", "").await;
    assert_eq!(pruned, (200, json!({"networks": ["spare"]})));
    daemon.end().await;

    let daemon = Daemon::start(dir.path());
    let web = daemon.call("GET", "/networks/web", "").await.1;
    assert_eq!((&web["Id"], &web["MTU"]), (&made["Id"], &json!(1400)));
    assert_eq!(web["Peers"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.call("GET", "/networks/web/vteps", "").await.1, json!(["192.0.2.9"]));
    let listed = daemon.call("GET", "/endpoints?network=web", "").await.1;
    assert_eq!(listed, json!([remote]));
    assert_eq!(daemon.call("DELETE", "/endpoints/172.31.255.9", "").await.0, 204);
    assert_eq!(daemon.call("DELETE", "/networks/web", "").await.0, 204);
    assert_eq!(daemon.call("GET", "/networks", "").await.1, json!([]));
    assert_eq!(daemon.call("GET", "/status", "").await.1["networks"], 0);
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

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left by a daemon that was killed");
    drop(Socket::bind(&path).unwrap());

    std::fs::write(&path, "").unwrap();
    let message = Socket::bind(&path).unwrap_err().to_string();
    assert!(message.contains("cannot listen"), "{message}");
    assert!(path.exists(), "a file that is no socket is not ours to remove");
}
