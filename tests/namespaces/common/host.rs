//! A host: a namespace with a daemon in it.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use vxmesh::api::{Endpoint, Holder, Network, Node, Status};

use super::http::{self, Answer};
use super::netns::{Netns, Output};
use super::{SOON, holds_within, wait_until};

/// The program under test.
pub(crate) const VXMESH: &str = env!("CARGO_BIN_EXE_vxmesh");

/// A daemon of our own, killed when dropped.
#[derive(Debug)]
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A namespace with a daemon in it.
#[derive(Debug)]
pub(crate) struct Host {
    daemon: Daemon,
    pub(crate) ns: Netns,
    /// What the next start of the daemon advertises.
    pub(crate) vtep: IpAddr,
    arguments: Vec<String>,
    data_dir: PathBuf,
    dir: TempDir,
}

impl Host {
    /// Starts a daemon in `ns`, which has `vtep` already, and waits until it answers.
    pub(crate) fn start(ns: Netns, vtep: impl Into<IpAddr>, arguments: &[&str]) -> Host {
        Host::start_on(ns, vtep.into(), arguments, None)
    }

    /// As [`Host::start`], with the state in a directory that is there already.
    pub(crate) fn start_on(
        ns: Netns,
        vtep: IpAddr,
        arguments: &[&str],
        data_dir: Option<&Path>,
    ) -> Host {
        let dir = tempfile::Builder::new().prefix("vxmesh-test-").tempdir().unwrap();
        let data_dir = data_dir.map_or_else(|| dir.path().join("data"), Path::to_owned);
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let daemon = spawn(&ns, dir.path(), &data_dir, vtep, &arguments);
        let mut host = Host { daemon, ns, vtep, arguments, data_dir, dir };
        host.wait_ready();
        host
    }

    /// Waits until the daemon answers that was started last.
    pub(crate) fn wait_ready(&mut self) {
        let ready = holds_within(SOON, || self.vx(&["status"]).ok() || self.has_ended());
        assert!(ready && !self.has_ended(), "the daemon does not answer:\n{}", self.log());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.daemon.0.try_wait().unwrap().is_some()
    }

    /// Another daemon with the same arguments, while this one runs.
    pub(crate) fn second_daemon(&self, data_dir: &Path, socket: &Path) -> Output {
        self.ns.enter(|| Output::of(&mut daemon_command(data_dir, socket, self.vtep, &[])))
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("vxmesh.sock")
    }

    /// What the daemon has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.daemon.0.id().cast_signed())
    }

    /// Ends the daemon as nobody should.
    pub(crate) fn kill_9(&mut self) {
        self.daemon.0.kill().unwrap();
        let status = self.daemon.0.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "it had ended before");
    }

    /// Ends the daemon as systemd does.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        wait_until("the daemon ends after SIGTERM", || self.has_ended());
        self.daemon.0.wait().unwrap()
    }

    /// Starts the daemon again on the same data, without waiting for it.
    pub(crate) fn start_again(&mut self) {
        // One that was just killed holds its sockets, TAPs and files for a moment yet.
        wait_until("the daemon before has ended", || self.has_ended());
        self.daemon = spawn(&self.ns, self.dir.path(), &self.data_dir, self.vtep, &self.arguments);
    }

    /// As [`Host::start_again`], and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.start_again();
        self.wait_ready();
    }

    /// The command line, yet to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(VXMESH);
        command.arg("--socket").arg(self.socket()).args(arguments);
        command
    }

    /// The command line, whatever it answers.
    pub(crate) fn vx(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.command(arguments))
    }

    /// As [`Host::vx`]; words are split at blanks.
    pub(crate) fn try_line(&self, line: &str) -> Output {
        self.vx(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The command line, which must succeed; words are split at blanks.
    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.try_line(line);
        assert!(output.ok(), "vxmesh {line}: {}\n{}", output.err, self.log());
        output.out
    }

    /// A request to the API.
    pub(crate) fn api(&self, method: &str, path: &str, body: &Value) -> Answer {
        http::request(&self.socket(), method, path, body)
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.api("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.body
    }

    pub(crate) fn status(&self) -> Status {
        serde_json::from_value(self.get("/v1/status")).unwrap()
    }

    pub(crate) fn networks(&self) -> Vec<Network> {
        serde_json::from_value(self.get("/v1/networks")).unwrap()
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        serde_json::from_value(self.get("/v1/endpoints")).unwrap()
    }

    /// A traffic counter.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.status().counters;
        *counters.get(name).unwrap_or_else(|| panic!("no counter {name} in {counters:?}"))
    }

    /// Frames dropped for a reason.
    pub(crate) fn drops(&self, reason: &str) -> u64 {
        self.status().drops.iter().find(|d| d.reason == reason).map_or(0, |d| d.frames)
    }

    /// Waits until a reason's counter is above what it was.
    pub(crate) fn wait_drop(&self, reason: &str, before: u64, what: &str) {
        let counted = holds_within(SOON, || self.drops(reason) > before);
        assert!(counted, "{what}: not counted as {reason}; drops are {:?}", self.status().drops);
    }

    /// `attach --netns`, with more arguments; the endpoint is named as the namespace.
    pub(crate) fn attach(&self, network: &str, container: &Netns, more: &str) -> Endpoint {
        let name = container.name();
        self.ok(&format!("attach {network} --netns {name} --name {name} {more}"));
        self.endpoint(name)
    }

    pub(crate) fn endpoint(&self, name: &str) -> Endpoint {
        serde_json::from_value(self.get(&format!("/v1/endpoints/{name}"))).unwrap()
    }

    /// Whether this host shows an endpoint as another's.
    pub(crate) fn knows(&self, endpoint: &Endpoint) -> bool {
        let remote = |e: &Endpoint| matches!(e.holder, Holder::Remote { .. });
        self.endpoints().iter().any(|e| e.id == endpoint.id && remote(e))
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        serde_json::from_value(self.get("/v1/nodes")).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.ok("cluster token -q").trim().to_owned()
    }

    /// Joins the cluster that `member` belongs to.
    pub(crate) fn join(&self, member: &Host) {
        self.ok(&format!("cluster join --token {} {}", member.token(), member.vtep));
    }

    /// Attaches through the API, for tests that must not wait for a process.
    pub(crate) fn try_attach(&self, network: &str, container: &Netns, name: &str) -> Answer {
        let sandbox = json!({ "netns": container.name() });
        self.api(
            "POST",
            "/v1/endpoints",
            &json!({ "network": network, "sandbox": sandbox, "name": name }),
        )
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the daemon in {}:\n{}", self.ns.name(), self.log());
        }
    }
}

fn daemon_command(data: &Path, socket: &Path, vtep: IpAddr, arguments: &[String]) -> Command {
    let mut command = Command::new(VXMESH);
    command.arg("daemon").arg("--data-dir").arg(data).arg("--socket").arg(socket);
    command.arg("--advertise").arg(vtep.to_string()).args(arguments);
    command
}

fn spawn(ns: &Netns, dir: &Path, data: &Path, vtep: IpAddr, arguments: &[String]) -> Daemon {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = daemon_command(data, &dir.join("vxmesh.sock"), vtep, arguments);
    if !arguments.iter().any(|a| a == "--name") {
        command.args(["--name", ns.name()]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Daemon(ns.enter(move || command.spawn().unwrap()))
}
