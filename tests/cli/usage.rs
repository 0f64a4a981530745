//! Help, bad usage, completion and manual pages: no daemon needed.

use std::process::Command;

use crate::{err, ok, run, text};

const VERBS: &[&[&str]] = &[
    &[],
    &["daemon"],
    &["cluster"],
    &["cluster", "init"],
    &["cluster", "token"],
    &["cluster", "rotate-key"],
    &["cluster", "join"],
    &["cluster", "leave"],
    &["cluster", "inspect"],
    &["node"],
    &["node", "ls"],
    &["node", "inspect"],
    &["node", "rm"],
    &["network"],
    &["network", "create"],
    &["network", "ls"],
    &["network", "inspect"],
    &["network", "rm"],
    &["network", "prune"],
    &["network", "verify"],
    &["attach"],
    &["detach"],
    &["endpoint"],
    &["endpoint", "ls"],
    &["endpoint", "inspect"],
    &["service"],
    &["service", "create"],
    &["service", "update"],
    &["service", "ls"],
    &["service", "inspect"],
    &["service", "rm"],
    &["vtep"],
    &["vtep", "add"],
    &["vtep", "rm"],
    &["vtep", "ls"],
    &["status"],
    &["demo"],
    &["bench"],
    &["completion"],
    &["man"],
];

#[test]
fn every_verb_has_help_with_examples() {
    for verb in VERBS {
        let help = run(&[*verb, &["--help"]].concat());
        let help = ok(&help);
        let name = ["vxmesh"].iter().chain(*verb).copied().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&format!("Usage: {name}")), "{name}: {help}");
        assert!(help.contains("\nExamples:\n  "), "{name} has no examples");
        assert!(!help.starts_with("Usage"), "{name} has no description");
        assert!(!help.contains('\x1b'), "{name}: colours in a pipe");
    }
}

#[test]
fn the_list_of_verbs_above_is_complete() {
    let mut unlisted = Vec::new();
    let groups = ["cluster", "node", "network", "endpoint", "service", "vtep"];
    for group in std::iter::once(&[][..]).chain(groups.iter().map(std::slice::from_ref)) {
        let help = run(&[group, &["--help"]].concat());
        let verbs = text(&help.stdout).split("Commands:\n").nth(1).unwrap();
        let verbs = verbs.lines().take_while(|line| !line.is_empty());
        // Descriptions that run over go on further to the right.
        let verbs = verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for verb in verbs.map(|line| line.split_whitespace().next().unwrap()) {
            let path = [group, &[verb]].concat();
            if verb != "help" && !VERBS.contains(&&path[..]) {
                unlisted.push(path.join(" "));
            }
        }
    }
    assert_eq!(unlisted, [""; 0]);
}

#[test]
fn the_options_of_networks_are_explained() {
    let help = run(&["network", "create", "--help"]);
    for part in ["--opt encrypted", "`encrypted` seals all", "It cannot be changed later"] {
        assert!(ok(&help).contains(part), "{part}");
    }
}

#[test]
fn hidden_verbs_are_not_advertised() {
    let help = run(&["--help"]);
    assert!(!ok(&help).contains("\n  man"));
}

#[test]
fn bad_usage_is_explained_with_status_2() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: vxmesh"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["daemon", "--data-port", "0"], "0 is not in 1..=65535"),
        (&["daemon", "--gossip-port", "0"], "0 is not in 1..=65535"),
        (&["cluster", "init", "--default-addr-pool", "fd00::/8"], "not an IPv4 pool: write"),
        (&["cluster", "init", "--default-addr-pool-mask-length", "31"], "31 is not in 1..=30"),
        (&["cluster", "join", "host-b"], "--token <TOKEN>"),
        (&["cluster", "join", "--token", "t"], "<HOST[:PORT]>..."),
        (&["cluster", "join", "--token", "t", "host-b:0"], "not a host: write"),
        (&["node", "inspect"], "<NODE>"),
        (&["node", "rm"], "<NODE>"),
        (&["daemon", "--offload", "maybe"], "auto, off"),
        (&["daemon", "--cipher", "null"], "auto, aes-256-gcm, chacha20-poly1305"),
        (&["network", "create"], "<NAME>"),
        (&["network", "create", "n", "--subnet", "10.1.0.0"], "not a subnet: write"),
        (&["network", "create", "n", "--gateway", "10.1.0.1/24"], "not an IP address: write"),
        (&["network", "create", "n", "--vni", "16777216"], "does not fit 24 bits"),
        (&["network", "create", "n", "--mtu", "65536"], "65536"),
        (&["network", "create", "n", "--opt", "=x"], "write KEY=VALUE"),
        (&["network", "inspect"], "<NAME>"),
        (&["attach", "web"], "<--netns <NAME|PATH>|--pid <PID>|--tap <IFNAME>>"),
        (&["attach", "web", "--netns", "a", "--pid", "1"], "cannot be used with"),
        (&["attach", "web", "--tap", "t0", "--ifname", "eth0"], "cannot be used with"),
        (&["attach", "web", "--pid", "0"], "0"),
        (&["attach", "web", "--netns", "a", "--mac", "2:3"], "six pairs of hexadecimal digits"),
        (&["attach", "web", "--netns", "/proc/self/ns/net"], "--pid"),
        (&["attach", "web", "--netns", "a", "--weight", "2"], "--service"),
        (&["attach", "web", "--netns", "a", "--service", "s", "--weight", "65536"], "65536"),
        (&["service", "create", "s"], "--network <NETWORK>"),
        (&["service", "create", "--network", "web"], "<NAME>"),
        (&["service", "create", "s", "--network", "web", "--endpoint-mode", "lvs"], "vip, dnsrr"),
        (
            &["service", "create", "s", "--network", "web", "--scheduler", "wlc"],
            "rr, maglev, least",
        ),
        (&["service", "create", "s", "--network", "web", "--affinity", "ip"], "client-ip:SECONDS"),
        (
            &["service", "create", "s", "--network", "web", "--affinity", "none"],
            "client-ip:SECONDS",
        ),
        (
            &["service", "create", "s", "--network", "web", "--health", "tcp:0"],
            "not a health check",
        ),
        (&["service", "create", "s", "--network", "web", "--health", "tcp:1,x=2"], "interval=5s"),
        (&["service", "create", "s", "--network", "web", "--publish", "0:80"], "from 1 to 65535"),
        (&["service", "create", "s", "--network", "web", "--drain", "soon"], "soon"),
        (&["service", "update"], "<SERVICE>"),
        (&["service", "update", "s", "--weight", "box1"], "write ENDPOINT=N"),
        (&["service", "update", "s", "--publish-rm", "80:80"], "not a port: write"),
        (&["service", "inspect"], "<SERVICE>"),
        (&["vtep", "add", "web", "switch7"], "not an IP address: write"),
        (&["status", "--format", "xml"], "table, json"),
        (&["completion", "tcsh"], "bash"),
    ];
    for (args, hint) in cases {
        let output = run(args);
        let stderr = err(&output, 2);
        assert!(stderr.contains(hint), "{args:?}: {stderr}");
    }
}

#[test]
fn the_daemon_refuses_a_configuration_with_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("vxmesh.toml");
    let arg = config.to_str().unwrap();
    let output = run(&["daemon", "--config", arg]);
    let expected = format!("vxmesh: cannot read the configuration file {arg}: ");
    assert!(err(&output, 1).starts_with(&expected), "{}", text(&output.stderr));
    std::fs::write(&config, "name = \"a\"\ndata-prt = 4789\n").unwrap();
    let output = run(&["daemon", "--config", arg]);
    assert!(err(&output, 1).starts_with(&format!("vxmesh: {arg}, line ")));
    assert!(text(&output.stderr).contains("data-prt"), "{}", text(&output.stderr));
}

#[test]
fn the_example_configuration_holds_what_it_says() {
    let example = include_str!("../../dist/vxmesh.toml");
    let settings = example.lines().filter_map(|line| line.strip_prefix('#'));
    let settings: Vec<&str> =
        settings.filter(|line| line.contains(" = \"") || line.contains("-port = ")).collect();
    assert_eq!(settings.len(), 9);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("vxmesh.toml");
    std::fs::write(&config, settings.join("\n")).unwrap();
    let settings = vxmesh::control::config::Settings::load(&config).unwrap();
    let described = vxmesh::control::config::Settings { name: None, advertise: None, ..settings };
    assert_eq!(
        described.resolve().unwrap(),
        vxmesh::control::config::Settings::default().resolve().unwrap()
    );
}

#[test]
fn completion_scripts_are_accepted_by_their_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completion", shell]);
        assert!(ok(&output).contains("vxmesh"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("vxmesh.bash");
    std::fs::write(&script, run(&["completion", "bash"]).stdout).unwrap();
    let check = Command::new("bash").arg("-n").arg(&script).output().unwrap();
    ok(&check);
}

#[test]
fn every_verb_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    ok(&run(&["man", pages.to_str().unwrap()]));
    for verb in VERBS {
        let name = ["vxmesh"].iter().chain(*verb).copied().collect::<Vec<_>>().join("-");
        if name == "vxmesh-man" {
            continue; // hidden
        }
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name}");
        assert!(page.contains("Examples:"), "{name}");
    }
    let nowhere = "/dev/null/man1";
    let output = run(&["man", nowhere]);
    assert!(err(&output, 1).starts_with("vxmesh: cannot write manual pages to /dev/null/man1: "));
}
