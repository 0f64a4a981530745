//! Requests between hosts: TCP under Noise, one connection for each exchange.
//!
//! Bytes of strangers cost one handshake message. Whoever cannot prove to be a
//! member, or to have the token, gets no byte in return.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::cluster::rpc::{Request, Response};
use crate::core::cluster::secret::identity::Identity;
use crate::core::cluster::secret::noise::{Handshake, Kind, opening};
use crate::core::cluster::secret::session::Session;
use crate::core::cluster::secret::token::{Tag, Token};

/// How long a connection and its handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long an exchange may take after that.
const EXCHANGE: Duration = Duration::from_secs(10);
/// How long an answer may take that others must agree to.
pub(super) const AGREEMENT: Duration = Duration::from_secs(30);

/// Asks a member whose X25519 key is `exchange`.
pub(super) async fn ask(
    me: &Identity,
    tag: Tag,
    exchange: &[u8; 32],
    at: SocketAddr,
    request: &Request,
) -> io::Result<Response> {
    let handshake = Handshake::initiate_member(me, exchange, tag, &seed()?);
    let patience = match request {
        Request::Leave(_) => AGREEMENT,
        _ => EXCHANGE,
    };
    initiate(handshake, Kind::Member, at, request, patience).await
}

/// Asks a host to be admitted, by the token.
pub(super) async fn join(
    me: &Identity,
    token: &Token,
    at: SocketAddr,
    request: &Request,
) -> io::Result<Response> {
    initiate(Handshake::initiate_join(me, token, &seed()?), Kind::Join, at, request, EXCHANGE).await
}

async fn initiate(
    mut handshake: Handshake,
    kind: Kind,
    at: SocketAddr,
    request: &Request,
    patience: Duration,
) -> io::Result<Response> {
    let (mut stream, mut session) = timeout(HANDSHAKE, async {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&[kind as u8]).await?;
        shake(&mut stream, &mut handshake, true).await?;
        Ok::<_, io::Error>((stream, handshake.into_session().map_err(broken)?))
    })
    .await??;
    timeout(patience, async {
        send(&mut stream, &mut session, request).await?;
        receive(&mut stream, &mut session).await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    })
    .await?
}

/// A host that has shown who it is.
#[derive(Debug)]
pub(super) struct Caller {
    stream: TcpStream,
    session: Session,
    /// Whether it came as a member or by the token.
    pub(super) kind: Kind,
}

impl Caller {
    /// Meets a caller. `token` is what it must have who is no member.
    pub(super) async fn meet(
        mut stream: TcpStream,
        me: &Identity,
        tag: Tag,
        token: &Token,
    ) -> io::Result<Caller> {
        timeout(HANDSHAKE, async {
            stream.set_nodelay(true)?;
            let kind = opening(stream.read_u8().await?).ok_or(ErrorKind::InvalidData)?;
            let mut handshake = match kind {
                Kind::Member => Handshake::respond_member(me, tag, &seed()?),
                Kind::Join => Handshake::respond_join(me, token, &seed()?),
            };
            shake(&mut stream, &mut handshake, false).await?;
            let session = handshake.into_session().map_err(broken)?;
            Ok(Caller { stream, session, kind })
        })
        .await?
    }

    /// Its X25519 public key.
    pub(super) fn exchange(&self) -> [u8; 32] {
        self.session.peer_static()
    }

    /// Its next request; `None` when it has no more.
    pub(super) async fn request(&mut self) -> io::Result<Option<Request>> {
        timeout(EXCHANGE, receive(&mut self.stream, &mut self.session)).await?
    }

    /// Answers it.
    pub(super) async fn respond(&mut self, response: &Response) -> io::Result<()> {
        timeout(EXCHANGE, send(&mut self.stream, &mut self.session, response)).await?
    }
}

async fn shake(
    stream: &mut TcpStream,
    handshake: &mut Handshake,
    mut my_turn: bool,
) -> io::Result<()> {
    while !handshake.is_finished() {
        if my_turn {
            stream.write_all(&handshake.write().map_err(broken)?).await?;
        } else {
            let mut message = vec![0; handshake.awaits()];
            stream.read_exact(&mut message).await?;
            handshake.read(&message).map_err(broken)?;
        }
        my_turn = !my_turn;
    }
    Ok(())
}

async fn send<T: Serialize>(
    stream: &mut TcpStream,
    session: &mut Session,
    message: &T,
) -> io::Result<()> {
    let bytes = postcard::to_allocvec(message).map_err(broken)?;
    stream.write_all(&session.seal(&bytes).map_err(broken)?).await
}

async fn receive<T: DeserializeOwned>(
    stream: &mut TcpStream,
    session: &mut Session,
) -> io::Result<Option<T>> {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        let mut input = &buffer[..read];
        if let Some(message) = session.open(&mut input).map_err(broken)? {
            return match postcard::take_from_bytes(&message) {
                // One message at a time: nothing may follow it unasked.
                Ok((message, [])) if input.is_empty() => Ok(Some(message)),
                _ => Err(ErrorKind::InvalidData.into()),
            };
        }
    }
}

fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

fn broken(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_string())
}
