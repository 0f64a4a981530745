//! Network namespaces without a name.
//!
//! A namespace lives as long as something holds it. Ours are held by one
//! descriptor of this process and by what runs inside them, so when the process
//! ends, however it ends, the kernel takes them and everything in them down.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use super::link;

/// A network namespace with its loopback interface up, held by a descriptor.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A fresh one. Needs CAP_SYS_ADMIN.
    pub fn new() -> io::Result<Namespace> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = File::open("/proc/thread-self/ns/net")?;
            link::loopback_up()?;
            Ok(Namespace { file })
        });
        joined(made)
    }

    /// Another hold on the same namespace.
    pub fn try_clone(&self) -> io::Result<Namespace> {
        Ok(Namespace { file: self.file.try_clone()? })
    }

    /// Where other processes of the same user find it while this process
    /// lives, for `vxmesh attach --netns` and `nsenter --net=`.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Does `work` inside, on a thread of its own, and waits for it. An error
    /// to enter comes back as one of `work`'s.
    pub fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
    where
        T: Send,
        E: From<io::Error> + Send,
    {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(self.file.as_fd())?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `work` inside, on a thread of its own.
    pub fn spawn<T, E>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<JoinHandle<Result<T, E>>, E>
    where
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let file = self.file.try_clone()?;
        Ok(thread::spawn(move || {
            enter(file.as_fd())?;
            work()
        }))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling thread into a network namespace.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Waits for a thread; its panic becomes ours.
pub(super) fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
