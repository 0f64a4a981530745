//! Open vSwitch's userspace datapath as the other VTEP.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::host::Host;
use crate::common::lab::{Family, UNDERLAY, underlay};
use crate::common::netns::{Netns, Output, cable};
use crate::common::transfer::{BULK, transfer};
use crate::common::{holds_within, root, tool};

const VNI: u32 = 4700;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 200);

/// A private Open vSwitch in a namespace; its two daemons end when dropped.
struct OpenVSwitch {
    daemons: Vec<Child>,
    dir: TempDir,
}

impl Drop for OpenVSwitch {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl OpenVSwitch {
    /// Starts one, or says why it cannot be started.
    fn start(ns: &Netns) -> Result<OpenVSwitch, String> {
        let dir = tempfile::Builder::new().prefix("vxmesh-ovs-").tempdir().unwrap();
        let mut ovs = OpenVSwitch { daemons: Vec::new(), dir };
        let schema = Path::new("/usr/share/openvswitch/vswitch.ovsschema");
        ovs.tool("ovsdb-tool", &["create", &ovs.file("conf.db"), &schema.display().to_string()])?;
        let remote = format!("--remote=punix:{}", ovs.file("db.sock"));
        ovs.spawn(ns, "ovsdb-server", &[&ovs.file("conf.db"), &remote])?;
        ovs.wait("ovsdb-server", || Path::new(&ovs.file("db.sock")).exists())?;
        ovs.vsctl("--no-wait init")?;
        ovs.spawn(ns, "ovs-vswitchd", &[&ovs.db()])?;
        ovs.wait("ovs-vswitchd", || {
            ovs.vsctl(
                "--timeout=1 add-br probe -- set bridge probe datapath_type=netdev -- del-br probe",
            )
            .is_ok()
        })?;
        Ok(ovs)
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn db(&self) -> String {
        format!("unix:{}", self.file("db.sock"))
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Output::of(self.environment(Command::new(program)).args(arguments));
        if output.ok() { Ok(output.out) } else { Err(format!("{program}: {}", output.err.trim())) }
    }

    fn vsctl(&self, line: &str) -> Result<String, String> {
        let db = format!("--db={}", self.db());
        let arguments: Vec<&str> =
            [db.as_str(), "--timeout=10"].into_iter().chain(line.split(' ')).collect();
        self.tool("ovs-vsctl", &arguments)
    }

    /// Everything in our own directory, nothing in the system's.
    fn environment(&self, mut command: Command) -> Command {
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
            command.env(name, self.dir.path());
        }
        command.stdin(Stdio::null());
        command
    }

    fn spawn(&mut self, ns: &Netns, program: &str, arguments: &[&str]) -> Result<(), String> {
        let mut command = self.environment(Command::new(program));
        let log = std::fs::File::create(self.file(&format!("{program}.log"))).unwrap();
        command.arg(format!("--pidfile={}", self.file(&format!("{program}.pid"))));
        command.arg(format!("--unixctl={}", self.file(&format!("{program}.ctl"))));
        command.args(arguments).stdout(Stdio::null()).stderr(log);
        let child = ns.enter(move || command.spawn()).map_err(|e| format!("{program}: {e}"))?;
        self.daemons.push(child);
        Ok(())
    }

    fn wait(&self, program: &str, ready: impl FnMut() -> bool) -> Result<(), String> {
        if holds_within(crate::common::SOON, ready) {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.file(&format!("{program}.log"))).unwrap_or_default();
        Err(format!("{program} does not come up: {}", log.lines().last().unwrap_or_default()))
    }
}

fn tools() -> Result<(), String> {
    root()?;
    ["ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ethtool"]
        .into_iter()
        .try_for_each(tool)
}

/// The underlay's address sits on a bridge that owns the cable, as the
/// userspace datapath wants it: it does its own ARP and routing there.
fn configure(ovs: &OpenVSwitch, ns: &Netns) -> Result<(), String> {
    let local = Family::V4.vtep(2);
    ovs.vsctl(&format!(
        "add-br br-phy -- set bridge br-phy datapath_type=netdev -- add-port br-phy {UNDERLAY}"
    ))?;
    ns.ip(&format!("addr flush dev {UNDERLAY}"));
    ns.address(&format!("{local}/24"), "br-phy");
    ns.ip("link set br-phy up");
    ovs.vsctl(&format!(
        "add-br br-int -- set bridge br-int datapath_type=netdev -- add-port br-int vx0 -- \
         set interface vx0 type=vxlan options:key={VNI} options:remote_ip={} options:local_ip={local}",
        Family::V4.vtep(1)
    ).split_whitespace().collect::<Vec<_>>().join(" "))?;
    ovs.vsctl("add-port br-int c0")?;
    Ok(())
}

#[test]
fn open_vswitch_userspace() {
    need!(tools());
    let (a, far) = underlay(Family::V4);
    let host = Host::start(a, Family::V4.vtep(1), &[]);
    host.ok(&format!("network create red --vni {VNI} --subnet 10.1.0.0/24"));
    host.ok(&format!("vtep add red {}", Family::V4.vtep(2)));
    let ours = Netns::new("ours");
    host.attach("red", &ours, &format!("--ip {OURS}"));

    let theirs = Netns::new("theirs");
    cable(&far, &theirs, "c0");
    theirs.ip("link set c0 mtu 1450");
    theirs.address(&format!("{THEIRS}/24"), "c0");
    // The datapath takes frames from packet sockets, where no checksum is
    // ever finished by hardware and no super-frame is wanted.
    for (ns, interface) in [(&host.ns, UNDERLAY), (&far, UNDERLAY), (&theirs, "c0"), (&far, "c0")] {
        ns.run(&format!(
            "ethtool -K {interface} tx off tso off gso off gro off tx-udp-segmentation off"
        ));
    }
    let ovs = OpenVSwitch::start(&far).and_then(|ovs| configure(&ovs, &far).map(|()| ovs));
    need!(ovs.as_ref().map(drop).map_err(|e| format!("Open vSwitch cannot run here: {e}")));

    ours.ping(THEIRS);
    theirs.ping(OURS);
    transfer(&ours, &theirs, THEIRS, BULK);
    transfer(&theirs, &ours, OURS, BULK);
}
