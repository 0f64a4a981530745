//! What the daemons use: processor time and memory, from /proc.

use std::fs;
use std::io;

use nix::unistd::{SysconfVar, sysconf};

use crate::lab::host::Host;

/// Processor seconds, user and system, of all daemons together.
pub(super) fn cpu_seconds(daemons: &[Host]) -> io::Result<f64> {
    daemons.iter().filter_map(Host::pid).map(cpu_seconds_of).sum()
}

/// To the nanosecond where the kernel counts so finely (CONFIG_SCHED_INFO):
/// the ticks of `stat` are ten milliseconds, and an idle daemon uses less.
fn cpu_seconds_of(pid: u32) -> io::Result<f64> {
    if let Ok(seconds) = scheduled_seconds(pid) {
        return Ok(seconds);
    }
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&text).ok_or(io::ErrorKind::InvalidData)? as f64;
    Ok(ticks / sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64)
}

/// The running time of all threads. Those that have ended are missed, but a
/// daemon starts none while it carries frames.
fn scheduled_seconds(pid: u32) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += running(&text).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// The first of the three numbers in a schedstat: nanoseconds on a processor.
fn running(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// Resident memory of the daemons, in 10⁶ bytes each (their mean).
pub(super) fn resident_mb(daemons: &[Host]) -> io::Result<f64> {
    let mut sum = 0;
    for pid in daemons.iter().filter_map(Host::pid) {
        let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
        sum += resident_kib(&text).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(sum as f64 * 1024.0 / 1e6 / daemons.len().max(1) as f64)
}

/// utime and stime of a /proc/PID/stat. The name before them is in brackets
/// and may hold anything, also brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proc_says() {
        let stat = "77 (a) b) c) S 1 77 77 0 -1 4194560 1 2 3 4 250 17 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(267));
        assert_eq!(cpu_ticks("77 (a) S 1"), None);
        assert_eq!(running("123456 7 8\n"), Some(123_456));
        assert_eq!(running(""), None);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert_eq!(resident_kib("Name:\tx\n"), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(cpu_ticks(&own).is_some());
        assert!(cpu_seconds_of(std::process::id()).unwrap() > 0.0);
    }
}
