//! What the verbs of the cluster ask of the daemon, and what they make of the answer.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake::FakeDaemon;
use crate::{err, ok, run_at, text, vxmesh};

fn node(name: &str, this: bool, state: Value) -> Value {
    json!({
        "id": "0123456789abcdef".repeat(4), "name": name, "this": this, "state": state,
        "vtep": "192.0.2.1", "control": "192.0.2.1:7946", "version": "0.1.0", "endpoints": 3,
        "path_mtu": if this { Value::Null } else { json!(1500) },
        "seal": if this { Value::Null } else { session(name) },
    })
}

/// There is to be one, and there is none.
fn session(node: &str) -> Value {
    json!({
        "node": node, "wanted": true, "cipher": null, "age": null, "handshake": null,
        "handshakes": 0, "sealed": 7, "opened": 0, "drops": {"replayed": 4},
        "trouble": "it sleeps: wake it",
    })
}

fn nodes() -> Value {
    json!([
        node("host-a", true, json!("up")),
        node("host-b", false, json!({"down": {"seconds": 185}})),
        node("host-c", false, json!("unknown")),
    ])
}

fn cluster() -> Value {
    json!({
        "id": "fedcba9876543210", "default_addr_pool": ["10.0.0.0/8", "172.20.0.0/14"],
        "default_addr_pool_mask_length": 26, "key": 5, "nodes": nodes(),
    })
}

fn token() -> Value {
    json!({"token": "secret-1", "address": "192.0.2.1:7946"})
}

fn lines(daemon: &FakeDaemon) -> Vec<String> {
    daemon.requests().into_iter().map(|request| request.line).collect()
}

#[test]
fn init_posts_the_pools_and_says_how_others_join() {
    let daemon = FakeDaemon::start([(200, cluster()), (200, token()), (200, cluster())]);
    let args = [
        "cluster",
        "init",
        "--default-addr-pool",
        "10.0.0.0/8",
        "--default-addr-pool",
        "172.20.0.0/14",
        "--default-addr-pool-mask-length",
        "26",
    ];
    assert_eq!(
        ok(&run_at(&daemon, &args)),
        "Cluster fedcba9876543210 is set up, and this host is its first node. \
         Subnets that nobody chooses are /26 of 10.0.0.0/8,172.20.0.0/14.\n\n\
         To add a host to this cluster, run there:\n\n    \
         vxmesh cluster join --token secret-1 192.0.2.1:7946\n"
    );
    let output = run_at(&daemon, &["cluster", "init", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), cluster());
    let requests = daemon.requests();
    assert_eq!(
        requests[0].body,
        json!({
            "default_addr_pool": ["10.0.0.0/8", "172.20.0.0/14"],
            "default_addr_pool_mask_length": 26,
        })
    );
    assert_eq!(
        lines(&daemon),
        ["POST /v1/cluster/init", "GET /v1/cluster/token", "POST /v1/cluster/init"]
    );
}

#[test]
fn init_without_a_token_says_that_the_cluster_stands() {
    let daemon = FakeDaemon::start([(200, cluster()), (500, json!({"message": "disk full"}))]);
    let output = run_at(&daemon, &["cluster", "init"]);
    let expected = "vxmesh: the cluster is set up, but its token cannot be shown: disk full\n";
    assert_eq!(err(&output, 1), expected);
}

#[test]
fn the_token_is_printed_alone_or_in_a_command_and_rotated() {
    let daemon = FakeDaemon::start((0..4).map(|_| (200, token())));
    let page = run_at(&daemon, &["cluster", "token"]);
    assert!(ok(&page).contains("\n    vxmesh cluster join --token secret-1 192.0.2.1:7946\n"));
    assert_eq!(ok(&run_at(&daemon, &["cluster", "token", "-q"])), "secret-1\n");
    let rotated = run_at(&daemon, &["cluster", "token", "--rotate", "--quiet"]);
    assert_eq!(ok(&rotated), "secret-1\n");
    let output = run_at(&daemon, &["cluster", "token", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), token());
    let get = "GET /v1/cluster/token";
    assert_eq!(lines(&daemon), [get, get, "POST /v1/cluster/token/rotate", get]);
}

#[test]
fn rotate_key_names_the_new_key() {
    let daemon = FakeDaemon::start([(200, cluster())]);
    let output = run_at(&daemon, &["cluster", "rotate-key"]);
    assert_eq!(ok(&output), "Control traffic is sealed with key 5 from now on.\n");
    assert_eq!(lines(&daemon), ["POST /v1/cluster/key/rotate"]);
}

#[test]
fn join_takes_the_token_as_an_option_from_the_environment_or_from_stdin() {
    let daemon = FakeDaemon::start((0..3).map(|_| (200, cluster())));
    let hosts = ["host-b", "[fd00::1]:7947"];
    let join = ["cluster", "join", "host-b", "[fd00::1]:7947"];
    let output = run_at(&daemon, &[&join[..], &["--token", "secret-1"]].concat());
    let joined = "This host is in cluster fedcba9876543210 now, one of 3 nodes.\n";
    assert_eq!(ok(&output), joined);

    let mut command = vxmesh(&[&join[..], &["--format", "json"]].concat());
    command.env("VXMESH_SOCKET", daemon.socket()).env("VXMESH_TOKEN", "secret-2");
    let output = command.output().unwrap();
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), cluster());

    let mut child = vxmesh(&[&join[..], &["--token", "-"]].concat())
        .env("VXMESH_SOCKET", daemon.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"secret-3\n").unwrap();
    assert_eq!(ok(&child.wait_with_output().unwrap()), joined);

    assert_eq!(lines(&daemon), ["POST /v1/cluster/join"; 3]);
    let bodies: Vec<Value> = daemon.requests().into_iter().map(|request| request.body).collect();
    let body = |token: &str| json!({"token": token, "hosts": hosts});
    assert_eq!(bodies, [body("secret-1"), body("secret-2"), body("secret-3")]);
}

#[test]
fn join_without_a_token_asks_nobody_and_help_shows_none() {
    let daemon = FakeDaemon::start([]);
    // stdin is empty.
    let output = run_at(&daemon, &["cluster", "join", "host-b", "--token", "-"]);
    assert!(err(&output, 1).contains("no token on stdin"), "{}", text(&output.stderr));
    let mut help = vxmesh(&["cluster", "join", "--help"]);
    let help = help.env("VXMESH_TOKEN", "secret-2").output().unwrap();
    assert!(ok(&help).contains("VXMESH_TOKEN") && !ok(&help).contains("secret-2"));
    assert!(daemon.requests().is_empty());
}

#[test]
fn leave_names_the_cluster_that_was_left() {
    let daemon = FakeDaemon::start([
        (200, cluster()),
        (204, Value::Null),
        (200, cluster()),
        (204, Value::Null),
        (200, cluster()),
        (409, json!({"message": "no member answers: try again, or leave with --force"})),
    ]);
    let output = run_at(&daemon, &["cluster", "leave"]);
    assert_eq!(ok(&output), "This host has left cluster fedcba9876543210.\n");
    let output = run_at(&daemon, &["cluster", "leave", "--force", "--format", "json"]);
    let printed: Value = serde_json::from_str(ok(&output)).unwrap();
    assert_eq!(printed, json!(["fedcba9876543210"]));
    let output = run_at(&daemon, &["cluster", "leave"]);
    let expected = "vxmesh: no member answers: try again, or leave with --force\n";
    assert_eq!(err(&output, 1), expected);
    let requests = daemon.requests();
    assert_eq!(requests[1].line, "POST /v1/cluster/leave");
    assert_eq!(requests[1].body, json!({"force": false}));
    assert_eq!(requests[3].body, json!({"force": true}));
}

#[test]
fn cluster_inspect_is_json_or_short() {
    let daemon = FakeDaemon::start([(200, cluster()), (200, cluster())]);
    let output = run_at(&daemon, &["cluster", "inspect"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), cluster());
    let output = run_at(&daemon, &["cluster", "inspect", "--format", "table"]);
    let words: Vec<&str> = ok(&output).split_whitespace().collect();
    for expected in ["fedcba9876543210", "10.0.0.0/8,172.20.0.0/14", "/26", "5", "host-c"] {
        assert!(words.contains(&expected), "{expected} in {words:?}");
    }
    assert_eq!(lines(&daemon), ["GET /v1/cluster", "GET /v1/cluster"]);
}

#[test]
fn node_ls_draws_a_table_or_json() {
    let daemon = FakeDaemon::start((0..3).map(|_| (200, nodes())));
    let output = run_at(&daemon, &["node", "ls"]);
    let rows: Vec<Vec<&str>> = ok(&output)
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let header = ["NAME", "ID", "STATE", "VTEP", "CONTROL", "ENDPOINTS", "SEAL", "VERSION"];
    assert_eq!(rows[0], header);
    let this = ["host-a *", "0123456789ab", "up", "192.0.2.1", "192.0.2.1:7946", "3", "-", "0.1.0"];
    assert_eq!(rows[1], this);
    assert_eq!(rows[2][..3], ["host-b", "0123456789ab", "down 3m"]);
    assert_eq!((rows[2][6], rows[3][2]), ("none", "unknown"));
    let output = run_at(&daemon, &["node", "ls", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), nodes());
    let output = run_at(&daemon, &["node", "ls", "-q", "--no-trunc"]);
    assert_eq!(ok(&output).lines().next().unwrap(), "0123456789abcdef".repeat(4));
}

#[test]
fn node_inspect_goes_on_past_a_missing_one() {
    let host_a = node("host-a", true, json!("up"));
    let missing = json!({"message": "no node host-x: see vxmesh node ls"});
    let daemon = FakeDaemon::start([(404, missing), (200, host_a.clone()), (200, host_a.clone())]);
    let output = run_at(&daemon, &["node", "inspect", "host-x", "host-a"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "vxmesh: no node host-x: see vxmesh node ls\n");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, json!([host_a]));
    let output = run_at(&daemon, &["node", "inspect", "host-a", "--format", "table"]);
    assert!(ok(&output).contains("PATH MTU    unknown\nSEAL        -\n"), "{}", ok(&output));
    assert_eq!(lines(&daemon)[..2], ["GET /v1/nodes/host-x", "GET /v1/nodes/host-a"]);
}

#[test]
fn node_inspect_says_how_it_is_sealed_for() {
    let mut host_b = node("host-b", false, json!("up"));
    let daemon = FakeDaemon::start([(200, host_b.clone())]);
    let output = run_at(&daemon, &["node", "inspect", "host-b", "--format", "table"]);
    let end = "SEAL        none\nSEALED      7\nOPENED      0\nDROPPED     replayed=4\nTROUBLE     it sleeps: wake it\n";
    assert!(ok(&output).ends_with(end), "{}", ok(&output));
    let seal = &mut host_b["seal"];
    (seal["cipher"], seal["trouble"]) = (json!("AES-256-GCM"), Value::Null);
    (seal["age"], seal["handshake"], seal["handshakes"]) = (json!(3600), json!(61), json!(31));
    let daemon = FakeDaemon::start([(200, host_b)]);
    let output = run_at(&daemon, &["node", "inspect", "host-b", "--format", "table"]);
    let lines = "SEAL         AES-256-GCM\nSEALED FOR   1h\nHANDSHAKES   31, the last 1m 1s ago\n";
    assert!(ok(&output).contains(lines), "{}", ok(&output));
}

#[test]
fn nodes_are_removed_together() {
    let daemon = FakeDaemon::start([(204, Value::Null), (204, Value::Null)]);
    let output = run_at(&daemon, &["node", "rm", "host-b", "a/b"]);
    let said =
        "Removed host-b, a/b; what was theirs of addresses, subnets and VNIs is this host's now.\n";
    assert_eq!(ok(&output), said);
    let output = run_at(&daemon, &["node", "rm", "host-c", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), json!(["host-c"]));
    assert_eq!(lines(&daemon), ["DELETE /v1/nodes/host-b,a%2Fb", "DELETE /v1/nodes/host-c"]);
}
