//! The data plane alone, between network namespaces of this machine: real TAPs,
//! real sockets, hand-made plans. Needs root and /dev/net/tun; without them the
//! tests say that they are skipped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod local;
mod sealed;
mod services;
mod trains;

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use tokio::sync::mpsc::Receiver;
use vxmesh::core::drops::Reason;
use vxmesh::core::ledger::Ledger;
use vxmesh::core::plan::{Network, Plan, Port, PortId, Remote, Spec, Subnet};
use vxmesh::core::seal::Offer;
use vxmesh::core::seal::cipher::{Backend, Suite};
use vxmesh::dataplane::tap::{Kind, Tap};
use vxmesh::dataplane::{Config, Dataplane, Event};
use vxmesh::lab::custody::until;
use vxmesh::wire::mac::Mac;
use vxmesh::wire::vxlan::Vni;

const SEED: u64 = 42;
const BULK: usize = 48 << 20;

/// Whether this process may make namespaces and TAPs; if not, the test is
/// reported as skipped to whoever sums up (`VXMESH_SKIP_FILE`).
fn able() -> bool {
    let why = match (nix::unistd::Uid::effective().is_root(), Path::new("/dev/net/tun").exists()) {
        (true, true) => return true,
        (false, _) => "it makes network namespaces, which needs root",
        (_, false) => "there is no /dev/net/tun: `modprobe tun`",
    };
    let thread = thread::current();
    let line = format!("SKIPPED: {}: {why}\n", thread.name().unwrap_or("a test"));
    // Not eprint!, which the test harness keeps to itself.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(file) = std::env::var_os("VXMESH_SKIP_FILE") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
    false
}

/// Long enough for anything that should happen at once, on a machine that is busy with
/// something else.
const SOON: Duration = Duration::from_secs(20);

/// Waits until `condition` holds, and panics with `what` if it never does.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    assert!(until(SOON, || condition().then_some(())).is_some(), "not within {SOON:?}: {what}");
}

/// Runs `ip` with the arguments in `line`; panics with its complaint.
fn ip(line: &str) {
    let output = Command::new("ip").args(line.split_whitespace()).output().expect("iproute2");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {line}: {complaint}");
}

/// A network namespace that is deleted when dropped.
struct Netns(String);

impl Netns {
    fn new(role: &str) -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let netns = Netns(format!("vxdp-{}-{number}-{role}", std::process::id()));
        ip(&format!("netns add {}", netns.0));
        netns.ip("link set lo up");
        netns
    }

    fn ip(&self, line: &str) {
        ip(&format!("-n {} {line}", self.0));
    }

    /// Starts a thread that lives in this namespace.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(work).join().unwrap()
    }

    fn command(&self, line: &str) -> (bool, String) {
        let words = format!("netns exec {} {line}", self.0);
        let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    /// Waits until there is no such interface. The last descriptor of a TAP is closed
    /// only when every process that another test was just starting, with a copy of it,
    /// runs its own program.
    fn wait_gone(&self, ifname: &str) {
        wait_until(&format!("{ifname} is gone"), || {
            !self.command(&format!("ip link show {ifname}")).0
        });
    }

    fn ping(&self, to: IpAddr) {
        let (ok, said) = self.command(&format!("ping -c 3 -i 0.05 -W 2 {to}"));
        assert!(ok, "{said}");
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A container: a namespace with a TAP in it, and the addresses it may use.
struct Container {
    netns: Netns,
    mac: Mac,
    v4: IpAddr,
    v6: IpAddr,
}

impl Container {
    fn new(number: u8) -> Container {
        let v4 = IpAddr::from([10, 50, 0, number]);
        let v6 = format!("fd50::{number}").parse().unwrap();
        Container { netns: Netns::new("container"), mac: Mac::for_ip(v4), v4, v6 }
    }

    /// Opens its TAP and configures it as the control side would.
    fn tap(&self, kind: Kind, mtu: u16) -> Tap {
        let (tap, lack) = self.netns.run(move || Tap::open("eth0", kind).unwrap());
        assert_eq!(lack, None);
        assert_eq!(tap.kind(), kind);
        self.netns.ip(&format!("link set eth0 address {} mtu {mtu} up", self.mac));
        self.netns.ip(&format!("addr add {}/24 dev eth0", self.v4));
        self.netns.ip(&format!("addr add {}/64 dev eth0 nodad", self.v6));
        tap
    }

    fn port(&self, id: u32) -> Port {
        Port { id: PortId(id), mac: self.mac, addresses: vec![self.v4, self.v6] }
    }

    fn remote(&self, vtep: IpAddr) -> Remote {
        Remote { mac: self.mac, addresses: vec![self.v4, self.v6], vtep }
    }
}

fn plan(vtep: IpAddr, spec: Spec) -> Arc<ArcSwap<Plan>> {
    Arc::new(ArcSwap::from_pointee(Plan::new(SEED, vtep, [network(5000, spec)])))
}

fn network(vni: u32, spec: Spec) -> Arc<Network> {
    let subnet =
        |net: &str, ip: &str| Subnet { net: net.parse().unwrap(), gateway: ip.parse().unwrap() };
    let subnets = vec![subnet("10.50.0.0/24", "10.50.0.1"), subnet("fd50::/64", "fd50::1")];
    let spec = Spec { subnets, ..spec };
    Arc::new(Network::new(SEED, Vni::new(vni).unwrap(), spec))
}

fn start(
    netns: &Netns,
    vtep: IpAddr,
    gso: bool,
    suite: Suite,
    plan: Arc<ArcSwap<Plan>>,
) -> (Dataplane, Receiver<Event>) {
    let no_udp_gso = (!gso).then(|| "switched off".into());
    let offer = Offer { suites: vec![suite], backend: Backend::Ring };
    // All that is random in sessions comes from here.
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&STARTS.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
    let (seed, secret) = (SEED, secret.into());
    let (port, generation, flows) = (4789, 1, Vec::new());
    let config = Config { vtep, port, no_udp_gso, seed, offer, generation, secret, flows };
    netns.run(move || Dataplane::start(config, plan).unwrap())
}

/// Two hosts with a container each.
struct Lab {
    // Data planes first: they are to end before their namespaces do.
    planes: [Dataplane; 2],
    plans: [Arc<ArcSwap<Plan>>; 2],
    events: [Receiver<Event>; 2],
    containers: [Container; 2],
    hosts: [Netns; 2],
}

impl Lab {
    fn new(vteps: [&str; 2], kinds: [Kind; 2], gso: bool, mtu: u16) -> Lab {
        Lab::of(vteps, kinds, gso, mtu, None)
    }

    /// With a suite the network is encrypted; its ledgers are shared by both hosts.
    fn of(
        vteps: [&str; 2],
        kinds: [Kind; 2],
        gso: bool,
        mtu: u16,
        sealed: Option<(Suite, Arc<Ledger>)>,
    ) -> Lab {
        let hosts = [Netns::new("host"), Netns::new("host")];
        ip(&format!(
            "link add veth0 netns {} type veth peer veth0 netns {}",
            hosts[0].0, hosts[1].0
        ));
        let vteps: [IpAddr; 2] = vteps.map(|vtep| vtep.parse().unwrap());
        for (host, vtep) in hosts.iter().zip(vteps) {
            let (len, nodad) = if vtep.is_ipv4() { (24, "") } else { (64, "nodad") };
            host.ip(&format!("addr add {vtep}/{len} dev veth0 {nodad}"));
            host.ip("link set veth0 up");
        }
        let containers = [Container::new(2), Container::new(3)];
        let side = |me: usize| {
            let ports = vec![containers[me].port(7)];
            let remotes = vec![containers[1 - me].remote(vteps[1 - me])];
            let encrypted = sealed.as_ref().map(|(_, ledger)| ledger.clone());
            let spec = Spec { mtu, ports, remotes, encrypted, ..Spec::default() };
            let plan = plan(vteps[me], spec);
            let suite = sealed.as_ref().map_or(Suite::ChaCha20Poly1305, |(suite, _)| *suite);
            let (plane, events) = start(&hosts[me], vteps[me], gso, suite, plan.clone());
            plane.add_port(PortId(7), containers[me].tap(kinds[me], mtu));
            (plane, plan, events)
        };
        let ((a, plan_a, heard_a), (b, plan_b, heard_b)) = (side(0), side(1));
        let (plans, events) = ([plan_a, plan_b], [heard_a, heard_b]);
        Lab { planes: [a, b], plans, events, containers, hosts }
    }

    fn fast(vteps: [&str; 2]) -> Lab {
        Lab::new(vteps, [Kind::Fast, Kind::Fast], true, 1430)
    }

    /// The underlay carries 100 bytes less than the containers believe.
    fn narrow() -> Lab {
        let lab = Lab::new(["192.0.2.1", "192.0.2.2"], [Kind::Fast, Kind::Fast], true, 1450);
        lab.hosts.iter().for_each(|host| host.ip("link set veth0 mtu 1400"));
        lab
    }

    /// Pings and a checked transfer each way, over IPv4 and IPv6.
    fn exercise(&self) {
        let [a, b] = &self.containers;
        a.netns.ping(b.v4);
        b.netns.ping(a.v6);
        transfer(&a.netns, &b.netns, b.v4, BULK);
        transfer(&b.netns, &a.netns, a.v6, BULK);
    }

    fn count(&self, side: usize, name: &str) -> u64 {
        self.planes[side].counters().get(name)
    }

    /// Mean bytes of the calls that these two counters are about.
    fn mean(&self, side: usize, bytes: &str, calls: &str) -> u64 {
        self.count(side, bytes) / self.count(side, calls).max(1)
    }
}

/// Bytes that are wrong if moved, lost or doubled.
fn pattern(at: usize) -> [u8; 8] {
    (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// Sends `len` bytes over TCP and checks every one of them.
fn transfer(from: &Netns, to: &Netns, at: IpAddr, len: usize) {
    let timeout = SOON;
    let listener = to.run(move || TcpListener::bind(SocketAddr::new(at, 0)).unwrap());
    let at = listener.local_addr().unwrap();
    let received = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(timeout)).unwrap();
        let (mut chunk, mut at) = ([0; 1 << 16], 0);
        while at < len {
            stream.read_exact(&mut chunk).unwrap();
            for word in chunk.as_chunks::<8>().0 {
                assert_eq!(*word, pattern(at), "byte {at}");
                at += 8;
            }
        }
        stream.write_all(b"ok").unwrap();
    });
    from.run(move || {
        let mut stream = TcpStream::connect_timeout(&at, timeout).unwrap();
        stream.set_read_timeout(Some(timeout)).unwrap();
        stream.set_write_timeout(Some(timeout)).unwrap();
        for start in (0..len).step_by(1 << 16) {
            let chunk: Vec<u8> = (start..start + (1 << 16)).step_by(8).flat_map(pattern).collect();
            stream.write_all(&chunk).unwrap();
        }
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).unwrap();
    });
    received.join().unwrap();
}

/// Sends datagrams of `size` bytes as one message that the kernel segments.
fn send_segmented(
    socket: &UdpSocket,
    bytes: &[u8],
    size: u16,
    to: SocketAddrV4,
) -> nix::Result<usize> {
    let segments = [ControlMessage::UdpGsoSegments(&size)];
    let bytes = [IoSlice::new(bytes)];
    sendmsg(socket.as_raw_fd(), &bytes, &segments, MsgFlags::empty(), Some(&SockaddrIn::from(to)))
}

#[test]
fn super_frames_pass_between_fast_taps() {
    if !able() {
        return;
    }
    let lab = Lab::fast(["192.0.2.1", "192.0.2.2"]);
    lab.exercise();
    for side in [0, 1] {
        let read = lab.mean(side, "tap_super_read_bytes", "tap_super_reads");
        let sent = lab.mean(side, "udp_gso_send_bytes", "udp_gso_sends");
        let written = lab.mean(side, "tap_super_write_bytes", "tap_super_writes");
        assert!(read > 20_000, "bytes per super-frame read: {read}");
        assert!(sent > 20_000, "bytes per segmented send: {sent}");
        assert!(written > 10_000, "bytes per super-frame written: {written}");
        assert_eq!(lab.count(side, "udp_gso_refused"), 0);
        assert_eq!(lab.count(side, "tap_gso_refused"), 0);
    }
}

#[test]
fn an_ipv6_underlay_carries_the_same() {
    if !able() {
        return;
    }
    let lab = Lab::fast(["fd99::1", "fd99::2"]);
    lab.exercise();
    assert!(lab.count(0, "udp_gso_sends") > 100);
}

#[test]
fn plain_and_fast_taps_understand_each_other() {
    if !able() {
        return;
    }
    let lab = Lab::new(["192.0.2.1", "192.0.2.2"], [Kind::Plain, Kind::Fast], true, 1450);
    lab.exercise();
    assert_eq!(lab.count(0, "tap_super_reads"), 0);
    assert!(lab.count(1, "tap_super_writes") > 100, "frames of the plain side are joined");
}

#[test]
fn plain_taps_do_without_offloads() {
    if !able() {
        return;
    }
    let lab = Lab::new(["192.0.2.1", "192.0.2.2"], [Kind::Plain, Kind::Plain], true, 1450);
    lab.exercise();
    assert_eq!(lab.count(0, "tap_super_reads") + lab.count(0, "tap_super_writes"), 0);
}

#[test]
fn datagrams_leave_one_by_one_where_segmentation_is_off() {
    if !able() {
        return;
    }
    let lab = Lab::new(["192.0.2.1", "192.0.2.2"], [Kind::Fast, Kind::Fast], false, 1450);
    lab.exercise();
    for side in [0, 1] {
        assert_eq!(lab.count(side, "udp_gso_sends"), 0);
        // One more may leave between two readings, a late acknowledgement, but
        // a send of several would keep the counts apart for good.
        let counts = || ["udp_sends", "udp_datagrams_out"].map(|name| lab.count(side, name));
        wait_until("every send is one datagram", || {
            let [sends, datagrams] = counts();
            sends == datagrams
        });
        let gso = &lab.planes[side].offload()[0];
        assert_eq!((gso.name, gso.active, &*gso.reason), ("udp-gso", false, "switched off"));
    }
}

#[test]
fn a_path_narrower_than_the_container_believes_is_reported_to_it() {
    if !able() {
        return;
    }
    let lab = Lab::narrow();
    let [a, b] = &lab.containers;
    transfer(&a.netns, &b.netns, b.v4, 4 << 20);
    transfer(&b.netns, &a.netns, a.v6, 4 << 20);
    assert!(lab.planes[0].counters().drops(Reason::TooBig) > 0);
    let (_, routes) = a.netns.command(&format!("ip route get {}", b.v4));
    assert!(routes.contains("mtu 1350"), "{routes}");
    // It was the path and not segmentation; that goes on.
    assert!(lab.count(0, "udp_gso_sends") > 0);
    assert_eq!(lab.planes[0].offload()[0].reason, "");
}

/// Nothing but super-frames: of TCP, a segment sent again alone would be reported too.
#[test]
fn a_super_frame_too_big_for_the_path_is_reported_to_its_container() {
    if !able() {
        return;
    }
    let lab = Lab::narrow();
    let [a, b] = &lab.containers;
    let IpAddr::V4(to) = b.v4 else { unreachable!() };
    let socket = a.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    wait_until("the container knows", || {
        // Refused once it knows.
        let _ = send_segmented(&socket, &[7; 4200], 1400, SocketAddrV4::new(to, 9000));
        a.netns.command(&format!("ip route get {}", b.v4)).1.contains("mtu 1350")
    });
    let counters = lab.planes[0].counters();
    assert!(counters.get("tap_super_reads") > 0);
    assert!(counters.drops(Reason::TooBig) >= 3);
}

/// The container asks once and never again, so it is the plan that makes the answer come.
#[test]
fn a_question_is_answered_when_a_plan_comes_that_knows_the_neighbour() {
    if !able() {
        return;
    }
    let lab = Lab::fast(["192.0.2.1", "192.0.2.2"]);
    let [a, b] = &lab.containers;
    let (knowing, to) = (lab.plans[0].load_full(), SocketAddr::new(b.v4, 9000));
    let spec = Spec { mtu: 1430, ports: vec![a.port(7)], ..Spec::default() };
    let ignorant = Arc::new(Plan::new(SEED, "192.0.2.1".parse().unwrap(), [network(5000, spec)]));
    let (ok, said) = a.netns.command("sysctl -w net.ipv4.neigh.eth0.retrans_time_ms=600000");
    assert!(ok, "{said}");
    let socket = a.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let unanswered = || lab.planes[0].counters().drops(Reason::UnknownNeighbour);
    let publish = |plan: &Arc<Plan>| {
        lab.plans[0].store(plan.clone());
        lab.planes[0].replan();
    };
    // A machine that is busy for a second is late for the question; then once more.
    wait_until("the container knows its neighbour", || {
        publish(&ignorant);
        a.netns.ip("neigh flush dev eth0");
        let before = unanswered();
        socket.send_to(b"hello", to).unwrap();
        wait_until("the container has asked", || unanswered() > before);
        publish(&knowing);
        let neighbour = format!("ip neigh show {}", b.v4);
        let known = || a.netns.command(&neighbour).1.contains(&b.mac.to_string()).then_some(());
        until(Duration::from_secs(1), known).is_some()
    });
}

#[test]
fn a_deleted_interface_is_reported_once() {
    if !able() {
        return;
    }
    let mut lab = Lab::fast(["192.0.2.1", "192.0.2.2"]);
    lab.containers[0].netns.ip("link del eth0");
    assert_eq!(lab.events[0].blocking_recv(), Some(Event::PortGone(PortId(7))));
    lab.planes[0].remove_port(PortId(7));
    assert!(lab.events[0].try_recv().is_err());
}

#[test]
fn a_removed_port_is_closed_and_its_number_free() {
    if !able() {
        return;
    }
    let lab = Lab::fast(["192.0.2.1", "192.0.2.2"]);
    let [a, b] = &lab.containers;
    lab.planes[0].remove_port(PortId(7));
    // The last descriptor is closed, and so the device goes.
    a.netns.wait_gone("eth0");
    lab.planes[0].add_port(PortId(7), a.tap(Kind::Plain, 1430));
    a.netns.ping(b.v4);
}

#[test]
fn a_persistent_tap_is_taken_up_again() {
    if !able() {
        return;
    }
    for kind in [Kind::Fast, Kind::Plain] {
        let netns = Netns::new("container");
        let open = move || Tap::open("eth0", kind).map(|(tap, _)| tap);
        let tap = netns.run(open).unwrap();
        tap.persist(true).unwrap();
        drop(tap);
        netns.ip("link show eth0");
        let other = if kind == Kind::Fast { Kind::Plain } else { Kind::Fast };
        let refused = netns.run(move || Tap::open("eth0", other)).unwrap_err();
        assert!(refused.to_string().starts_with("cannot open TAP eth0 with"), "{refused}");
        let mut again = None;
        wait_until("nobody else holds it", || {
            again = netns.run(open).ok();
            again.is_some()
        });
        let tap = again.unwrap();
        tap.persist(false).unwrap();
        drop(tap);
        netns.wait_gone("eth0");
    }
}

#[test]
fn names_that_no_interface_can_have_are_refused() {
    for name in ["", "a-name-of-16-byt", "zero\0inside"] {
        for kind in [Kind::Fast, Kind::Plain] {
            let error = Tap::open(name, kind).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        }
    }
}
