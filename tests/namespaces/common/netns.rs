//! Network namespaces.

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use super::wait_until;

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Output {
    /// Runs a command to its end, with nothing on its standard input.
    pub(crate) fn of(command: &mut Command) -> Output {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Output {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// Splits at blanks; no argument in these tests has one inside.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command line is not empty"));
    command.args(words);
    command
}

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// A new one with its loopback up.
    pub(crate) fn new(label: &str) -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vx{}-{number}-{label}", std::process::id());
        let output = Output::of(Command::new("ip").args(["netns", "add", &name]));
        assert!(output.ok(), "ip netns add {name}: {}", output.err);
        let ns = Netns { name };
        ns.ip("link set lo up");
        ns
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `f` on a thread that has entered the namespace. Sockets made there
    /// and processes started there stay in it.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).unwrap();
        let result = std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            });
            inside.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a command inside, whatever becomes of it.
    pub(crate) fn try_run(&self, line: &str) -> Output {
        self.enter(|| Output::of(&mut command(line)))
    }

    /// Runs a command inside that must succeed; returns what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        assert!(output.ok(), "{line} in {}: {} {}", self.name, output.out, output.err);
        output.out
    }

    /// `ip` inside.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.run(&format!("ip {arguments}"))
    }

    /// Adds an address that is usable at once.
    pub(crate) fn address(&self, address: &str, interface: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("addr add {address} dev {interface} {nodad}"));
    }

    pub(crate) fn has_interface(&self, name: &str) -> bool {
        self.try_run(&format!("ip link show {name}")).ok()
    }

    /// The names of all interfaces but the loopback.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let out = self.ip("-o link show");
        let names = out.lines().filter_map(|line| line.split(": ").nth(1));
        names.map(|n| n.split('@').next().unwrap().to_owned()).filter(|n| n != "lo").collect()
    }

    /// Waits for an answer from `to`, then asks three times more, one of which at
    /// least must be answered.
    pub(crate) fn ping(&self, to: impl Into<IpAddr>) {
        let to = to.into();
        let once = format!("ping -c 1 -W 1 {to}");
        wait_until(&format!("{} reaches {to}", self.name), || self.try_run(&once).ok());
        self.run(&format!("ping -c 3 -i 0.2 -W 5 {to}"));
    }

    /// One question, with more arguments for `ping`; returns all it printed. An answer,
    /// or an error that comes back, ends it at once; where neither is to come, give a
    /// shorter `-W`.
    pub(crate) fn ping_says(&self, to: impl Into<IpAddr>, arguments: &str) -> String {
        let output = self.try_run(&format!("ping -c 1 -W 10 {arguments} {}", to.into()));
        output.out + &output.err
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A test may have deleted it itself.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A cable between two namespaces: a veth pair, `name` at both ends, up.
pub(crate) fn cable(a: &Netns, b: &Netns, name: &str) {
    a.ip(&format!("link add {name} type veth peer name {name} netns {}", b.name));
    for end in [a, b] {
        end.ip(&format!("link set {name} up"));
    }
}
