//! What went over a cable, as tcpdump took it and tshark reads it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::netns::{Netns, Output};

/// A running tcpdump; killed when dropped.
#[derive(Debug)]
pub(crate) struct Capture {
    tcpdump: Child,
    dir: TempDir,
}

impl Capture {
    /// Starts to record the headers of what matches `filter` on an interface.
    pub(crate) fn start(ns: &Netns, interface: &str, filter: &str) -> Capture {
        let dir = tempfile::Builder::new().prefix("vxmesh-capture-").tempdir().unwrap();
        let mut command = Command::new("tcpdump");
        // -Z root: the directory is root's alone. -U and immediate mode: what was
        // seen is in the file, but for the last few packets.
        command.args(["-Z", "root", "-U", "--immediate-mode", "-B", "16384"]);
        command.args(["-n", "-s", "160", "-i", interface]);
        command.arg("-w").arg(dir.path().join("capture.pcap")).arg(filter);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut tcpdump = ns.enter(|| command.spawn().unwrap());
        let mut said = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
        let listening = said.any(|line| line.unwrap().contains("listening on"));
        assert!(listening, "tcpdump does not listen on {interface}");
        Capture { tcpdump, dir }
    }

    /// Stops and reads the named fields of every packet.
    pub(crate) fn fields(mut self, names: &[&str]) -> Vec<Vec<String>> {
        kill(Pid::from_raw(self.tcpdump.id().cast_signed()), Signal::SIGINT).unwrap();
        self.tcpdump.wait().unwrap();
        let mut tshark = Command::new("tshark");
        tshark.args(["-n", "-T", "fields", "-E", "occurrence=f", "-r"]).arg(self.file());
        for name in names {
            tshark.args(["-e", name]);
        }
        let output = Output::of(&mut tshark);
        assert!(output.ok(), "tshark: {}", output.err);
        output.out.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("capture.pcap")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It has ended already if the capture was read.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}
