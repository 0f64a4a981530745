//! Flows through virtual IPs, from one daemon to the next: a file in the data
//! directory that is there only while no daemon is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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

/// Leaves flows to the next daemon: whole or not at all, for no other eyes.
pub(super) fn leave(dir: &Path, flows: &[u8]) -> io::Result<()> {
    if flows.is_empty() {
        return Ok(());
    }
    let new = dir.join("flows.new");
    // One that was cut short would keep its mode.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(flows)?;
    file.sync_all()?;
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
        leave(dir.path(), &[]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("flows.new"), "cut sh").unwrap();
        leave(dir.path(), &[1, 2, 3]).unwrap();
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(take(dir.path()), [1, 2, 3]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
