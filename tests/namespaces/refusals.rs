//! Bad command lines and bad API requests: one clear sentence, nothing changed.

use std::io::Write;
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::common::host::Host;
use crate::common::http::{answer, connect};
use crate::common::lab::one_host;
use crate::common::netns::Netns;
use crate::common::root;

/// A host with network `red` and one container on it.
fn lab() -> (Host, Netns) {
    let host = one_host();
    host.ok("network create red --vni 5000 --subnet 10.1.0.0/24");
    host.ok("network create empty --subnet 10.2.0.0/24");
    let container = Netns::new("box");
    host.attach("red", &container, "--ip 10.1.0.9");
    (host, container)
}

/// Runs what must be refused; `says` is a word of the sentence.
fn refuse(host: &Host, line: &str, says: &str) {
    let before = (host.networks(), host.endpoints());
    let output = host.vx(&line.split(' ').collect::<Vec<_>>());
    assert!(matches!(output.code, Some(1 | 2)), "{line}: {output:?}");
    // `inspect` prints what it found, as Docker's does: an empty list.
    let found = if line.contains("inspect") { "[]" } else { "" };
    assert_eq!(output.out.trim(), found, "{line}");
    assert!(output.err.contains(says), "{line}: says {says:?}: {}", output.err);
    if output.code == Some(1) {
        assert_eq!(output.err.trim().lines().count(), 1, "{line}: one sentence: {}", output.err);
    }
    assert!(!output.err.contains("panicked"), "{line}: {}", output.err);
    assert_eq!((host.networks(), host.endpoints()), before, "{line}: changed something");
}

#[test]
fn networks() {
    need!(root());
    let (host, _container) = lab();
    for (line, says) in [
        ("network create red", "red"),
        ("network create a/b", "a/b"),
        ("network create .hidden", ".hidden"),
        ("network create ..", ".."),
        ("network create new --subnet 10.3.0.1/24", "10.3.0.0/24"),
        ("network create new --subnet 10.3.0.0/33", "10.3.0.0/33"),
        ("network create new --subnet 10.3.0.0", "10.3.0.0"),
        ("network create new --subnet ten", "ten"),
        ("network create new --subnet 10.3.0.0/24 --subnet 10.3.0.128/25", "10.3.0.128/25"),
        ("network create new --subnet 224.0.0.0/24", "224.0.0.0/24"),
        ("network create new --subnet 127.0.0.0/24", "127.0.0.0/24"),
        ("network create new --subnet 10.3.0.0/32", "10.3.0.0/32"),
        ("network create new --subnet 10.3.0.0/24 --gateway 10.4.0.1", "10.4.0.1"),
        ("network create new --subnet 10.3.0.0/24 --gateway 10.3.0.255", "10.3.0.255"),
        ("network create new --subnet 10.3.0.0/24 --ip-range 10.4.0.0/25", "10.4.0.0/25"),
        ("network create new --subnet 10.3.0.0/24 --vni 5000", "5000"),
        ("network create new --subnet 10.3.0.0/24 --vni 16777216", "16777216"),
        ("network create new --subnet 10.3.0.0/24 --vni 0", "0"),
        ("network create new --subnet 10.3.0.0/24 --mtu 100", "100"),
        ("network create new --subnet 10.3.0.0/24 --mtu 70000", "70000"),
        ("network create new --subnet 10.3.0.0/24 --opt colour=red", "colour"),
        ("network create new --subnet 10.3.0.0/24 --opt multicast=perhaps", "perhaps"),
        ("network rm red", "red"),
        ("network rm nosuch", "nosuch"),
        ("network inspect nosuch", "nosuch"),
        ("network fly", "fly"),
        ("vtep add red 10.99.0.1", "10.99.0.1"),
        ("vtep add red 224.0.0.1", "224.0.0.1"),
        ("vtep add red host.example", "host.example"),
        ("vtep add nosuch 10.99.0.2", "nosuch"),
        ("vtep rm red 10.99.0.2", "10.99.0.2"),
        ("detach nosuch", "nosuch"),
        ("endpoint inspect nosuch", "nosuch"),
        ("endpoint add-remote red --ip 10.1.0.8 --vtep 10.99.0.2", "add-remote"),
        ("endpoint rm box", "rm"),
    ] {
        refuse(&host, line, says);
    }
    let long = "n".repeat(64);
    refuse(&host, &format!("network create {long}"), &long);
}

/// Requests that are HTTP, to places where they do not belong.
#[test]
fn requests() {
    need!(root());
    let (host, container) = lab();
    let sandbox = json!({ "netns": container.name() });
    for (method, path, body) in [
        ("POST", "/v1/networks", json!({ "name": "new", "colour": "red" })),
        ("POST", "/v1/networks", json!({ "name": 7 })),
        ("POST", "/v1/networks", json!({ "name": "new", "subnets": "10.3.0.0/24" })),
        ("POST", "/v1/networks", json!({ "name": "new", "subnets": ["10.3.0.0/99"] })),
        ("POST", "/v1/networks", json!({ "name": "new", "vni": -1 })),
        ("POST", "/v1/networks", json!({ "name": "new", "vni": 4294967296_u64 })),
        ("POST", "/v1/networks", json!({ "name": "new", "mtu": 65536 })),
        ("POST", "/v1/networks", json!({})),
        ("POST", "/v1/networks", json!([])),
        ("POST", "/v1/networks", Value::Null),
        ("POST", "/v1/endpoints", json!({ "network": "red" })),
        ("POST", "/v1/endpoints", json!({ "network": "red", "sandbox": {} })),
        ("POST", "/v1/endpoints", json!({ "network": "red", "sandbox": { "pid": "x" } })),
        ("POST", "/v1/endpoints", json!({ "network": "red", "sandbox": { "moon": 1 } })),
        ("POST", "/v1/endpoints", json!({ "network": "red", "sandbox": sandbox, "speed": 9 })),
        ("POST", "/v1/endpoints", json!({ "network": "red", "sandbox": sandbox, "mac": "02:42" })),
        (
            "POST",
            "/v1/endpoints",
            json!({ "network": "red", "sandbox": { "netns": "../netns/x" } }),
        ),
        (
            "POST",
            "/v1/remote-endpoints",
            json!({ "network": "red", "ips": [], "vtep": "10.99.0.2" }),
        ),
        ("PUT", "/v1/networks/red/vteps/here", Value::Null),
        ("PUT", "/v1/networks", json!({})),
        ("DELETE", "/v1/networks/red", Value::Null),
        ("DELETE", "/v1/networks", Value::Null),
        ("BREW", "/v1/status", Value::Null),
        ("GET", "/v1/nothing", Value::Null),
        ("GET", "/v1/networks/%ff%fe", Value::Null),
        ("GET", "/v1/networks/..%2f..%2fetc", Value::Null),
        ("GET", "/v1/endpoints?network=nosuch", Value::Null),
        ("GET", "/v1/endpoints?colour=red", Value::Null),
        ("GET", "/", Value::Null),
    ] {
        let before = (host.networks(), host.endpoints());
        let answer = host.api(method, path, &body);
        let what = format!("{method} {path} {body}: {answer:?}");
        assert!((400..500).contains(&answer.status), "{what}");
        assert!(!answer.message().is_empty(), "a sentence: {what}");
        assert_eq!((host.networks(), host.endpoints()), before, "changed something: {what}");
    }
}

/// Bytes that are hardly HTTP, or too many of them.
#[test]
fn bytes_at_the_socket() {
    need!(root());
    let (host, _container) = lab();
    for bytes in [
        &b"\0\0\0\0"[..],
        b"GET /v1/status\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/networks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        &[b'A'; 100_000],
        &[0xff; 4096],
    ] {
        let mut stream = connect(&host.socket());
        // The daemon may hang up before it has read all of it.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let status = answer(stream).map(|a| a.status);
        assert!(status.is_none_or(|s| s >= 400), "{:?}: {status:?}", &bytes[..bytes.len().min(40)]);
    }
    host.ok("status");
    assert_eq!(host.networks().len(), 2);
}

const GIB: u64 = 1 << 30;

/// A body of 1 GiB that is announced.
#[test]
fn a_gibibyte_announced() {
    need!(root());
    let (host, _container) = lab();
    let mut stream = connect(&host.socket());
    write!(
        stream,
        "POST /v1/networks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {GIB}\r\n\r\n{{\"name\":\""
    )
    .unwrap();
    let sent = pour(&mut stream, b'n');
    assert_refused_early(&host, stream, sent);
}

/// A body of 1 GiB that is not announced.
#[test]
fn a_gibibyte_streamed() {
    need!(root());
    let (host, _container) = lab();
    let mut stream = connect(&host.socket());
    write!(
        stream,
        "POST /v1/networks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{GIB:x}\r\n{{\"name\":\""
    )
    .unwrap();
    let sent = pour(&mut stream, b'n');
    assert_refused_early(&host, stream, sent);
}

/// Writes up to 1 GiB; returns how much was taken before the daemon hung up.
fn pour(stream: &mut impl Write, byte: u8) -> u64 {
    let chunk = vec![byte; 1 << 20];
    let mut sent = 0;
    while sent < GIB && stream.write_all(&chunk).is_ok() {
        sent += chunk.len() as u64;
    }
    sent
}

fn assert_refused_early(host: &Host, stream: std::os::unix::net::UnixStream, sent: u64) {
    assert!(sent < GIB / 4, "{sent} bytes were taken");
    if let Some(answer) = answer(stream) {
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(!answer.message().is_empty(), "{answer:?}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 256 << 10, "the daemon grew to {peak} KiB");
    assert_eq!(host.networks().len(), 2);
}

/// A client that says nothing must not keep others from being served.
#[test]
fn silent_clients_do_not_block_others() {
    need!(root());
    let (host, _container) = lab();
    let silent: Vec<_> = (0..50).map(|_| connect(&host.socket())).collect();
    host.ok("network create another --subnet 10.7.0.0/24");
    drop(silent);
    host.ok("network rm another");
}
