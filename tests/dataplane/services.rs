//! Virtual IPs between kernels: what a container's own TCP makes of it.

use std::io::ErrorKind;

use vxmesh::core::balance::{Backend, Scheduler, Standing, Vip, VipSpec};

use super::*;

const V4: &str = "10.50.0.100";
const V6: &str = "fd50::100";

/// Two hosts with a container each, and services before any of them.
struct World {
    planes: [Dataplane; 2],
    plans: [Arc<ArcSwap<Plan>>; 2],
    containers: [Container; 2],
    vteps: [IpAddr; 2],
    _events: [Receiver<Event>; 2],
    _hosts: [Netns; 2],
}

impl World {
    /// Both containers are reached at the virtual IPs of which `backends` says so.
    fn new(backends: &[usize]) -> World {
        let hosts = [Netns::new("host"), Netns::new("host")];
        let [a, b] = &hosts;
        ip(&format!("link add veth0 netns {} type veth peer veth0 netns {}", a.0, b.0));
        let vteps = ["192.0.2.1", "192.0.2.2"].map(|vtep| vtep.parse::<IpAddr>().unwrap());
        for (host, vtep) in hosts.iter().zip(vteps) {
            host.ip(&format!("addr add {vtep}/24 dev veth0"));
            host.ip("link set veth0 up");
        }
        let containers = [Container::new(2), Container::new(3)];
        let plans = [0, 1].map(|me| World::plan(&containers, vteps, me, backends, 1));
        let side = |me: usize| {
            let suite = Suite::ChaCha20Poly1305;
            let (plane, events) = start(&hosts[me], vteps[me], true, suite, plans[me].clone());
            plane.add_port(PortId(7), containers[me].tap(Kind::Fast, 1450));
            (plane, events)
        };
        let ((first, heard), (second, also)) = (side(0), side(1));
        let (planes, _events) = ([first, second], [heard, also]);
        World { planes, plans, containers, vteps, _events, _hosts: hosts }
    }

    fn plan(
        containers: &[Container; 2],
        vteps: [IpAddr; 2],
        me: usize,
        backends: &[usize],
        version: u64,
    ) -> Arc<ArcSwap<Plan>> {
        let vip = |address: &str| {
            let ip: IpAddr = address.parse().unwrap();
            let of = |at: &usize| {
                let Container { v4, v6, .. } = containers[*at];
                let ip = if ip.is_ipv4() { v4 } else { v6 };
                Backend { ip, weight: 1, standing: Standing::Ready }
            };
            let (scheduler, affinity) = (Scheduler::RoundRobin, None);
            let backends = backends.iter().map(of).collect();
            Arc::new(Vip::new(VipSpec { ip, version, scheduler, affinity, backends }))
        };
        let ports = vec![containers[me].port(7)];
        let remotes = vec![containers[1 - me].remote(vteps[1 - me])];
        let vips = vec![vip(V4), vip(V6)];
        plan(vteps[me], Spec { mtu: 1450, ports, remotes, vips, ..Spec::default() })
    }

    /// Flows of the first host that are not closed.
    fn flows(&self) -> u64 {
        let [a, b] = &self.containers;
        self.planes[0].flows(Vni::new(5000).unwrap(), &[a.v4, a.v6, b.v4, b.v6])
    }

    /// Other backends from now on.
    fn change(&self, backends: &[usize], version: u64) {
        for (me, known) in self.plans.iter().enumerate() {
            let plan = World::plan(&self.containers, self.vteps, me, backends, version);
            known.store(plan.load_full());
            self.planes[me].replan();
        }
    }
}

/// Answers each connection with one byte and waits for its end.
fn serve(netns: &Netns, listen: &str, name: u8) {
    let address: SocketAddr = listen.parse().unwrap();
    let listener = netns.run(move || TcpListener::bind(address).unwrap());
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let _ = stream.write_all(&[name]);
                let _ = stream.read(&mut [0]);
            });
        }
    });
}

fn connect(to: &str) -> std::io::Result<(TcpStream, u8)> {
    let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut name = [0];
    stream.read_exact(&mut name)?;
    Ok((stream, name[0]))
}

#[test]
fn a_service_carries_super_frames_to_a_backend_and_back() {
    if !able() {
        return;
    }
    let world = World::new(&[1]);
    let [a, b] = &world.containers;
    // Everywhere: the kernel of the backend knows nothing of the virtual IP.
    for (vip, any) in [(V4, "0.0.0.0"), (V6, "::")] {
        a.netns.ping(vip.parse().unwrap());
        bulk(&a.netns, &b.netns, vip, any);
        bulk(&b.netns, &b.netns, vip, any);
    }
    let counters = world.planes[0].counters();
    let mean = counters.get("udp_gso_send_bytes") / counters.get("udp_gso_sends").max(1);
    assert!(mean > 20_000, "bytes per segmented send: {mean}");
    assert_eq!((counters.get("flows_made"), counters.get("flows_reset")), (2, 0));
    // The last words of a connection may still be on their way.
    wait_until("all flows have ended", || world.flows() == 0);
}

/// As [`transfer`], from one to a service that the other is behind.
fn bulk(from: &Netns, to: &Netns, vip: &str, any: &str) {
    let any: IpAddr = any.parse().unwrap();
    let vip: IpAddr = vip.parse().unwrap();
    let listener = to.run(move || TcpListener::bind(SocketAddr::new(any, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let received = thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let (mut chunk, mut at) = ([0; 1 << 16], 0);
        while at < BULK {
            stream.read_exact(&mut chunk).unwrap();
            for word in chunk.as_chunks::<8>().0 {
                assert_eq!(*word, pattern(at), "byte {at}");
                at += 8;
            }
        }
        stream.write_all(b"ok").unwrap();
        peer
    });
    let own = from.run(move || {
        let mut stream = TcpStream::connect((vip, port)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        for start in (0..BULK).step_by(1 << 16) {
            let chunk: Vec<u8> = (start..start + (1 << 16)).step_by(8).flat_map(pattern).collect();
            stream.write_all(&chunk).unwrap();
        }
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.local_addr().unwrap()
    });
    let seen = received.join().unwrap();
    assert_eq!(seen.port(), own.port());
    assert_eq!(seen.ip(), if from.0 == to.0 { vip } else { own.ip() }, "the client's own address");
}

/// What one byte's read comes to, once nothing interrupts it: where the machine is
/// frozen for a moment, a read with a timeout ends without either.
fn read(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    loop {
        match stream.read(&mut [0]).map_err(|e| e.kind()) {
            Err(ErrorKind::Interrupted) => {}
            end => return end,
        }
    }
}

#[test]
fn connections_are_shared_out_reset_and_refused() {
    if !able() {
        return;
    }
    let world = World::new(&[0, 1]);
    let [a, b] = &world.containers;
    for (name, container) in [(1, a), (2, b)] {
        serve(&container.netns, "0.0.0.0:5002", name);
        serve(&container.netns, "[::]:5003", name);
    }
    for to in [format!("{V4}:5002"), format!("[{V6}]:5003")] {
        let mut names: Vec<u8> = a
            .netns
            .run(move || (0..60).map(|_| connect(&to).unwrap()).map(|(_, name)| name).collect());
        names.sort_unstable();
        assert_eq!(names, [vec![1; 30], vec![2; 30]].concat());
    }

    // Those that have not ended yet would be reset, too.
    wait_until("all flows have ended", || world.flows() == 0);
    // Idle connections to the one that goes; the others stay.
    let held = a
        .netns
        .run(|| (0..10).map(|_| connect(&format!("{V4}:5002")).unwrap()).collect::<Vec<_>>());
    world.change(&[0], 2);
    let (gone, mut stay): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, name)| *name == 2);
    for (mut stream, _) in gone {
        // They say nothing, and hear of it all the same.
        let end = read(&mut stream);
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
    }
    for (stream, _) in &mut stay {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let end = read(stream);
        assert_eq!(end, Err(ErrorKind::WouldBlock), "it goes on");
    }
    assert_eq!((stay.len(), world.flows()), (5, 5));
    assert_eq!(world.planes[0].counters().get("flows_reset"), 5);

    world.change(&[], 3);
    // Not a timeout.
    let refused = b.netns.run(|| connect(&format!("{V4}:5002")).map(|_| ()).map_err(|e| e.kind()));
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    assert!(world.planes[1].counters().drops(Reason::NoBackend) > 0);
}

#[test]
fn a_drain_ends_with_resets_on_both_sides() {
    if !able() {
        return;
    }
    let world = World::new(&[1]);
    let [a, b] = &world.containers;
    let listener = b.netns.run(|| TcpListener::bind("0.0.0.0:5004").unwrap());
    let mut client = a.netns.run(|| TcpStream::connect(format!("{V4}:5004")).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    let vni = Vni::new(5000).unwrap();
    assert_eq!(world.planes[0].flows(vni, &[b.v4]), 1);
    world.planes[0].reset_flows(vni, &[b.v4]);
    for stream in [&mut client, &mut server] {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let end = read(stream);
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
    }
    assert_eq!(world.planes[0].flows(vni, &[b.v4]), 0);
}
