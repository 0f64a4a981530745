//! One exchange with an upstream resolver, from the daemon's own namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::{TcpStream, UdpSocket};

use super::sockets::{read_message, write_message};
use crate::core::names::Transport;
use crate::core::names::forward::{Attempt, Heard};

/// The longest datagram that is read as an answer; we ask for 1232 bytes at most.
const LARGEST: usize = 4096;
/// Datagrams that are no answer, after which a resolver counts as failed: somebody
/// may be guessing ids.
const MOST_NOISE: usize = 32;

/// Sends a question and lets `judge` say what comes back is. An error says that the
/// resolver could not be reached.
pub(super) async fn exchange(
    transport: Transport,
    attempt: &Attempt,
    judge: impl FnMut(Vec<u8>) -> Heard,
) -> io::Result<Heard> {
    match transport {
        Transport::Datagram(_) => by_datagram(attempt, judge).await,
        Transport::Tcp => by_connection(attempt, judge).await,
    }
}

/// From a socket, and so from a random port, of its own. Connected, so that the
/// kernel lets nobody else's datagrams in, and tells where there is no resolver.
async fn by_datagram(
    attempt: &Attempt,
    mut judge: impl FnMut(Vec<u8>) -> Heard,
) -> io::Result<Heard> {
    let any = match attempt.upstream.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(attempt.upstream).await?;
    socket.send(&attempt.message).await?;
    let mut heard = Heard::Noise;
    for _ in 0..MOST_NOISE {
        let mut answer = Vec::with_capacity(LARGEST);
        socket.recv_buf(&mut answer).await?;
        heard = judge(answer);
        if heard != Heard::Noise {
            break;
        }
    }
    Ok(heard)
}

async fn by_connection(
    attempt: &Attempt,
    mut judge: impl FnMut(Vec<u8>) -> Heard,
) -> io::Result<Heard> {
    let mut stream = TcpStream::connect(attempt.upstream).await?;
    write_message(&mut stream, &attempt.message).await?;
    Ok(judge(read_message(&mut stream, usize::from(u16::MAX)).await?))
}
