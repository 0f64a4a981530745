//! What happens in the demo, step by step.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use super::cast::{
    self, BLUE, DB_1, DB_2, GOLD, GOLD_1, GOLD_2, GREEN, HOSTS, RED, RED_1, RED_2, Role, Segment,
    WEB_1, WEB_2, ip_flags,
};
use super::report::{Report, size, time};
use super::service;
use super::world::{World, counter, drops};
use crate::api::{Session, Status, Verification, Verify};
use crate::core::drops::Reason;
use crate::lab::bulk::{Limit, Transfer};
use crate::lab::custody::until;
use crate::lab::link;
use crate::lab::ping::Pings;
use crate::lab::privilege::Standing;
use crate::wire::vxlan;

/// A mean read or send above this can only come of super-frames: eight
/// full-sized segments.
const SUPER: f64 = 8.0 * 1448.0;

/// Plays all steps. Failed checks are counted and the story goes on; an error
/// means that it cannot. With `keep`, nothing is detached at the end.
pub(super) fn play(world: &mut World, report: &mut Report, keep: bool) -> anyhow::Result<()> {
    report.text(cast::picture(&world.underlay));
    report.remark(format_args!("joined by {}", world.underlay.kind));
    if cfg!(debug_assertions) {
        report.remark("a debug build: its figures say little");
    }
    start_daemons(world, report)?;
    join(world, report)?;
    create(world, report, &BLUE, "One network on all hosts, four containers on it")?;
    pings(world, report)?;
    bulk(world, report)?;
    isolation(world, report)?;
    secrecy(world, report)?;
    service::play(world, report)?;
    crash(world, report)?;
    if !keep {
        tidy(world, report)?;
    }
    Ok(())
}

/// How to look around, and how to end it.
pub(super) fn explore(world: &World, report: &Report, standing: Standing) {
    report.text("\nThe lab is up. To look around from another terminal:");
    for host in &world.hosts {
        report.text(format_args!("   vxmesh --socket {} status", host.socket().display()));
    }
    let user = match standing {
        Standing::Root => String::new(),
        Standing::UserNamespace => {
            format!(" --preserve-credentials --user=/proc/{}/ns/user", std::process::id())
        }
    };
    for role in cast::roles() {
        if let Ok(sandbox) = world.sandbox(role) {
            let net = sandbox.path().display().to_string();
            let gateway = role.network.gateways[0];
            report.text(format_args!(
                "   nsenter{user} --net={net:19} ping {gateway}   # in {}",
                role.name
            ));
        }
    }
    report.text("Press Ctrl-C to take it down.");
}

fn start_daemons(world: &mut World, report: &mut Report) -> anyhow::Result<()> {
    report.step("A daemon on each host");
    for host in &mut world.hosts {
        let vtep = host.site.vtep;
        report.command(
            &host.name,
            format_args!("vxmesh daemon --name {} --advertise {vtep}", host.name),
        );
        let took = host.start()?;
        report.check(format_args!("{} answers", host.name), anyhow::Ok(time(took)));
        for offload in host.status()?.offload.iter().filter(|o| !o.active) {
            report.remark(format_args!("without {}: {}", offload.name, offload.reason));
        }
    }
    Ok(())
}

fn join(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step("One cluster of them");
    let (first, others) = world.hosts.split_first().context("there is no host")?;
    report.command(&first.name, "vxmesh cluster token");
    for host in others {
        let at = first.site.vtep;
        report.command(&host.name, format_args!("vxmesh cluster join --token … {at}"));
        let start = Instant::now();
        let joined = host.join(first).map(|()| time(start.elapsed()));
        report.check(format_args!("{} is a member", host.name), joined);
    }
    let all = world.hosts.len();
    for host in &world.hosts {
        let start = Instant::now();
        let met = host.await_status(|s| s.cluster.up == all).map(|_| time(start.elapsed()));
        report.check(format_args!("{} sees all {all} up", host.name), met);
    }
    Ok(())
}

/// Makes a network, attaches its containers, and waits until all hosts know.
pub(super) fn create(
    world: &World,
    report: &mut Report,
    segment: &'static Segment,
    title: &str,
) -> anyhow::Result<()> {
    report.step(title);
    let subnets: String = segment.subnets.iter().map(|s| format!(" --subnet {s}")).collect();
    let first = &world.hosts[0];
    report.command(
        &first.name,
        format_args!(
            "vxmesh network create {} --vni {}{subnets}{}",
            segment.name,
            segment.vni,
            if segment.encrypted { " --opt encrypted" } else { "" }
        ),
    );
    let before = world.hosts[1].status()?.networks;
    let network = world.create_network(first, segment)?;
    for host in &world.hosts {
        host.await_status(|s| s.networks > before)?;
        report.check(
            format_args!("{} has {}", host.name, segment.name),
            anyhow::Ok(format_args!("VNI {}, MTU {}", network.vni.get(), network.mtu)),
        );
    }
    if let Some(name) = segment.service {
        report.command(
            &first.name,
            format_args!("vxmesh service create {name} --network {}", segment.name),
        );
        let vip = world.create_service(first, segment, name);
        report.check(format_args!("{name} has a virtual IP"), vip);
        for host in &world.hosts {
            host.await_status(|s| s.services == 1)?;
        }
    }
    let roles = || cast::roles().into_iter().filter(|r| r.network.name == segment.name);
    for role in roles() {
        report.command(
            HOSTS[role.host],
            format_args!(
                "vxmesh attach {} --netns {} {}{}",
                segment.name,
                role.name,
                ip_flags(role.ips),
                role.service().map(|s| format!(" --service {s}")).unwrap_or_default()
            ),
        );
        let endpoint = world.attach(role)?;
        report.check(
            format_args!("{} has eth0", role.name),
            anyhow::Ok(format_args!("{}, MAC {}", role.ips[0], endpoint.mac)),
        );
    }
    for role in roles() {
        let known = world.await_known(role).map(time);
        report.check(format_args!("all hosts know where {} is", role.name), known);
    }
    Ok(())
}

fn pings(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step("Ping, within a host and across");
    report.command("web-1", format_args!("ping {}", DB_1.ips[0]));
    for (from, to) in [(&WEB_1, &WEB_2), (&WEB_1, &DB_1), (&DB_2, &WEB_2)] {
        let how = if from.host == to.host { "same host" } else { "across" };
        for ip in to.ips {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let pings = world.ping(from, *ip, 5)?;
            report.check(
                format_args!("{} to {}, {how}, {family}", from.name, to.name),
                answered(pings),
            );
        }
    }
    for gateway in BLUE.gateways {
        let pings = world.ping(&DB_1, *gateway, 5)?;
        report.check(format_args!("db-1 to its gateway {gateway}"), answered(pings));
    }
    Ok(())
}

fn bulk(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step("Bulk TCP, every byte checked");
    let limit = Limit { bytes: 1 << 30, time: Duration::from_secs(3) };
    let (across, used) = measured(world, &WEB_1, &DB_1, limit)?;
    if let Ok(transfer) = &across {
        report.figure("one TCP stream across hosts", rate(transfer));
    }
    report.check("web-1 to db-1, across", across.map(shown));
    used.super_frames(report, "bytes per read of the TAP, across", &TAP_READ);
    used.super_frames(report, "bytes per send to the underlay", &UDP_SEND);

    let limit = Limit { bytes: 1 << 30, time: Duration::from_secs(2) };
    let (within, used) = measured(world, &WEB_1, &WEB_2, limit)?;
    if let Ok(transfer) = &within {
        report.figure("one TCP stream within a host", rate(transfer));
    }
    report.check("web-1 to web-2, same host", within.map(shown));
    used.super_frames(report, "bytes per super-frame, same host", &TAP_SUPER_WRITE);
    Ok(())
}

fn isolation(world: &World, report: &mut Report) -> anyhow::Result<()> {
    create(world, report, &RED, "A second network, and that it does not reach the first")?;
    report.check("red-1 to red-2, across", answered(world.ping(&RED_1, RED_2.ips[0], 3)?));

    let before = world.status_at(&RED_1)?;
    let pings = world.ping(&RED_1, WEB_1.ips[0], 3)?;
    let after = world.status_at(&RED_1)?;
    let saw = unanswered(pings).and_then(|_| dropped(&before, &after, Reason::NoRoute));
    report.check("red-1 to web-1 by its gateway: refused", saw);

    let blue = BLUE.subnets[0];
    link::add_link_route(world.sandbox(&RED_1)?, "eth0", blue)?;
    report.command("red-1", format_args!("ip route add {blue} dev eth0"));
    let pings = world.ping(&RED_1, WEB_1.ips[0], 1)?;
    let last = world.status_at(&RED_1)?;
    let saw = unanswered(pings).and_then(|_| dropped(&after, &last, Reason::UnknownNeighbour));
    report.check("red-1 to web-1 on the link: nobody there", saw);

    let before = world.status_at(&WEB_1)?;
    forge(world)?;
    let saw = until(Duration::from_secs(2), || {
        world.status_at(&WEB_1).and_then(|now| dropped(&before, &now, Reason::Stranger)).ok()
    });
    report.check(
        "VXLAN from a stranger's address: dropped",
        saw.context("the daemon has not counted it"),
    );
    Ok(())
}

fn secrecy(world: &World, report: &mut Report) -> anyhow::Result<()> {
    create(world, report, &GOLD, "An encrypted network, and what the underlay sees of it")?;
    let host = world.host_of(&GOLD_1);
    let sessions = host.await_status(|s| {
        let sealed = |s: &Session| s.wanted && s.cipher.is_some();
        s.encrypted.sessions.iter().any(sealed)
    });
    let what = format_args!("{} has a session with {}", host.name, HOSTS[GOLD_2.host]);
    report.check(what, sessions.map(|_| "keys by Noise IK, over UDP 4789"));
    let sealed = host.await_status(|s| {
        s.encrypted.networks.iter().any(|n| n.name == GOLD.name && n.unreachable.is_empty())
    });
    report.check(
        format_args!("{} has keys with {}", host.name, HOSTS[GOLD_2.host]),
        sealed.map(|s| {
            let cipher = s.encrypted.sessions.iter().find_map(|session| session.cipher.clone());
            cipher.unwrap_or_default()
        }),
    );
    report.check("gold-1 to gold-2, across", answered(world.ping(&GOLD_1, GOLD_2.ips[0], 5)?));

    let limit = Limit { bytes: 1 << 30, time: Duration::from_secs(2) };
    let (across, _) = measured(world, &GOLD_1, &GOLD_2, limit)?;
    if let Ok(transfer) = &across {
        report.figure("one TCP stream across hosts, encrypted", rate(transfer));
    }
    report.check("gold-1 to gold-2, every byte checked", across.map(shown));

    report.command(&host.name, format_args!("vxmesh network verify {}", GOLD.name));
    let found: Verification =
        host.api.post(&format!("/v1/networks/{}/verify", GOLD.name), &Verify::default())?;
    for check in found.peers.into_iter().flat_map(|peer| peer.checks) {
        let saw = if check.passed { Ok(check.found) } else { Err(anyhow!(check.found)) };
        report.check(check.name, saw);
    }
    Ok(())
}

fn crash(world: &mut World, report: &mut Report) -> anyhow::Result<()> {
    report.step("A daemon killed under a running transfer, and started again");
    let forever = Limit { bytes: u64::MAX, time: Duration::from_secs(30) };
    let transfer = world.bulk(&WEB_1, &DB_1, DB_1.ips[0], forever)?;
    let moved_past = |mark: u64| {
        until(Duration::from_secs(15), || (transfer.received() > mark).then_some(()))
            .with_context(|| format!("nothing moved past {}", size(mark as f64)))
    };
    moved_past(32 << 20)?;

    let host = &mut world.hosts[WEB_1.host];
    report.command(&host.name, format_args!("kill -9 {}", host.pid().unwrap_or_default()));
    host.kill()?;
    let mark = transfer.received();
    let killed = Instant::now();
    report.command(&host.name, format_args!("vxmesh daemon --name {} …", host.name));
    host.start()?;
    report.check(format_args!("{} answers again", host.name), anyhow::Ok(time(killed.elapsed())));
    let resumed = moved_past(mark + (32 << 20));
    transfer.stop();
    let done = resumed.and_then(|()| Ok(transfer.finish()?));
    if let Ok(transfer) = &done {
        report.figure("longest pause over a kill -9", time(transfer.longest_pause));
    }
    report.check(
        "the transfer completes, every byte right",
        done.map(|t| format!("{}, longest pause {}", size(t.bytes as f64), time(t.longest_pause))),
    );
    report.check("web-1 to db-1, across, IPv6", answered(world.ping(&WEB_1, DB_1.ips[1], 3)?));
    Ok(())
}

fn tidy(world: &mut World, report: &mut Report) -> anyhow::Result<()> {
    report.step("All of it taken away again");
    for role in cast::roles() {
        report.command(HOSTS[role.host], format_args!("vxmesh detach {}", role.name));
        let saw = world.detach(role).map(|()| "only lo is left in it");
        report.check(format_args!("{} is detached", role.name), saw);
    }
    if let Some(name) = GREEN.service {
        report.command(HOSTS[0], format_args!("vxmesh service rm {name}"));
        world.hosts[0].api.delete(&format!("/v1/services/{name}"))?;
    }
    for segment in [&BLUE, &RED, &GOLD, &GREEN] {
        report.command(HOSTS[0], format_args!("vxmesh network rm {}", segment.name));
        world.hosts[0].await_status(|s| s.remote_endpoints == 0)?;
        world.hosts[0].api.delete(&format!("/v1/networks/{}", segment.name))?;
    }
    for host in &world.hosts {
        let gone = host.await_status(|s| s.networks == 0).map(|_| "gone");
        report.check(format_args!("{}'s networks", host.name), gone);
    }
    for host in &mut world.hosts {
        let start = Instant::now();
        let saw = host.terminate().map(|()| time(start.elapsed()));
        report.check(format_args!("{}'s daemon ends on SIGTERM", host.name), saw);
    }
    Ok(())
}

/// A mean that the counters give, and the fast path that it tells of.
struct Mean {
    sum: &'static str,
    count: &'static str,
    path: &'static str,
}

const TAP_READ: Mean = Mean { sum: "tap_read_bytes", count: "tap_reads", path: "tap" };
const TAP_SUPER_WRITE: Mean =
    Mean { sum: "tap_super_write_bytes", count: "tap_super_writes", path: "tap" };
const UDP_SEND: Mean = Mean { sum: "udp_send_bytes", count: "udp_sends", path: "udp-gso" };

/// What the sender's daemon counted during a transfer.
struct Used {
    before: Status,
    after: Status,
}

impl Used {
    /// Checks that super-frames passed, unless the kernel does not let them.
    fn super_frames(&self, report: &mut Report, what: &str, mean: &Mean) {
        if let Some(slow) = self.after.offload.iter().find(|o| o.name == mean.path && !o.active) {
            return report.remark(format_args!("{what}: not checked, since {}", slow.reason));
        }
        let saw = self.mean(mean).and_then(|mean| {
            ensure!(mean > SUPER, "{} only: segments, no super-frames", size(mean));
            Ok(size(mean))
        });
        if let Ok(mean) = &saw {
            report.figure(what, mean);
        }
        report.check(what, saw);
    }

    fn mean(&self, mean: &Mean) -> anyhow::Result<f64> {
        let grown = |name| {
            let (before, after) = (counter(&self.before, name)?, counter(&self.after, name)?);
            Ok::<u64, anyhow::Error>(after.saturating_sub(before))
        };
        let (sum, count) = (grown(mean.sum)?, grown(mean.count)?);
        ensure!(count > 0, "{} did not rise", mean.count);
        Ok(sum as f64 / count as f64)
    }
}

/// A transfer, and what the sender's daemon counted meanwhile.
fn measured(
    world: &World,
    from: &Role,
    to: &Role,
    limit: Limit,
) -> anyhow::Result<(anyhow::Result<Transfer>, Used)> {
    let before = world.status_at(from)?;
    let transfer = world.bulk(from, to, to.ips[0], limit).and_then(|b| Ok(b.finish()?));
    Ok((transfer, Used { before, after: world.status_at(from)? }))
}

/// Sends host A a frame of blue in VXLAN from an address that is no VTEP.
fn forge(world: &World) -> anyhow::Result<()> {
    let (target, source) = (&world.host_of(&WEB_1).site, &world.host_of(&DB_1).site);
    let stranger = match source.vtep {
        std::net::IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            std::net::Ipv4Addr::new(a, b, c, 66).into()
        }
        v6 => bail!("no stranger's address beside {v6}"),
    };
    source.add_address(stranger, 32)?;
    let socket = source.namespace.run(|| UdpSocket::bind((stranger, 0)))?;
    let vni = vxlan::Vni::new(BLUE.vni).context("a VNI has 24 bits")?;
    let mut datagram = vxlan::header(vni).to_vec();
    datagram.resize(vxlan::LEN + 60, 0);
    let port = world.status_at(&WEB_1)?.underlay.port;
    socket.send_to(&datagram, (target.vtep, port))?;
    Ok(())
}

fn answered(pings: Pings) -> anyhow::Result<Pings> {
    if pings.all_answered() { Ok(pings) } else { Err(anyhow!("{pings}")) }
}

fn unanswered(pings: Pings) -> anyhow::Result<Pings> {
    if pings.answered.is_empty() { Ok(pings) } else { Err(anyhow!("{pings}")) }
}

/// How often a reason was counted between two looks; an error if it was not.
fn dropped(before: &Status, after: &Status, reason: Reason) -> anyhow::Result<String> {
    let frames = drops(after, reason).saturating_sub(drops(before, reason));
    ensure!(frames > 0, "no drop was counted as {}", reason.name());
    Ok(format!("dropped as {}: {frames}", reason.name()))
}

fn shown(transfer: Transfer) -> String {
    format!("{} in {}, {}", size(transfer.bytes as f64), time(transfer.elapsed), rate(&transfer))
}

fn rate(transfer: &Transfer) -> String {
    format!("{:.2} Gbit/s", transfer.gbit_per_second())
}
