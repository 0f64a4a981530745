//! A sandbox's sockets: opened in its namespace, served until they are dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::service::Service;
use super::{ADDRESS, Asker, PORT};
use crate::control::error::{Error, failed};
use crate::control::netlink::Netlink;
use crate::core::names::{LARGEST_DATAGRAM, LARGEST_QUESTION, Transport, Verdict};

/// A container's own loopback carries it whole.
const DATAGRAM: Transport = Transport::Datagram(LARGEST_DATAGRAM);
/// Questions answered in a row before other sandboxes have their turn.
const BATCH: usize = 16;
/// Connections of one sandbox at once; others wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// How long a connection may take to bring a question, or to take an answer.
const SLOWEST: Duration = Duration::from_secs(5);
/// After the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end of a server is waited for. It comes at once, unless the runtime
/// is the one that waits.
const END: Duration = Duration::from_secs(1);

/// The sockets, as they were opened.
#[derive(Debug)]
pub(super) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

impl Sockets {
    /// Opens them. To be called on a thread in the sandbox's namespace.
    pub(super) fn open() -> Result<Sockets, Error> {
        Netlink::open()?.set_up("lo")?;
        Sockets::bind().map_err(failed(format!(
            "names are not served at {ADDRESS}:{PORT}; end what else listens there"
        )))
    }

    fn bind() -> io::Result<Sockets> {
        let udp = std::net::UdpSocket::bind((ADDRESS, PORT))?;
        udp.set_nonblocking(true)?;
        let tcp = std::net::TcpListener::bind((ADDRESS, PORT))?;
        tcp.set_nonblocking(true)?;
        Ok(Sockets { udp, tcp })
    }
}

/// The sockets on the runtime. They are closed in this order: the end is last.
struct Open {
    udp: UdpSocket,
    tcp: TcpListener,
    _end: mpsc::Sender<()>,
}

/// A sandbox's sockets being served. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Server {
    task: AbortHandle,
    /// Hears that the task, and with it the sockets, are no more.
    ended: mpsc::Receiver<()>,
}

impl Server {
    /// Serves on the runtime.
    pub(super) fn start(
        runtime: &Handle,
        service: Arc<Service>,
        asker: Asker,
        sockets: Sockets,
    ) -> Result<Server, Error> {
        let inside = runtime.enter();
        let udp = UdpSocket::from_std(sockets.udp).map_err(failed("cannot serve names"))?;
        let tcp = TcpListener::from_std(sockets.tcp).map_err(failed("cannot serve names"))?;
        drop(inside);
        let (end, ended) = mpsc::channel();
        let open = Open { udp, tcp, _end: end };
        // One task for all: where it ends, everything of the sandbox ends.
        let task = runtime.spawn(async move {
            let open = open;
            tokio::join!(
                datagrams(&service, &asker, &open.udp),
                connections(&service, &asker, &open.tcp)
            )
        });
        Ok(Server { task: task.abort_handle(), ended })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // The address must be free for whoever comes next.
        let _ = self.ended.recv_timeout(END);
    }
}

async fn datagrams(service: &Service, asker: &Asker, socket: &UdpSocket) {
    let mut buffer = vec![0; LARGEST_QUESTION + 1];
    // No more than a client's share of the way upstream.
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(answered) = waiting.next() => {
                let (answer, client): (Vec<u8>, SocketAddr) = answered;
                send(socket, &answer, client);
            }
            ready = socket.readable() => {
                if ready.is_err() {
                    sleep(PAUSE).await;
                }
                for _ in 0..BATCH {
                    let Ok((len, client)) = socket.try_recv_from(&mut buffer) else { break };
                    match service.decide(asker, DATAGRAM, &buffer[..len]) {
                        Verdict::Answer(answer) => send(socket, &answer, client),
                        Verdict::Forward(question) => match service.begin(asker.clone(), question) {
                            Ok(pending) => waiting.push(async move {
                                (pending.forward(DATAGRAM).await, client)
                            }),
                            Err(refusal) => send(socket, &refusal, client),
                        },
                        Verdict::Drop => {}
                    }
                }
                yield_now().await;
            }
        }
    }
}

/// A client whose buffer is full asks again.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    let _ = socket.try_send_to(answer, client);
}

async fn connections(service: &Service, asker: &Asker, listener: &TcpListener) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = open.next() => {}
            accepted = listener.accept(), if open.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => open.push(converse(service, asker, stream)),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// One question after the other (RFC 7766), until the client has no more, is too
/// slow, or sends something else.
async fn converse(service: &Service, asker: &Asker, mut stream: TcpStream) {
    loop {
        let question = timeout(SLOWEST, read_message(&mut stream, LARGEST_QUESTION)).await;
        let Ok(Ok(question)) = question else { return };
        let answer = match service.decide(asker, Transport::Tcp, &question) {
            Verdict::Answer(answer) => answer,
            Verdict::Forward(question) => match service.begin(asker.clone(), question) {
                Ok(pending) => pending.forward(Transport::Tcp).await,
                Err(refusal) => refusal,
            },
            Verdict::Drop => return,
        };
        let Ok(Ok(())) = timeout(SLOWEST, write_message(&mut stream, &answer)).await else {
            return;
        };
    }
}

/// Reads a message with its length before it, of at most `most` bytes.
pub(super) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it, in one piece.
pub(super) async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}
