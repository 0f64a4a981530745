//! Sandboxes: network namespaces, opened, told apart and entered.
//!
//! Entering is per thread (`setns`), so that work inside a namespace is done on
//! a fresh thread which ends with it; no other thread ever leaves the daemon's.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use super::error::{Error, failed};
use crate::api::Sandbox;
use crate::core::tables::Refusal;

/// What tells namespaces apart while they live: the nsfs inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    dev: u64,
    ino: u64,
}

impl Identity {
    fn of(meta: &fs::Metadata) -> Identity {
        Identity { dev: meta.dev(), ino: meta.ino() }
    }

    /// Of whatever is at the path now.
    pub fn at(path: &Path) -> io::Result<Identity> {
        Ok(Identity::of(&fs::metadata(path)?))
    }
}

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    identity: Identity,
}

impl Namespace {
    /// The one that the daemon runs in.
    pub fn own() -> Result<Namespace, Error> {
        Namespace::open(Path::new("/proc/self/ns/net"))
    }

    /// Opens the namespace at a path, which must be one of a network.
    pub fn open(path: &Path) -> Result<Namespace, Error> {
        // O_NONBLOCK: a FIFO must not keep us waiting for its writer.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| unopened(path, e))?;
        let meta = file.metadata().map_err(|e| unopened(path, e))?;
        // SAFETY: the descriptor is open, and this request takes no argument.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
        if !is_nsfs(&file) || kind != libc::CLONE_NEWNET {
            return Err(Error::invalid(format!(
                "{} is no network namespace: give a name under /run/netns, or a path such as /proc/PID/ns/net",
                path.display()
            )));
        }
        Ok(Namespace { identity: Identity::of(&meta), file })
    }

    /// What tells it apart from others.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Does the work on a fresh thread inside the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let inside = || {
                // Where we are already, no capability is needed to enter.
                let here = Identity::at(Path::new("/proc/thread-self/ns/net"));
                if here.ok() != Some(self.identity) {
                    setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(failed(
                        "cannot enter the network namespace; the daemon needs CAP_SYS_ADMIN",
                    ))?;
                }
                work()
            };
            let thread = thread::Builder::new().name("netns".to_owned());
            let started =
                thread.spawn_scoped(scope, inside).map_err(failed("cannot start a thread"))?;
            let died = |_| Error::Failed("the work in the network namespace panicked".to_owned());
            started.join().map_err(died)?
        })
    }
}

/// Where a sandbox's namespace is found. `None` for the daemon's own.
pub fn path(sandbox: &Sandbox) -> Result<Option<PathBuf>, Error> {
    match sandbox {
        Sandbox::Tap(_) => Ok(None),
        Sandbox::Pid(pid) => Ok(Some(format!("/proc/{pid}/ns/net").into())),
        Sandbox::Netns(name) if name.starts_with('/') => Ok(Some(name.into())),
        Sandbox::Netns(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
            Err(Error::invalid(format!(
                "{name:?} is no namespace's name: give one under /run/netns, or an absolute path"
            )))
        }
        Sandbox::Netns(name) => {
            let found = ["/run/netns", "/var/run/netns"].iter().map(|d| Path::new(d).join(name));
            // Where neither exists, the first makes the better error.
            Ok(Some(
                found.clone().find(|p| p.exists()).unwrap_or(Path::new("/run/netns").join(name)),
            ))
        }
    }
}

/// The namespaces of all processes, with a path through which each can be opened.
pub fn of_processes() -> Vec<(Identity, PathBuf)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .map(|entry| entry.path().join("ns/net"))
        // A process may have ended since; then it holds nothing.
        .filter_map(|path| Some((Identity::at(&path).ok()?, path)))
        .collect()
}

/// Opens a namespace that was seen before: where it was, or through a process
/// that is still inside. `None` if it is gone.
pub fn find(sandbox: &Sandbox, identity: Identity) -> Option<Namespace> {
    let open = |path: &Path| Namespace::open(path).ok().filter(|n| n.identity == identity);
    let known = match path(sandbox).ok()? {
        Some(path) => open(&path),
        None => return Namespace::own().ok().filter(|n| n.identity == identity),
    };
    known.or_else(|| {
        of_processes()
            .into_iter()
            .filter(|(id, _)| *id == identity)
            .find_map(|(_, path)| open(&path))
    })
}

fn is_nsfs(file: &File) -> bool {
    nix::sys::statfs::fstatfs(file)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

fn unopened(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => Refusal::NotFound(format!(
            "there is no network namespace {}: see `ip netns list`, or whether the process has ended",
            path.display()
        ))
        .into(),
        _ => Error::Failed(format!("cannot open the network namespace {}: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_namespaces_are_opened() {
        let own = Namespace::own().unwrap();
        assert_eq!(own.identity(), Identity::at(Path::new("/proc/self/ns/net")).unwrap());
        for wrong in ["/proc/self/ns/mnt", "/etc/passwd", "/dev/null", "/proc/self/ns"] {
            let message = Namespace::open(Path::new(wrong)).unwrap_err().to_string();
            assert!(message.contains("is no network namespace"), "{message}");
        }
        let message = Namespace::open(Path::new("/run/netns/none")).unwrap_err().to_string();
        assert!(message.contains("there is no network namespace"), "{message}");
    }

    #[test]
    fn names_stay_below_their_directory() {
        for bad in ["", "..", "a/b", "../x"] {
            assert!(path(&Sandbox::Netns(bad.into())).is_err(), "{bad}");
        }
        let named = path(&Sandbox::Netns("c1".into())).unwrap();
        assert_eq!(named, Some("/run/netns/c1".into()));
    }

    #[test]
    fn this_process_is_found_by_its_namespace() {
        let own = Namespace::own().unwrap().identity();
        assert!(of_processes().iter().any(|(id, _)| *id == own));
        assert!(find(&Sandbox::Netns("gone".into()), own).is_some());
    }
}
