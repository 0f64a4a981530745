//! `vxmesh demo` as a user runs it: that it passes, that nothing is left of it
//! however it ends, and what it says where it cannot run.
//!
//! Needs root and /dev/net/tun.

#![allow(clippy::unwrap_used)] // the helpers of tests are tests too

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

fn demo(directory: &TempDir) -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_vxmesh"));
    demo.arg("demo").env("TMPDIR", directory.path()).stdout(Stdio::piped());
    demo
}

/// Waits for a line of the demo that starts with `start`.
fn read_up_to(child: &mut Child, start: &str) {
    let out = BufReader::new(child.stdout.take().unwrap());
    let found = out.lines().map_while(Result::ok).any(|line| line.starts_with(start));
    assert!(found, "the demo ended before it printed a line that starts with {start:?}");
}

/// Waits until no process has the directory on its command line.
fn no_process_is_left(directory: &Path) {
    let mentions = |pid: &Path| {
        fs::read(pid.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(directory.to_str().unwrap()))
    };
    let start = Instant::now();
    while fs::read_dir("/proc").unwrap().any(|entry| mentions(&entry.unwrap().path())) {
        assert!(start.elapsed() < Duration::from_secs(20), "a daemon outlived the demo");
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_empty(directory: &TempDir) -> bool {
    fs::read_dir(directory.path()).unwrap().next().is_none()
}

#[test]
fn passes_and_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let output = demo(&directory).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains(" checks passed, 0 failed"), "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe");
    no_process_is_left(directory.path());
    assert!(is_empty(&directory));
}

#[test]
fn a_signal_takes_everything_down() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let directory = TempDir::new().unwrap();
        let mut child = demo(&directory).spawn().unwrap();
        read_up_to(&mut child, "3. ");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        no_process_is_left(directory.path());
        assert!(is_empty(&directory));
    }
}

#[test]
fn even_sigkill_leaves_no_process() {
    let directory = TempDir::new().unwrap();
    let mut child = demo(&directory).spawn().unwrap();
    read_up_to(&mut child, "3. ");
    child.kill().unwrap();
    child.wait().unwrap();
    no_process_is_left(directory.path());
}

#[test]
fn keep_stays_until_it_is_interrupted() {
    let directory = TempDir::new().unwrap();
    let mut child = demo(&directory).arg("--keep").spawn().unwrap();
    read_up_to(&mut child, "Press Ctrl-C");
    assert!(!is_empty(&directory));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    no_process_is_left(directory.path());
    assert!(is_empty(&directory));
}

/// Runs the demo as nobody, after `prepare` in a mount namespace of its own,
/// and returns what it complains about.
fn complaint(prepare: impl Fn() -> nix::Result<()> + Send + Sync + 'static) -> String {
    const NOBODY: u32 = 65534;
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("vxmesh");
    // By a process of its own: a descriptor of ours that it is written through could be
    // in the hands of a process that another test is just starting, and what is open for
    // writing cannot be started (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_vxmesh")).arg(&program).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(program);
    command.arg("demo");
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            prepare()?;
            nix::unistd::setgid(NOBODY.into())?;
            Ok(nix::unistd::setuid(NOBODY.into())?)
        })
    };
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn says_what_is_missing() {
    let file = tempfile::NamedTempFile::new().unwrap(); // mode 0600
    let path = file.path().to_owned();
    let said = complaint(move || {
        mount(Some(&path), "/dev/net/tun", None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
    let start = "vxmesh: /dev/net/tun must not be opened by this user: run this as root";
    assert!(said.starts_with(start), "{said}");

    let said = complaint(|| {
        mount(Some("none"), "/dev/net", Some("tmpfs"), MsFlags::empty(), None::<&str>)
    });
    assert!(said.starts_with("vxmesh: the TUN driver is missing: /dev/net/tun"), "{said}");
}
