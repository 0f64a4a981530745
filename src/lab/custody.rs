//! What the laboratory must take back: its processes and its directory.
//!
//! Namespaces are not in here, since they vanish by themselves. Children are
//! killed by the kernel when the thread that started them ends, so that even
//! SIGKILL leaves nothing running.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid, mkdtemp};

use super::namespace;

/// Takes back what it holds when the last clone is dropped or [`Custody::clean`] is called.
#[derive(Clone, Debug)]
pub struct Custody(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    directory: PathBuf,
    children: BTreeMap<u32, Child>,
}

impl Custody {
    /// With a fresh directory that only this user can enter.
    pub fn new() -> io::Result<Custody> {
        let directory = mkdtemp(&std::env::temp_dir().join("vxmesh-lab-XXXXXX"))?;
        Ok(Custody(Arc::new(Mutex::new(Held { directory, children: BTreeMap::new() }))))
    }

    /// The private directory.
    pub fn directory(&self) -> PathBuf {
        self.held().directory.clone()
    }

    /// Starts a process inside a namespace and returns its id. It ends with
    /// the calling thread at the latest. Signals from the terminal do not
    /// reach it.
    pub fn spawn(&self, command: &mut Command, namespace: BorrowedFd<'_>) -> io::Result<u32> {
        let parent = Pid::this();
        let fd = namespace.as_raw_fd();
        let prepare = move || {
            // SAFETY: the descriptor is borrowed for as long as `spawn` runs
            // below, and the fork has a copy of it.
            namespace::enter(unsafe { BorrowedFd::borrow_raw(fd) })?;
            SigSet::empty().thread_set_mask()?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above.
            if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        // SAFETY: between fork and exec, `prepare` makes system calls only: no
        // allocation, no lock.
        unsafe { command.pre_exec(prepare) };
        let mut held = self.held();
        let child = command.process_group(0).spawn()?;
        let pid = child.id();
        held.children.insert(pid, child);
        Ok(pid)
    }

    /// How a process ended; `None` while it runs. It is forgotten then.
    pub fn ended(&self, pid: u32) -> io::Result<Option<ExitStatus>> {
        let mut held = self.held();
        let child = held.children.get_mut(&pid).ok_or(io::ErrorKind::NotFound)?;
        let status = child.try_wait()?;
        if status.is_some() {
            held.children.remove(&pid);
        }
        Ok(status)
    }

    /// Sends a signal to one of the processes and waits for its end.
    pub fn end(&self, pid: u32, signal: Signal, patience: Duration) -> io::Result<ExitStatus> {
        if self.held().children.contains_key(&pid) {
            // Still ours, so the id cannot have been given to another process.
            kill(Pid::from_raw(pid as i32), signal)?;
        }
        until(patience, || self.ended(pid).transpose()).unwrap_or_else(|| {
            let seconds = patience.as_secs();
            let text = format!("process {pid} still runs {seconds} s after {signal}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    /// Kills the processes and removes the directory. What fails is passed
    /// over: there is nobody left who could do more.
    pub fn clean(&self) {
        self.held().clean();
    }

    /// [`Custody::clean`] and then the end of this process; nothing can be
    /// started in between.
    pub fn clean_and_exit(&self, code: i32) -> ! {
        let mut held = self.held();
        held.clean();
        std::process::exit(code)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn clean(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.clear();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clean();
    }
}

/// Asks every few milliseconds until there is an answer; `None` if there is
/// still none when `patience` is used up.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() > patience {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;

    use super::super::namespace::Namespace;
    use super::*;

    /// Long enough for what happens at once, on a busy machine.
    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn children_live_in_their_namespace_and_nothing_outlives_the_custody() {
        let namespace = Namespace::new().unwrap();
        let custody = Custody::new().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let [a, b] = [(); 2].map(|()| custody.spawn(&mut sleep, namespace.as_fd()).unwrap());
        let own = std::fs::read_link(namespace.path()).unwrap();
        assert_eq!(std::fs::read_link(format!("/proc/{a}/ns/net")).unwrap(), own);

        assert!(custody.ended(a).unwrap().is_none());
        let status = custody.end(a, Signal::SIGTERM, SOON).unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
        assert!(custody.ended(a).is_err(), "an ended process is forgotten");

        let directory = custody.directory();
        fs::write(directory.join("file"), "x").unwrap();
        drop(custody);
        assert!(!directory.exists());
        assert!(!PathBuf::from(format!("/proc/{b}")).exists());
    }

    #[test]
    fn children_end_with_the_thread_that_started_them() {
        let namespace = Namespace::new().unwrap();
        let custody = Custody::new().unwrap();
        let spawn = || {
            let mut sleep = Command::new("sleep");
            custody.spawn(sleep.arg("1000"), namespace.as_fd()).unwrap()
        };
        let pid = std::thread::scope(|scope| scope.spawn(spawn).join().unwrap());
        let status = until(SOON, || custody.ended(pid).unwrap()).unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    }
}
