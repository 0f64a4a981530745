//! Containers behind a service that say who they are, and callers that count.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use vxmesh::api::Endpoint;

use super::host::Host;
use super::netns::Netns;
use super::{SOON, wait_until};

/// Where pages are served.
pub(crate) const PORT: u16 = 80;
/// How long an answer may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A container with a server: it says its name to whoever connects, and then repeats
/// what it is sent until the caller ends. Over UDP it says its name, and how much it
/// was sent.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) ns: Netns,
    pub(crate) endpoint: Endpoint,
    server: Server,
}

impl Page {
    /// A container behind a service, served at once.
    pub(crate) fn start(host: &Host, network: &str, service: &str) -> Page {
        Page::start_with(host, network, &format!("--service {service}"))
    }

    /// With these arguments of `attach`.
    pub(crate) fn start_with(host: &Host, network: &str, more: &str) -> Page {
        let ns = Netns::new("page");
        // Before it is called.
        let server = Server::start(&ns);
        let endpoint = host.attach(network, &ns, more);
        Page { ns, endpoint, server }
    }

    pub(crate) fn name(&self) -> &str {
        self.ns.name()
    }

    /// Its address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.endpoint.addresses[0].addr()
    }

    /// Ends its server: who connects from now on is refused.
    pub(crate) fn close(&mut self) {
        self.server.stop();
    }

    /// Serves again.
    pub(crate) fn open(&mut self) {
        self.server = Server::start(&self.ns);
    }
}

#[derive(Debug)]
struct Server {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn start(ns: &Netns) -> Server {
        let end = Arc::new(AtomicBool::new(false));
        let mut bound = None;
        // Sockets of a server before this one are closed only when every process that was
        // just being started with a copy of them runs its own program.
        wait_until("the port is free", || {
            bound = ns.enter(bind).ok();
            bound.is_some()
        });
        let (tcp, udp) = bound.expect("it was waited for");
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (name, ended) = (ns.name().to_owned(), end.clone());
        let streams = spawn(move || accept(&tcp, &name, &ended));
        let (name, ended) = (ns.name().to_owned(), end.clone());
        let datagrams = spawn(move || reply(&udp, &name, &ended));
        Server { end, threads: vec![streams, datagrams] }
    }

    fn stop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// In the namespace of the calling thread.
fn bind() -> io::Result<(TcpListener, UdpSocket)> {
    Ok((TcpListener::bind(("::", PORT))?, UdpSocket::bind(("::", PORT))?))
}

fn accept(listener: &TcpListener, name: &str, end: &Arc<AtomicBool>) {
    let mut talks = Vec::new();
    while !end.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let (name, end) = (format!("{name}\n"), end.clone());
                talks.push(spawn(move || talk(stream, &name, &end)));
            }
            Err(_) => sleep(Duration::from_millis(1)),
        }
    }
    talks.into_iter().for_each(|talk| talk.join().unwrap());
}

/// Until the caller ends it, or the page closes.
fn talk(mut stream: TcpStream, name: &str, end: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 4096];
    let mut wrote = stream.write_all(name.as_bytes());
    while wrote.is_ok() && !end.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => wrote = stream.write_all(&buffer[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn reply(socket: &UdpSocket, name: &str, end: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !end.load(Ordering::Relaxed) {
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {len}").as_bytes(), from);
        }
    }
}

/// A connection to a page.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who answered.
    pub(crate) name: String,
    stream: BufReader<TcpStream>,
}

impl Call {
    /// Connects, and hears who is there.
    pub(crate) fn new(from: &Netns, to: IpAddr) -> io::Result<Call> {
        from.enter(|| Call::here(to))
    }

    /// From the namespace of the calling thread.
    fn here(to: IpAddr) -> io::Result<Call> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(to, PORT), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let mut name = String::new();
        stream.read_line(&mut name)?;
        match name.strip_suffix('\n') {
            Some(whole) => Ok(Call { name: whole.to_owned(), stream }),
            None => Err(io::Error::other(format!("only {name:?} was said"))),
        }
    }

    /// Says something, which must come back.
    pub(crate) fn echo(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"hello\n")?;
        self.wait()
    }

    /// Waits for something to come.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(SOON))?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line == "hello\n" { Ok(()) } else { Err(io::Error::other(format!("{line:?} came"))) }
    }
}

/// Who answers over UDP, and how many bytes it got.
pub(crate) fn ask_udp(from: &Netns, to: IpAddr, len: usize) -> io::Result<(String, usize)> {
    from.enter(|| {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((to, PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(&vec![7; len])?;
        let mut buffer = [0; 200];
        let read = socket.recv(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let (name, len) = text.split_once(' ').unwrap();
        Ok((name.to_owned(), len.parse().unwrap()))
    })
}

/// Who answered how often, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) by: BTreeMap<String, usize>,
    pub(crate) failures: Vec<String>,
}

impl Answers {
    fn count(&mut self, call: io::Result<Call>, since: Instant) {
        match call {
            Ok(call) => *self.by.entry(call.name).or_default() += 1,
            Err(e) => self.failures.push(format!("{e} after {:?}", since.elapsed())),
        }
    }
}

/// So many calls, one after the other.
pub(crate) fn calls(from: &Netns, to: IpAddr, count: usize) -> Answers {
    from.enter(|| {
        let mut answers = Answers::default();
        for _ in 0..count {
            let since = Instant::now();
            answers.count(Call::here(to), since);
        }
        answers
    })
}

/// A hundred calls a second, by some callers who do not wait for each other.
#[derive(Debug)]
pub(crate) struct Load {
    answers: Arc<Mutex<Answers>>,
    end: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

const CALLERS: u32 = 4;
const RATE: u32 = 100;

impl Load {
    pub(crate) fn start(from: &Netns, to: IpAddr) -> Load {
        let (answers, end) = (Arc::new(Mutex::new(Answers::default())), Arc::default());
        let callers = (0..CALLERS).map(|_| {
            let (path, answers, end) = (from.path(), Arc::clone(&answers), Arc::clone(&end));
            spawn(move || {
                let namespace = std::fs::File::open(path).unwrap();
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                call_on(to, &answers, &end);
            })
        });
        let callers = callers.collect();
        Load { answers, end, callers }
    }

    /// What came of it so far.
    pub(crate) fn so_far(&self) -> Answers {
        self.answers.lock().unwrap().clone()
    }

    /// Calls that were made.
    pub(crate) fn made(&self) -> usize {
        let answers = self.so_far();
        answers.by.values().sum::<usize>() + answers.failures.len()
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> Answers {
        self.end.store(true, Ordering::Relaxed);
        self.callers.drain(..).for_each(|caller| caller.join().unwrap());
        self.so_far()
    }
}

fn call_on(to: IpAddr, answers: &Mutex<Answers>, end: &AtomicBool) {
    let pace = Duration::from_secs(1) * CALLERS / RATE;
    let mut next = Instant::now();
    while !end.load(Ordering::Relaxed) {
        let since = Instant::now();
        let call = Call::here(to);
        answers.lock().unwrap().count(call, since);
        next += pace;
        sleep(next.saturating_duration_since(Instant::now()));
    }
}
