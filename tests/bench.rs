//! `vxmesh bench` as a user runs it: that it measures, what it prints, and
//! that nothing is left of it. How fast anything is decides nothing here.
//!
//! Needs root and /dev/net/tun.

#![allow(clippy::unwrap_used)] // the helpers of tests are tests too

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

fn bench(directory: &TempDir) -> Command {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_vxmesh"));
    bench.arg("bench").env("TMPDIR", directory.path()).stdin(Stdio::null());
    bench
}

fn is_empty(directory: &TempDir) -> bool {
    fs::read_dir(directory.path()).unwrap().next().is_none()
}

#[test]
fn measures_and_leaves_nothing() {
    let (directory, results) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let plot = results.path().join("bench.svg");
    let output = bench(&directory)
        .args(["--quick", "--row", "tcp-1-segmenting", "--row", "local-udp-64", "--row", "rr-udp"])
        .args(["--format", "json", "--plot"])
        .arg(&plot)
        .output()
        .unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaint}");
    assert!(complaint.is_empty(), "progress in a pipe: {complaint}");
    assert!(is_empty(&directory));

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rounds"], 2);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    let rows = report["rows"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["tcp-1-segmenting", "local-udp-64", "rr-udp"]);
    for row in rows {
        let lanes = row["lanes"].as_array().unwrap();
        let subject = lanes.iter().find(|lane| lane["lane"] == row["subject"]).unwrap();
        assert_eq!(subject["samples"].as_array().unwrap().len(), 2, "{row}");
        assert!(subject["value"]["median"].as_f64().unwrap() > 0.0, "{row}");
        if !row["reference"].is_null() {
            assert!(subject["ratio"]["median"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    assert!(rows[2]["lanes"][0]["details"]["p99_us"].as_f64().unwrap() > 0.0);
    assert!(fs::read_to_string(plot).unwrap().starts_with("<svg "));
}

#[test]
fn a_signal_takes_everything_down() {
    let directory = TempDir::new().unwrap();
    let mut child =
        bench(&directory).args(["--row", "tcp-1"]).stdout(Stdio::null()).spawn().unwrap();
    // Up once a daemon has its directory inside the lab's.
    let start = Instant::now();
    let lab = || fs::read_dir(directory.path()).unwrap().next().map(|entry| entry.unwrap().path());
    while !lab().is_some_and(|lab| fs::read_dir(lab).is_ok_and(|mut e| e.next().is_some())) {
        assert!(start.elapsed() < Duration::from_secs(20), "there is no lab");
        thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(is_empty(&directory));
}

#[test]
fn lists_its_rows_and_refuses_others() {
    let directory = TempDir::new().unwrap();
    let output = bench(&directory).args(["--list", "--row", "rr"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["ROW", "rr-tcp", "rr-udp", "aes-rr-tcp", "chacha-rr-tcp", "vip-rr-tcp"]);

    let output = bench(&directory).args(["--row", "sctp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "vxmesh: no row fits \"sctp\": see \"vxmesh bench --list\"\n");
}
