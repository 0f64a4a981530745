//! Hosts: a namespace each, with a real daemon as a child process in it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::custody::{Custody, until};
use super::underlay::Site;
use crate::api::{Cluster, ClusterJoin, Status, Token};
use crate::client::Client;

/// Enough for a daemon on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host and its daemon.
#[derive(Debug)]
pub struct Host {
    /// Its name in the cluster.
    pub name: String,
    /// Where it is.
    pub site: Site,
    /// Further flags for its daemon, from the next start on.
    pub flags: Vec<String>,
    /// Its daemon's API.
    pub api: Client,
    custody: Custody,
    directory: PathBuf,
    pid: Option<u32>,
}

impl Host {
    /// A host whose daemon has not been started.
    pub fn new(name: &str, site: Site, custody: &Custody) -> anyhow::Result<Host> {
        let directory = custody.directory().join(name);
        fs::create_dir(&directory)?;
        Ok(Host {
            name: name.to_owned(),
            site,
            flags: Vec::new(),
            api: Client::new(directory.join("vxmesh.sock"))?,
            custody: custody.clone(),
            directory,
            pid: None,
        })
    }

    /// The daemon's API socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("vxmesh.sock")
    }

    /// What the daemon has logged.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts the daemon, waits until it answers, and says how long that took.
    /// It keeps the data directory of an earlier start. To be called from a
    /// thread that lives as long as the daemon shall.
    pub fn start(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut daemon = Command::new("/proc/self/exe");
        daemon
            .arg0("vxmesh")
            .arg("daemon")
            .args(["--name", &self.name, "--advertise", &self.site.vtep.to_string()])
            .arg("--data-dir")
            .arg(self.directory.join("data"))
            .arg("--socket")
            .arg(self.socket())
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let namespace = self.site.namespace.clone();
        let pid = self
            .custody
            .spawn(&mut daemon, namespace.as_fd())
            .with_context(|| format!("the daemon of {} cannot be started", self.name))?;
        self.pid = Some(pid);
        let answer = until(PATIENCE, || match self.custody.ended(pid) {
            Ok(None) => self.status().ok().map(|_| Ok(())),
            Ok(Some(status)) => Some(Err(status.to_string())),
            Err(e) => Some(Err(e.to_string())),
        });
        match answer {
            Some(Ok(())) => Ok(start.elapsed()),
            Some(Err(end)) => bail!("the daemon of {} ended at once: {end}", self.name),
            None => bail!("the daemon of {} does not answer", self.name),
        }
    }

    /// Ends the daemon without a warning, as a crash would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::SIGKILL).map(drop)
    }

    /// Asks the daemon to end; an error if it does not, or not with success.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        match self.end(Signal::SIGTERM)? {
            status if status.success() => Ok(()),
            status => bail!("the daemon of {} ended with {status}", self.name),
        }
    }

    /// How the daemon is.
    pub fn status(&self) -> anyhow::Result<Status> {
        self.api.get("/v1/status")
    }

    /// Lets this host's daemon join the cluster that another host is in.
    pub fn join(&self, member: &Host) -> anyhow::Result<()> {
        let token: Token = member.api.get("/v1/cluster/token")?;
        let join = ClusterJoin { token: token.token, hosts: vec![token.address.to_string()] };
        let _: Cluster = self.api.post("/v1/cluster/join", &join)?;
        Ok(())
    }

    /// Waits until the daemon's status is as wished.
    pub fn await_status(&self, wish: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
        let seen = until(PATIENCE, || self.status().ok().filter(&wish));
        seen.with_context(|| format!("{} does not come that far", self.name))
    }

    /// The daemon's process id, while it has one.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self, lines: usize) -> Vec<String> {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let skip = log.lines().count().saturating_sub(lines);
        log.lines().skip(skip).map(str::to_owned).collect()
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        let pid = self.pid.take().with_context(|| format!("{} has no daemon", self.name))?;
        Ok(self.custody.end(pid, signal, PATIENCE)?)
    }
}
