//! Flows through virtual IPs, from one daemon to the next: a file in the data
//! directory. A daemon that ends leaves all of them there; while it runs it leaves some
//! every few seconds, in case it is killed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::state::Control;

const NAME: &str = "flows";

/// What the daemon before left; empty if it left nothing, or nothing that can be read.
/// The file is gone afterwards: flows are taken up once.
pub(super) fn take(dir: &Path) -> Vec<u8> {
    let path = dir.join(NAME);
    let flows = match fs::read(&path) {
        Ok(flows) => flows,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            tracing::warn!(
                "connections to services begin anew: cannot read {}: {e}",
                path.display()
            );
            Vec::new()
        }
    };
    if let Err(e) = fs::remove_file(&path) {
        tracing::warn!("cannot remove {}: {e}", path.display());
    }
    flows
}

/// How often flows are left while the daemon runs.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// More flows than this are left only at the end: the worker would stop for too long.
const MOST: u64 = 20_000;

/// What was left last by a daemon that runs.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    counted: [u64; 4],
}

impl Keeper {
    /// Leaves flows if they have changed since the last time.
    pub(super) fn keep(&mut self, control: &Control) {
        let counters = control.dataplane.counters();
        let count = |name| counters.get(name);
        let active = count("flows_active");
        let counted = ["flows_made", "flows_expired", "flows_evicted", "flows_reset"].map(count);
        if counted == self.counted {
            return;
        }
        self.counted = counted;
        // Rather none than those of some time ago.
        let flows = if active > MOST { Vec::new() } else { control.dataplane.save_flows() };
        if let Err(e) = leave(&control.options.data_dir, &flows, Durable::No) {
            tracing::debug!("connections to services are not left to the next start: {e}");
        }
    }
}

/// Whether what was left should outlive the machine's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    Yes,
    No,
}

/// Leaves flows to the next daemon: whole or not at all, for no other eyes.
pub(super) fn leave(dir: &Path, flows: &[u8], durable: Durable) -> io::Result<()> {
    if flows.is_empty() {
        return match fs::remove_file(dir.join(NAME)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    }
    let new = dir.join("flows.new");
    // One that was cut short would keep its mode.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(flows)?;
    if durable == Durable::Yes {
        file.sync_all()?;
    }
    fs::rename(&new, dir.join(NAME))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn flows_are_left_once_and_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(take(dir.path()).is_empty());
        leave(dir.path(), &[], Durable::Yes).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("flows.new"), "cut sh").unwrap();
        leave(dir.path(), &[1, 2, 3], Durable::No).unwrap();
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(take(dir.path()), [1, 2, 3]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        leave(dir.path(), &[4], Durable::Yes).unwrap();
        leave(dir.path(), &[], Durable::No).unwrap();
        assert!(take(dir.path()).is_empty(), "there are none any more");
    }
}
