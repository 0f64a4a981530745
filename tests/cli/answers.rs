//! What each verb asks of the daemon, and what it makes of the answer.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake::FakeDaemon;
use crate::{err, ok, run, run_at, text, vxmesh};

fn network(name: &str) -> Value {
    json!({
        "Name": name, "Id": "0123456789abcdef".repeat(4), "Created": "2026-01-02T03:04:05Z",
        "Scope": "swarm", "Driver": "vxmesh", "EnableIPv6": true,
        "IPAM": {"Driver": "default", "Config": [
            {"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"},
            {"Subnet": "fd00:1::/64", "Gateway": "fd00:1::1"},
        ]},
        "Internal": false, "VNI": 4096, "MTU": 1450,
        "Containers": {"fe".repeat(32): {
            "Name": "box1", "EndpointID": "fe".repeat(32), "MacAddress": "02:42:0a:01:00:02",
            "IPv4Address": "10.1.0.2/24", "IPv6Address": "",
        }},
        "Options": {"multicast": "true"}, "Labels": {},
        "Peers": [{"Name": "192.0.2.9", "IP": "192.0.2.9"}],
    })
}

fn endpoint(name: &str, holder: Value) -> Value {
    json!({
        "id": "fe".repeat(32), "name": name, "network": "web",
        "network_id": "0123456789abcdef".repeat(4), "mac": "02:42:0a:01:00:02",
        "addresses": ["10.1.0.2/24"], "gateways": ["10.1.0.1"], "aliases": [],
        "created": "2026-01-02T03:04:05Z", "holder": holder,
    })
}

fn status() -> Value {
    json!({
        "version": "0.1.0", "name": "host-a", "pid": 77, "uptime": 3723,
        "data_dir": "/var/lib/vxmesh",
        "underlay": {"vtep": "192.0.2.1", "interface": "eth9", "mtu": 1500, "port": 4789},
        "offload": [
            {"name": "tap", "active": true, "reason": ""},
            {"name": "udp-gso", "active": false, "reason": "turned off by --udp-gso off"},
        ],
        "cluster": {
            "id": "fedcba9876543210", "nodes": 3, "up": 2, "control": "192.0.2.1:7946",
            "health": 2, "key": 5, "differing": ["host-b"],
            "refused": [
                {"node": "host-c", "reason": "future-version", "count": 7},
                {"node": "", "reason": "bad-seal", "count": 9},
            ],
            "capacity": [
                {"space": "vni", "total": 16773120, "used": 2, "shares": [
                    {"node": "host-a", "owned": 9000, "free": 8998},
                    {"node": "host-b", "owned": 16764120, "free": 16764120},
                ]},
            ],
        },
        "encrypted": {
            "ciphers": [
                {"name": "AES-256-GCM", "nanoseconds": 285},
                {"name": "ChaCha20-Poly1305", "nanoseconds": 750},
            ],
            "networks": [{
                "name": "red", "id": "ab".repeat(32), "sealed": 12, "opened": 11,
                "clear_refused": 3, "clear_sent": 0, "clear_accepted": 0,
                "unreachable": [{"node": "host-c", "reason": "host-c sleeps"}],
            }],
            "sessions": [
                {
                    "node": "host-b", "wanted": true, "cipher": "AES-256-GCM", "age": 3723,
                    "handshake": 61, "handshakes": 32, "sealed": 12, "opened": 11,
                    "drops": {"replayed": 4}, "trouble": null,
                },
                {
                    "node": "host-c", "wanted": true, "cipher": null, "age": null,
                    "handshake": null, "handshakes": 0, "sealed": 0, "opened": 0,
                    "drops": {}, "trouble": "host-c sleeps",
                },
            ],
        },
        "networks": 2, "services": 1, "endpoints": 3, "remote_endpoints": 4,
        "counters": {
            "local_frames": 2, "local_bytes": 100, "socket_overflow": 3, "tap_writes": 0,
            "tap_write_bytes": 0, "tap_reads": 4, "tap_read_bytes": 200000, "udp_sends": 2, "udp_send_bytes": 98304,
        },
        "drops": [{"reason": "guard-mac", "frames": 12, "explanation": " A source MAC that is not the endpoint's."}],
        "warnings": ["the underlay's MTU shrank"],
    })
}

#[test]
fn says_where_the_daemon_was_looked_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("vxmesh.sock");
    let expected = format!(
        "vxmesh: the daemon does not answer at {}: start it with \"vxmesh daemon\" or name its socket with --socket\n",
        socket.display()
    );
    let output = run(&["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!(err(&output, 1), expected);
    let output = vxmesh(&["network", "ls"]).env("VXMESH_SOCKET", &socket).output().unwrap();
    assert_eq!(err(&output, 1), expected);
    // What a daemon leaves behind that was killed.
    let left = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    left.bind(&socket2::SockAddr::unix(&socket).unwrap()).unwrap();
    let output = run(&["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!(err(&output, 1), expected);
}

#[test]
fn a_daemon_that_hangs_up_is_an_error() {
    let daemon = FakeDaemon::start([]);
    let output = run_at(&daemon, &["status"]);
    assert!(err(&output, 1).contains("broke off"), "{}", text(&output.stderr));
}

#[test]
fn the_daemons_sentence_is_the_users_sentence() {
    let daemon = FakeDaemon::start([(409, json!({"message": "network web has 2 endpoints"}))]);
    let output = run_at(&daemon, &["network", "rm", "web"]);
    assert_eq!(err(&output, 1), "vxmesh: network web has 2 endpoints\n");
    let daemon = FakeDaemon::start([(404, json!("nothing like it"))]);
    let output = run_at(&daemon, &["status"]);
    assert!(err(&output, 1).starts_with("vxmesh: the daemon answers GET /v1/status with 404"));
}

#[test]
fn network_create_posts_all_options_and_prints_the_id() {
    let daemon = FakeDaemon::start([(201, network("web"))]);
    let output = run_at(
        &daemon,
        &[
            "network",
            "create",
            "web",
            "--subnet",
            "10.1.0.0/24",
            "--subnet",
            "fd00:1::/64",
            "--gateway",
            "10.1.0.1",
            "--ip-range",
            "10.1.0.128/25",
            "--vni",
            "4096",
            "--mtu",
            "1400",
            "--internal",
            "-o",
            "multicast=true",
            "--label",
            "team=a=b",
            "--label",
            "x",
        ],
    );
    assert_eq!(ok(&output), "0123456789abcdef".repeat(4) + "\n");
    let [request] = &daemon.requests()[..] else { panic!("one request") };
    assert_eq!(request.line, "POST /v1/networks");
    assert_eq!(
        request.body,
        json!({
            "name": "web", "subnets": ["10.1.0.0/24", "fd00:1::/64"], "gateways": ["10.1.0.1"],
            "ip_range": "10.1.0.128/25", "vni": 4096, "mtu": 1400, "internal": true,
            "options": {"multicast": "true"}, "labels": {"team": "a=b", "x": ""},
        })
    );
}

#[test]
fn network_ls_draws_a_table_or_json() {
    let daemon = FakeDaemon::start((0..4).map(|_| (200, json!([network("web")]))));
    let output = run_at(&daemon, &["network", "ls"]);
    let lines: Vec<Vec<&str>> =
        ok(&output).lines().map(|l| l.split("   ").map(str::trim).collect()).collect();
    let mut header = lines[0].clone();
    header.retain(|cell| !cell.is_empty());
    assert_eq!(
        header,
        ["NETWORK ID", "NAME", "DRIVER", "SCOPE", "VNI", "SUBNETS", "MTU", "ENDPOINTS"]
    );
    let mut row = lines[1].clone();
    row.retain(|cell| !cell.is_empty());
    let subnets = "10.1.0.0/24,fd00:1::/64";
    assert_eq!(row, ["0123456789ab", "web", "vxmesh", "swarm", "4096", subnets, "1450", "1"]);

    let output = run_at(&daemon, &["network", "ls", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), json!([network("web")]));
    assert_eq!(ok(&run_at(&daemon, &["network", "ls", "-q"])), "0123456789ab\n");
    let output = run_at(&daemon, &["network", "ls", "-q", "--no-trunc"]);
    assert_eq!(ok(&output), "0123456789abcdef".repeat(4) + "\n");
}

#[test]
fn network_inspect_prints_dockers_json_and_goes_on_past_a_missing_one() {
    let missing = json!({"message": "no network db: see vxmesh network ls"});
    let daemon = FakeDaemon::start([(404, missing), (200, network("web"))]);
    let output = run_at(&daemon, &["network", "inspect", "db", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "vxmesh: no network db: see vxmesh network ls\n");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, json!([network("web")]));
    let lines: Vec<String> = daemon.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines, ["GET /v1/networks/db", "GET /v1/networks/web"]);
}

#[test]
fn network_inspect_has_a_short_form() {
    let daemon = FakeDaemon::start([(200, network("web"))]);
    let output = run_at(&daemon, &["network", "inspect", "web", "--format", "table"]);
    let words: Vec<&str> = ok(&output).split_whitespace().collect();
    for expected in ["web", "4096", "10.1.0.1,fd00:1::1", "multicast=true", "box1", "192.0.2.9"] {
        assert!(words.contains(&expected), "{expected} in {words:?}");
    }
}

#[test]
fn rm_prints_what_it_removed() {
    let daemon = FakeDaemon::start([(204, Value::Null), (204, Value::Null)]);
    assert_eq!(ok(&run_at(&daemon, &["network", "rm", "web", "a/b"])), "web\na/b\n");
    let lines: Vec<String> = daemon.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines, ["DELETE /v1/networks/web", "DELETE /v1/networks/a%2Fb"]);
}

#[test]
fn prune_asks_nobody_where_there_is_no_terminal() {
    let daemon = FakeDaemon::start([(200, json!({"networks": ["old", "older"]}))]);
    assert_eq!(ok(&run_at(&daemon, &["network", "prune"])), "old\nolder\n");
    let [request] = &daemon.requests()[..] else { panic!("one request") };
    assert_eq!((request.line.as_str(), &request.body), ("POST /v1/networks/prune", &Value::Null));
}

#[test]
fn attach_posts_all_options_and_prints_the_id() {
    let holder = json!({"local": {"sandbox": {"netns": "box1"}, "ifname": "eth0", "tap": "fast"}});
    let daemon = FakeDaemon::start((0..3).map(|_| (201, endpoint("box1", holder.clone()))));
    let output = run_at(
        &daemon,
        &[
            "attach",
            "web",
            "--netns",
            "ns/box1",
            "--name",
            "box1",
            "--ifname",
            "eth1",
            "--ip",
            "10.1.0.2",
            "--ip",
            "fd00:1::2",
            "--mac",
            "02:42:0a:01:00:02",
            "--alias",
            "db",
            "--resolv-conf",
            "ns/resolv.conf",
        ],
    );
    assert_eq!(ok(&output), "fe".repeat(32) + "\n");
    ok(&run_at(&daemon, &["attach", "web", "--pid", "42"]));
    let output = run_at(&daemon, &["attach", "web", "--tap", "vm0", "--format", "json"]);
    let printed: Value = serde_json::from_str(ok(&output)).unwrap();
    assert_eq!(printed, endpoint("box1", holder));

    let [netns, pid, tap] = &daemon.requests()[..] else { panic!("three requests") };
    assert_eq!(netns.line, "POST /v1/endpoints");
    let here = std::env::current_dir().unwrap().join("ns/box1");
    let resolv_conf = here.with_file_name("resolv.conf");
    assert_eq!(
        netns.body,
        json!({
            "network": "web", "sandbox": {"netns": here}, "name": "box1", "ifname": "eth1",
            "ips": ["10.1.0.2", "fd00:1::2"], "mac": "02:42:0a:01:00:02", "aliases": ["db"],
            "resolv_conf": resolv_conf,
        })
    );
    assert_eq!(pid.body["sandbox"], json!({"pid": 42}));
    assert_eq!(tap.body["sandbox"], json!({"tap": "vm0"}));
}

#[test]
fn endpoints_are_listed_and_detached() {
    let holder = json!({"remote": {"vtep": "192.0.2.2", "node": "host-b"}});
    let daemon = FakeDaemon::start([
        (
            200,
            json!([
                endpoint("box2", holder),
                endpoint("box3", json!({"remote": {"vtep": "192.0.2.3", "node": "host-c"}})),
            ]),
        ),
        (204, Value::Null),
    ]);
    let output = run_at(&daemon, &["endpoint", "ls", "--network", "a b"]);
    let row = ok(&output).lines().nth(1).unwrap();
    assert!(row.starts_with("fefefefefefe   box2   web"), "{row}");
    assert!(row.ends_with("10.1.0.2/24   host-b"), "{row}");
    let row = ok(&output).lines().nth(2).unwrap();
    assert!(row.ends_with("10.1.0.2/24   host-c"), "{row}");
    assert_eq!(ok(&run_at(&daemon, &["detach", "box2"])), "box2\n");

    let lines: Vec<String> = daemon.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines, ["GET /v1/endpoints?network=a%20b", "DELETE /v1/endpoints/box2"]);
}

#[test]
fn vteps_are_added_listed_and_removed() {
    let daemon = FakeDaemon::start([
        (204, Value::Null),
        (200, json!(["192.0.2.9", "fd00::9"])),
        (204, Value::Null),
    ]);
    assert_eq!(ok(&run_at(&daemon, &["vtep", "add", "web", "fd00::9"])), "fd00::9\n");
    assert_eq!(ok(&run_at(&daemon, &["vtep", "ls", "web"])), "192.0.2.9\nfd00::9\n");
    assert_eq!(ok(&run_at(&daemon, &["vtep", "rm", "web", "192.0.2.9"])), "192.0.2.9\n");
    let lines: Vec<String> = daemon.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(
        lines,
        [
            "PUT /v1/networks/web/vteps/fd00%3A%3A9",
            "GET /v1/networks/web/vteps",
            "DELETE /v1/networks/web/vteps/192.0.2.9",
        ]
    );
}

#[test]
fn status_reads_well_and_as_json() {
    let daemon = FakeDaemon::start([(200, status()), (200, status())]);
    let output = run_at(&daemon, &["status"]);
    let page = ok(&output);
    for line in [
        "Node\n  name        host-a\n",
        "  up          1h 2m 3s\n",
        "  endpoints   3 here, 4 on other hosts\n",
        "Cluster\n  id        fedcba9876543210\n  nodes     2 of 3 up\n",
        "  health    2 (is late at times, and gives others more time)\n  key       5\n",
        "  tables    differ from those of host-b\n",
        "Capacity\n  SPACE   TOTAL      USED   SHARES\n",
        "  vni     16773120   2      host-b 16764120 (16764120 free), host-a 9000 (8998 free)\n",
        "Refused\n  host-c      future-version   7\n  strangers   bad-seal         9\n",
        "Underlay\n  VTEP        192.0.2.1\n",
        "Ciphers\n  AES-256-GCM         285 ns for a full packet\n",
        "  NETWORK   SEALED   OPENED   CLEAR REFUSED   CLEAR SENT   CLEAR ACCEPTED   STATE\n",
        "  red       12       11       3               0            0                no traffic to host-c: host-c sleeps\n",
        "  host-b   AES-256-GCM   1h 2m 3s   1m 1s ago   12       11       replayed=4\n",
        "  host-c   none          -          -           0        0        -            host-c sleeps\n",
        "  udp-gso   off   turned off by --udp-gso off\n",
        "Traffic\n  local frames      2   100 B       50 B each\n  socket overflow   3\n",
        "  tap reads         4   195.3 KiB   48.8 KiB each\n",
        "  tap writes        0   0 B         -\n",
        "Drops\n  guard-mac   12   A source MAC that is not the endpoint's.\n",
        "Warnings\n  the underlay's MTU shrank\n",
    ] {
        assert!(page.contains(line), "{line:?} in\n{page}");
    }
    assert!(!page.contains('\x1b'), "colours in a pipe");
    let output = run_at(&daemon, &["status", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), status());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let many: Vec<Value> = (0..2000).map(|_| network("web")).collect();
    let daemon = FakeDaemon::start([(200, json!(many))]);
    let mut child = vxmesh(&["network", "ls", "--format", "json"])
        .env("VXMESH_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
