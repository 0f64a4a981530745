//! `vxmesh service`, and what other verbs say of services.

use serde_json::{Value, json};

use crate::fake::FakeDaemon;
use crate::{err, ok, run_at};

fn backend(name: &str, state: &str, reason: Option<&str>) -> Value {
    let mut backend = json!({
        "name": name, "id": "fe".repeat(32), "network": "web", "addresses": ["10.1.0.2"],
        "node": "host-b", "weight": 1, "state": state,
    });
    if let Some(reason) = reason {
        backend["reason"] = json!(reason);
    }
    backend
}

fn service(name: &str) -> Value {
    json!({
        "id": "0123456789abcdef".repeat(4), "name": name, "created": "2026-01-02T03:04:05Z",
        "mode": "vip", "scheduler": "least-conn", "affinity": 600,
        "health": {
            "probe": {"http": {"port": 8080, "path": "/ready"}},
            "interval_ms": 5000, "timeout_ms": 500, "retries": 3,
        },
        "drain": 10, "aliases": ["front"],
        "published": [
            {"published": 443, "target": 8443, "protocol": "tcp"},
            {"published": null, "target": 53, "protocol": "udp"},
        ],
        "networks": [
            {"name": "web", "id": "ab".repeat(32), "vips": ["10.1.0.100", "fd00:1::100"]},
            {"name": "db", "id": "cd".repeat(32), "vips": ["10.2.0.100"]},
        ],
        "ready": 2,
        "backends": [
            backend("box1", "ready", None), backend("box2", "ready", None),
            backend("box3", "away", Some("host host-c does not answer")),
        ],
        "warnings": ["something is odd"],
    })
}

#[test]
fn create_posts_all_options_and_prints_the_id() {
    let daemon = FakeDaemon::start((0..2).map(|_| (201, service("shop"))));
    let line = "service create shop --network web --network db --endpoint-mode vip \
                --scheduler least-conn --affinity client-ip:600 \
                --health http:8080/ready,timeout=500ms --drain 0 --alias front \
                --publish 443:8443 --publish 53/udp";
    let output = run_at(&daemon, &line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ok(&output), "0123456789abcdef".repeat(4) + "\n");
    ok(&run_at(&daemon, &["service", "create", "shop", "--network", "web"]));
    let [full, short] = &daemon.requests()[..] else { panic!("two requests") };
    assert_eq!(full.line, "POST /v1/services");
    let said = service("shop");
    assert_eq!(
        full.body,
        json!({
            "name": "shop", "networks": ["web", "db"], "mode": "vip", "scheduler": "least-conn",
            "affinity": 600, "health": said["health"], "drain": 0, "aliases": ["front"],
            "published": said["published"],
        })
    );
    assert_eq!(
        short.body,
        json!({
            "name": "shop", "networks": ["web"], "mode": "vip", "scheduler": "rr",
            "affinity": null, "health": null, "drain": 10, "aliases": [], "published": [],
        })
    );
}

#[test]
fn update_posts_what_was_named_and_no_more() {
    let daemon = FakeDaemon::start((0..2).map(|_| (200, service("shop"))));
    let line = "service update shop --network-add a --network-rm b --endpoint-mode dnsrr \
                --scheduler rr --affinity none --health none --drain 5 --alias-add x \
                --alias-rm y --publish-add 1:2/sctp --publish-rm 3/udp --weight box1=0 \
                --weight box2=7";
    let output = run_at(&daemon, &line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ok(&output), "shop\n");
    ok(&run_at(&daemon, &["service", "update", "a/b"]));
    let [full, empty] = &daemon.requests()[..] else { panic!("two requests") };
    assert_eq!(full.line, "POST /v1/services/shop/update");
    assert_eq!(
        full.body,
        json!({
            "networks_add": ["a"], "networks_rm": ["b"], "mode": "dnsrr", "scheduler": "rr",
            "affinity": null, "health": null, "drain": 5, "aliases_add": ["x"],
            "aliases_rm": ["y"],
            "published_add": [{"published": 1, "target": 2, "protocol": "sctp"}],
            "published_rm": [{"target": 3, "protocol": "udp"}],
            "weights": {"box1": 0, "box2": 7},
        })
    );
    assert_eq!(empty.line, "POST /v1/services/a%2Fb/update");
    let named: Vec<&String> = empty.body.as_object().unwrap().keys().collect();
    assert!(!named.iter().any(|key| *key == "affinity" || *key == "health"), "{named:?}");
}

#[test]
fn ls_says_how_many_take_traffic() {
    let daemon = FakeDaemon::start((0..3).map(|_| (200, json!([service("shop")]))));
    let output = run_at(&daemon, &["service", "ls"]);
    let lines: Vec<Vec<&str>> =
        ok(&output).lines().map(|l| l.split("   ").map(str::trim).collect()).collect();
    let cells = |line: &[&str]| -> Vec<String> {
        line.iter().filter(|cell| !cell.is_empty()).map(|cell| (*cell).to_owned()).collect()
    };
    let header = ["ID", "NAME", "MODE", "BACKENDS", "VIRTUAL IPS", "NETWORKS", "PORTS"];
    assert_eq!(cells(&lines[0]), header);
    let ips = "10.1.0.100,fd00:1::100,10.2.0.100";
    let ports = "*:443->8443/tcp,53/udp";
    assert_eq!(cells(&lines[1]), ["0123456789ab", "shop", "vip", "2/3", ips, "web,db", ports]);
    let output = run_at(&daemon, &["service", "ls", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), json!([service("shop")]));
    assert_eq!(ok(&run_at(&daemon, &["service", "ls", "-q"])), "0123456789ab\n");
}

#[test]
fn inspect_says_why_an_endpoint_takes_none() {
    let daemon = FakeDaemon::start((0..2).map(|_| (200, service("shop"))));
    let output = run_at(&daemon, &["service", "inspect", "shop"]);
    assert_eq!(serde_json::from_str::<Value>(ok(&output)).unwrap(), json!([service("shop")]));
    let output = run_at(&daemon, &["service", "inspect", "shop", "--format", "table"]);
    let page = ok(&output);
    for line in [
        "SCHEDULER   least-conn\n",
        "AFFINITY    client-ip:600\n",
        "HEALTH      http:8080/ready,interval=5s,timeout=500ms,retries=3\n",
        "NETWORK     web 10.1.0.100,fd00:1::100\n",
        "BACKENDS    2/3\n",
        "WARNING     something is odd\n",
        "box3   web       10.1.0.2    host-b   1        host away   host host-c does not answer\n",
    ] {
        assert!(page.contains(line), "{line:?} in\n{page}");
    }
}

#[test]
fn rm_prints_what_it_removed_and_goes_on_past_a_failure() {
    let missing = json!({"message": "there is no service \"a\""});
    let daemon = FakeDaemon::start([(404, missing), (204, Value::Null)]);
    let output = run_at(&daemon, &["service", "rm", "a", "shop"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"shop\n");
    let lines: Vec<String> = daemon.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines, ["DELETE /v1/services/a", "DELETE /v1/services/shop"]);
    let daemon = FakeDaemon::start([(409, json!({"message": "no"}))]);
    assert_eq!(err(&run_at(&daemon, &["service", "rm", "a"]), 1), "vxmesh: no\n");
}

#[test]
fn endpoints_say_what_they_belong_to() {
    let endpoint = json!({
        "id": "fe".repeat(32), "name": "box1", "network": "web", "network_id": "ab".repeat(32),
        "mac": "02:42:0a:01:00:02", "addresses": ["10.1.0.2/24"], "gateways": ["10.1.0.1"],
        "aliases": [], "created": "2026-01-02T03:04:05Z",
        "service": {"name": "shop", "id": "0".repeat(64), "weight": 3, "state": "off_network"},
        "holder": {"remote": {"vtep": "192.0.2.2", "node": "host-b"}},
    });
    let daemon = FakeDaemon::start([
        (200, json!([endpoint])),
        (200, endpoint.clone()),
        (201, endpoint.clone()),
    ]);
    let output = run_at(&daemon, &["endpoint", "ls"]);
    assert!(
        ok(&output).lines().nth(1).unwrap().starts_with("fefefefefefe   box1   web       shop")
    );
    let output = run_at(&daemon, &["endpoint", "inspect", "box1", "--format", "table"]);
    assert!(ok(&output).contains("SERVICE     shop, weight 3, off network\n"));
    let line = "attach web --netns a --service shop --weight 3";
    ok(&run_at(&daemon, &line.split(' ').collect::<Vec<_>>()));
    let attach = &daemon.requests()[2].body;
    assert_eq!((&attach["service"], &attach["weight"]), (&json!("shop"), &json!(3)));
}
