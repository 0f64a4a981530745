//! Questions by `dig`, and an upstream resolver that answers them all alike.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use super::host::Host;
use super::lab::{Family, UNDERLAY};
use super::netns::Netns;
use super::{tool, wait_until};

/// What [`Upstream`] says of every name.
pub(crate) const ELSEWHERE: &str = "192.0.2.77";

/// Whether these tests can run here.
pub(crate) fn can() -> Result<(), String> {
    super::root()?;
    tool("dig")
}

/// A host on its own that asks these resolvers.
pub(crate) fn host(resolvers: &[&str]) -> Host {
    let ns = Netns::new("host");
    ns.ip(&format!("link add {UNDERLAY} type veth peer name u1"));
    for end in [UNDERLAY, "u1"] {
        ns.ip(&format!("link set {end} up"));
    }
    ns.address("10.99.0.1/24", UNDERLAY);
    let arguments: Vec<&str> = resolvers.iter().flat_map(|ip| ["--dns", ip]).collect();
    Host::start(ns, Family::V4.vtep(1), &arguments)
}

/// All that `dig` prints of a question to 127.0.0.11.
pub(crate) fn dig(ns: &Netns, question: &str) -> String {
    ns.try_run(&format!("dig @127.0.0.11 +time=5 +tries=1 {question}")).out
}

/// The data in the answer, sorted.
pub(crate) fn data(ns: &Netns, question: &str) -> Vec<String> {
    let out = dig(ns, &format!("+short {question}"));
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The code of the answer, such as `NXDOMAIN`; what `dig` says if there is none.
pub(crate) fn code(ns: &Netns, question: &str) -> String {
    let out = dig(ns, question);
    let code = out.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    code.map_or(out.clone(), str::to_owned)
}

/// Waits until a name has this address: names of other hosts need a moment.
pub(crate) fn wait_name(ns: &Netns, name: &str, ip: &str) {
    wait_until(&format!("{} resolves {name}", ns.name()), || data(ns, name) == [ip]);
}

/// How an [`Upstream`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers with [`ELSEWHERE`].
    Honest,
    /// Sends answers with wrong ids and to other questions before the right one.
    Noisy,
    /// Says nothing.
    Silent,
}

/// A resolver on port 53 of a namespace, UDP and TCP; ended when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    heard: Heard,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// The questions that came, with the ports that they came from.
type Heard = Arc<Mutex<Vec<(u16, Vec<u8>)>>>;

impl Upstream {
    pub(crate) fn start(ns: &Netns, ip: Ipv4Addr, manner: Manner) -> Upstream {
        let (udp, tcp) =
            ns.enter(|| (UdpSocket::bind((ip, 53)).unwrap(), TcpListener::bind((ip, 53)).unwrap()));
        udp.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let (heard, end) = (Heard::default(), Arc::new(AtomicBool::new(false)));
        let serve = |work: Box<dyn Fn(&Heard) + Send>| {
            let (heard, end) = (heard.clone(), end.clone());
            std::thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    work(&heard);
                    sleep(Duration::from_millis(1));
                }
            })
        };
        let threads = vec![
            serve(Box::new(move |heard| datagrams(&udp, manner, heard))),
            serve(Box::new(move |heard| connections(&tcp, manner, heard))),
        ];
        Upstream { heard, end, threads }
    }

    /// How many questions came.
    pub(crate) fn asked(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Names and types that were asked for: each once, however often it was asked for.
    pub(crate) fn questions(&self) -> BTreeSet<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        let asked = |message: &[u8]| message[12..end_of_question(message)].to_vec();
        heard.iter().map(|(_, message)| asked(message)).collect()
    }

    /// The ports that questions came from.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.heard.lock().unwrap().iter().map(|(port, _)| *port).collect()
    }

    /// Whether a question came with these bytes in it.
    pub(crate) fn heard(&self, part: &[u8]) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.iter().any(|(_, question)| question.windows(part.len()).any(|w| w == part))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn datagrams(socket: &UdpSocket, manner: Manner, heard: &Heard) {
    let mut buffer = [0; 1500];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        heard.lock().unwrap().push((from.port(), buffer[..len].to_vec()));
        if manner == Manner::Noisy {
            noise(socket, &buffer[..len], from);
        }
        if manner != Manner::Silent {
            let _ = socket.send_to(&answer(&buffer[..len]), from);
        }
    }
}

/// What must not be taken for the answer; a liar's address would be in it.
fn noise(socket: &UdpSocket, question: &[u8], to: SocketAddr) {
    let mut other_id = answer(question);
    other_id[1] ^= 1;
    let mut other_name = answer(question);
    other_name[13] ^= 1;
    let stranger = UdpSocket::bind(("127.0.0.1", 0));
    for mut lie in [other_id, other_name, vec![0; 5], Vec::new()] {
        if let Some(last) = lie.last_mut() {
            *last = 66;
        }
        let _ = socket.send_to(&lie, to);
    }
    if let Ok(stranger) = stranger {
        let mut lie = answer(question);
        *lie.last_mut().unwrap() = 66;
        let _ = stranger.send_to(&lie, to);
    }
}

fn connections(listener: &TcpListener, manner: Manner, heard: &Heard) {
    while let Ok((mut stream, from)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        let mut length = [0; 2];
        if manner == Manner::Silent || stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        if stream.read_exact(&mut question).is_ok() {
            heard.lock().unwrap().push((from.port(), question.clone()));
            let answer = answer(&question);
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            let _ = stream.write_all(&[&length[..], &answer].concat());
        }
    }
}

/// Behind the header, the name's labels, and its type and class.
fn end_of_question(message: &[u8]) -> usize {
    12 + message[12..].iter().position(|b| *b == 0).unwrap() + 5
}

/// The header and the question back, with one address.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question[..end_of_question(question)].to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80;
    answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    let ip: Ipv4Addr = ELSEWHERE.parse().unwrap();
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(ip.octets());
    answer
}
