//! The built program as users and scripts meet it: help, exit codes, sentences,
//! and what each verb asks of the daemon and prints of its answer. The daemon
//! here is a stand-in that records requests and gives prepared answers.

#![allow(clippy::unwrap_used)] // a helper's failed unwrap fails the test, as it should

mod answers;
mod cluster;
mod fake;
mod services;
mod usage;

use std::process::{Command, Output, Stdio};

use fake::FakeDaemon;

fn vxmesh(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vxmesh"));
    command
        .args(args)
        .env_remove("VXMESH_SOCKET")
        .env_remove("VXMESH_TOKEN")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    vxmesh(args).output().unwrap()
}

fn run_at(daemon: &FakeDaemon, args: &[&str]) -> Output {
    vxmesh(args).env("VXMESH_SOCKET", daemon.socket()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// stdout of a success that wrote nothing to stderr.
fn ok(output: &Output) -> &str {
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

/// stderr of a failure with this exit status that wrote nothing to stdout.
fn err(output: &Output, code: i32) -> &str {
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stderr)
}
