//! A disk that is full, and a state file that is damaged.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::common::cluster::{all_ping, container, wait_agreement};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{one_host, wait_members, wait_network};
use crate::common::netns::{Netns, Output};
use crate::common::{holds_within, root, wait_until};

/// A small disk of its own; unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    fn new() -> Disk {
        let disk = Disk(tempfile::Builder::new().prefix("vxmesh-disk-").tempdir().unwrap());
        mount(Some("vxmesh"), disk.path(), Some("tmpfs"), MsFlags::empty(), Some("size=6m"))
            .unwrap();
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Leaves not one byte free.
    fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let filled = loop {
                if let Err(e) = file.write_all(&vec![0x55; size]) {
                    break e.kind();
                }
            };
            assert_eq!(filled, ErrorKind::StorageFull);
        }
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A daemon that is still there keeps its files; the name goes.
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

fn one_sentence(output: &Output, says: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.err.trim().lines().count(), 1, "one sentence: {}", output.err);
    for word in says {
        assert!(output.err.contains(word), "says {word:?}: {}", output.err);
    }
}

/// Uses up what the state file has left inside, until a change is refused.
fn create_until_refused(host: &Host) -> Output {
    let label = "x".repeat(4000);
    let begin = host.networks().len();
    let refused = (begin..1000).find_map(|i| {
        let output = host.try_line(&format!("network create filler{i} --label text={label}"));
        (!output.ok()).then_some(output)
    });
    refused.expect("a full disk refuses something")
}

#[test]
fn a_full_disk_is_said_and_recovered_from() {
    need!(root());
    let disk = Disk::new();
    let fabric = Fabric::new();
    let host = Host::start_on(fabric.plug(1), Fabric::vtep(1), &[], Some(disk.path()));
    let other = fabric.host(2);
    other.join(&host);
    wait_members(&[&host, &other]);
    host.ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &[&other]);
    let before = [&host, &other].map(|host| container(host, "red", ""));
    let sandbox = Netns::new("spare");
    let attach = format!("attach red --netns {}", sandbox.name());
    for round in 0..2 {
        disk.fill();
        one_sentence(&create_until_refused(&host), &["disk is full"]);
        let refused = (0..200).find_map(|i| {
            let output =
                host.try_line(&format!("{attach} --name r{round}e{i} --ifname r{round}e{i}"));
            (!output.ok()).then_some(output)
        });
        one_sentence(&refused.expect("an attach is refused"), &["disk is full"]);
        // What is there works on, and the other host notices nothing.
        all_ping(&before.each_ref());
        let elsewhere = container(&other, "red", "");
        wait_until("news of others still come", || host.knows(&elsewhere.endpoint));
        elsewhere.ns.ping(before[0].ip);
        disk.free();
        wait_until("an attach succeeds again", || {
            host.try_line(&format!("{attach} --name after{round} --ifname after{round}")).ok()
        });
        wait_agreement(&[&host, &other]);
    }
}

/// Killed while its disk is full, and started on it.
#[test]
fn a_host_is_killed_with_a_full_disk() {
    need!(root());
    let disk = Disk::new();
    let fabric = Fabric::new();
    let mut host = Host::start_on(fabric.plug(1), Fabric::vtep(1), &[], Some(disk.path()));
    let other = fabric.host(2);
    other.join(&host);
    wait_members(&[&host, &other]);
    host.ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &[&other]);
    let boxes = [&host, &other].map(|host| container(host, "red", ""));
    disk.fill();
    create_until_refused(&host);
    host.kill_9();
    host.start_again();
    // It may start, or say that it cannot.
    let told = holds_within(crate::common::SOON, || host.has_ended() || host.vx(&["status"]).ok());
    assert!(told, "neither ready nor ended: {}", host.log());
    assert!(!host.log().contains("panicked"), "{}", host.log());
    disk.free();
    if host.has_ended() {
        assert!(host.log().contains("disk is full"), "{}", host.log());
        host.restart();
    }
    wait_members(&[&host, &other]);
    wait_agreement(&[&host, &other]);
    all_ping(&boxes.each_ref());
}

/// The state file after something else has been at it.
#[test]
fn a_damaged_state_file_is_a_sentence() {
    need!(root());
    let mut host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    let kept = container(&host, "red", "");
    host.terminate();
    let path = host.data_dir().join("state.redb");
    let whole = fs::read(&path).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    let quarter = whole.len() / 4;
    for (what, bytes) in [
        ("cut to half", whole[..2 * quarter].to_vec()),
        ("cut to a few bytes", whole[..100].to_vec()),
        ("all zeros", vec![0; whole.len()]),
        ("a header of nonsense", damaged(&|b| b[..4096].fill(0xa5))),
        ("both commit slots nonsense", damaged(&|b| b[64..320].fill(0xa5))),
        ("pages of nonsense", damaged(&|b| b[4096..].fill(0xa5))),
        ("a hole in the midst", damaged(&|b| b[quarter..3 * quarter].fill(0))),
        (
            "every 97th byte changed",
            damaged(&|b| b[4096..].iter_mut().step_by(97).for_each(|b| *b ^= 0x10)),
        ),
        ("another file", b"not a database".to_vec()),
    ] {
        fs::write(&path, bytes).unwrap();
        let logged = host.log().len();
        host.start_again();
        let told =
            holds_within(crate::common::SOON, || host.has_ended() || host.vx(&["status"]).ok());
        let log = host.log().split_off(logged);
        assert!(told, "{what}: neither ready nor ended: {log}");
        assert!(!log.contains("panicked"), "{what}: {log}");
        if host.has_ended() {
            assert!(log.contains("cannot be read"), "{what}: {log}");
            assert!(log.contains("backup"), "{what}: says what to do: {log}");
        } else {
            host.kill_9();
        }
    }
    // The copy from a backup.
    fs::write(&path, &whole).unwrap();
    host.restart();
    assert_eq!(host.networks().len(), 1);
    assert_eq!(host.endpoints().len(), 1, "{:?}", kept.endpoint);
}
