//! The laboratory: namespaces, daemons in them, checked transfers, raw frames.
//!
//! Every name carries the process id and a number of its own, so that tests
//! run beside each other; everything made is unmade when its owner is dropped,
//! also while a failed test unwinds.

pub(crate) mod capture;
pub(crate) mod cluster;
pub(crate) mod dns;
pub(crate) mod fabric;
pub(crate) mod frames;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod lab;
pub(crate) mod netns;
pub(crate) mod pages;
pub(crate) mod raw;
pub(crate) mod transfer;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough for anything that should happen at once, on a machine that is
/// busy with something else.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Long enough for what takes probes, suspicions and repairs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, and panics with `what` if it never does.
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(SOON, condition), "not within {SOON:?}: {what}");
}

/// Whether `condition` comes to hold before `limit` has passed.
pub(crate) fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Leaves the test, counted as skipped, unless `$check` is `Ok`.
macro_rules! need {
    ($check:expr) => {
        if let Err(why) = $check {
            return $crate::common::skip(&why);
        }
    };
}

/// Says that the calling test cannot run: on the terminal, and in the file
/// that `tests/run` reads its number of skipped tests from.
pub(crate) fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {why}\n", thread.name().unwrap_or("a test"));
    // Not eprint!, which the test harness keeps to itself.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(file) = std::env::var_os("VXMESH_SKIP_FILE") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Whether this process may make namespaces and TAPs.
pub(crate) fn root() -> Result<(), String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Err("it makes network namespaces, which needs root".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("there is no /dev/net/tun: `modprobe tun`".into());
    }
    ["ip", "ping"].into_iter().try_for_each(tool)
}

/// Whether a program is installed.
pub(crate) fn tool(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(name).is_file());
    if found { Ok(()) } else { Err(format!("{name} is not installed")) }
}
