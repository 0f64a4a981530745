//! Little servers that say who they are, and who calls them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::namespace::{Namespace, joined};

/// Where the servers listen.
pub(super) const PORT: u16 = 80;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where names are served in a container.
const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

/// A server in a container. It says its name to everyone who connects; dropping it
/// ends it.
#[derive(Debug)]
pub(super) struct Server {
    at: SocketAddr,
    end: Arc<AtomicBool>,
    sandbox: Namespace,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    pub(super) fn start(sandbox: &Namespace, ip: IpAddr, name: &'static str) -> io::Result<Server> {
        let at = SocketAddr::new(ip, PORT);
        let listener = sandbox.run(|| TcpListener::bind(at))?;
        let (end, sandbox) = (Arc::new(AtomicBool::new(false)), sandbox.try_clone()?);
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                // Whoever does not want to hear it calls again.
                let _ = stream?.write_all(name.as_bytes());
            }
            Ok(())
        });
        Ok(Server { at, end, sandbox, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // Wakes it where it waits for a caller; with the address gone it has to be
        // left behind, which it ends with the program.
        let woken = self.sandbox.run(|| TcpStream::connect_timeout(&self.at, PATIENCE));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = joined(thread);
        }
    }
}

/// Calls from a container, one after the other: who answered, and how often.
pub(super) fn calls(
    sandbox: &Namespace,
    to: IpAddr,
    wanted: impl FnMut() -> bool + Send,
) -> io::Result<BTreeMap<String, usize>> {
    sandbox.run(|| {
        let mut wanted = wanted;
        let mut answers = BTreeMap::new();
        while wanted() {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, PORT), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            *answers.entry(answer).or_default() += 1;
        }
        Ok(answers)
    })
}

/// The IPv4 address of a name, as a container hears of it.
pub(super) fn resolve(sandbox: &Namespace, name: &str) -> io::Result<IpAddr> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    question.extend(name.bytes());
    question.extend([0, 0, 1, 0, 1]);
    sandbox.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&question, RESOLVER)?;
        let mut answer = [0; 512];
        let len = socket.recv(&mut answer)?;
        // One answer: its data is the end of the message.
        match answer[..len] {
            [_, _, _, _, _, _, 0, 1, .., a, b, c, d] => Ok(Ipv4Addr::new(a, b, c, d).into()),
            _ => Err(io::Error::other(format!("{name} has no address"))),
        }
    })
}
