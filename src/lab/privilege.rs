//! What a laboratory needs of the system, and sentences about what is missing.

use std::fs::{self, File};
use std::io;

use anyhow::{anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Namespaces, links and TAPs, raw sockets: capability numbers of linux/capability.h.
const NEEDED: [u32; 3] = [CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN];
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;

const TUN: &str = "/dev/net/tun";

/// How this process came by the right to make a laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It had it.
    Root,
    /// It is root in a user namespace of its own now.
    UserNamespace,
}

/// Makes sure that namespaces, links and TAPs can be made, if need be by
/// entering a user namespace, for which this process must have one thread
/// only. An error is a sentence about what is missing.
pub fn obtain() -> anyhow::Result<Standing> {
    tun_opens()?;
    if has_capabilities()? {
        return Ok(Standing::Root);
    }
    enter_user_namespace().map_err(|e| match restriction() {
        Some(why) => anyhow!(
            "an unprivileged user namespace is not allowed here ({why}): run this as root, or change that setting"
        ),
        None => anyhow!("a user namespace cannot be made ({e}): run this as root"),
    })?;
    Ok(Standing::UserNamespace)
}

fn tun_opens() -> anyhow::Result<()> {
    let Err(e) = File::options().read(true).write(true).open(TUN) else { return Ok(()) };
    match e.kind() {
        io::ErrorKind::PermissionDenied if geteuid().is_root() => bail!(
            "{TUN} must not be opened here ({e}): allow this container or service the device 10:200"
        ),
        io::ErrorKind::PermissionDenied => bail!(
            "{TUN} must not be opened by this user: run this as root, or allow everyone to use the device with \"chmod 0666 {TUN}\""
        ),
        _ => bail!(
            "the TUN driver is missing: {TUN} does not open ({e}); load it with \"modprobe tun\", or give this container the device"
        ),
    }
}

fn has_capabilities() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    Ok(effective(&status).is_some_and(|have| NEEDED.iter().all(|bit| have >> bit & 1 == 1)))
}

/// The effective capabilities in the text of a `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Becomes root in a new user namespace that maps this user only.
fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Without this an unprivileged process may not map its group.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// The setting that forbids user namespaces, if there is one.
fn restriction() -> Option<&'static str> {
    let is = |path: &str, value: &str| {
        fs::read_to_string(format!("/proc/sys/{path}")).is_ok_and(|text| text.trim() == value)
    };
    [
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone is 0"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns is 1",
        ),
    ]
    .into_iter()
    .find_map(|(path, value, why)| is(path, value).then_some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_effective_capabilities() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000203000\n";
        let have = effective(status).unwrap();
        assert!(NEEDED.iter().all(|bit| have >> bit & 1 == 1));
        assert_eq!(effective("CapEff:\t0000000000000000\n"), Some(0));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
