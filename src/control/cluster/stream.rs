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

use crate::core::cluster::entry::Entry;
use crate::core::cluster::rpc::{Request, Response};
use crate::core::cluster::secret::identity::Identity;
use crate::core::cluster::secret::introduction::{self, MAX_INTRODUCTION};
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
    if matches!(request, Request::Introduction(_)) {
        return introduce(me, tag, exchange, at, request).await;
    }
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

/// Tells a member that may not know this host who it is. It says nothing to that; when
/// it hangs up, it has heard.
async fn introduce(
    me: &Identity,
    tag: Tag,
    exchange: &[u8; 32],
    at: SocketAddr,
    request: &Request,
) -> io::Result<Response> {
    let text = postcard::to_allocvec(request).map_err(broken)?;
    let message = introduction::seal(me, exchange, tag, &text, &seed()?).map_err(broken)?;
    timeout(HANDSHAKE, async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(&[&[Kind::Introduction as u8], &message[..]].concat()).await?;
        stream.shutdown().await?;
        match stream.read(&mut [0]).await? {
            0 => Ok(Response::Done),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    })
    .await?
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

/// Who has come to the control port.
#[derive(Debug)]
pub(super) enum Visitor {
    /// Somebody who will be answered.
    Caller(Caller),
    /// Somebody with an X25519 key who says who has admitted it; it has the connection
    /// to wait at until that was heard.
    Unknown {
        /// Its X25519 public key.
        exchange: [u8; 32],
        /// Of its own admission, of who admitted it, and so on.
        chain: Vec<Entry>,
        /// To be closed when that was heard.
        stream: TcpStream,
    },
}

impl Visitor {
    /// Meets who has come. `token` is what it must have who is no member, and
    /// `is_known` tells by its X25519 public key whether it is one, or was.
    pub(super) async fn meet(
        mut stream: TcpStream,
        me: &Identity,
        tag: Tag,
        token: &Token,
        is_known: impl Fn(&[u8; 32]) -> bool,
    ) -> io::Result<Visitor> {
        timeout(HANDSHAKE, async {
            stream.set_nodelay(true)?;
            let kind = opening(stream.read_u8().await?).ok_or(ErrorKind::InvalidData)?;
            let by_token = kind == Kind::Join;
            let mut handshake = match kind {
                Kind::Member => Handshake::respond_member(me, tag, &seed()?),
                Kind::Join => Handshake::respond_join(me, token, &seed()?),
                Kind::Introduction => {
                    let (exchange, chain) = hear_introduction(&mut stream, me, tag).await?;
                    return Ok(Visitor::Unknown { exchange, chain, stream });
                }
            };
            if !by_token {
                hear(&mut stream, &mut handshake).await?;
                // Anybody can make a key: a stranger's gets not a byte.
                if !handshake.peer_static().is_some_and(|key| is_known(&key)) {
                    return Err(ErrorKind::PermissionDenied.into());
                }
            }
            shake(&mut stream, &mut handshake, !by_token).await?;
            let session = handshake.into_session().map_err(broken)?;
            Ok(Visitor::Caller(Caller { stream, session, by_token }))
        })
        .await?
    }
}

/// A host that has shown who it is.
#[derive(Debug)]
pub(super) struct Caller {
    stream: TcpStream,
    session: Session,
    /// Whether it came by the token, or else as a member.
    pub(super) by_token: bool,
}

impl Caller {
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
            hear(stream, handshake).await?;
        }
        my_turn = !my_turn;
    }
    Ok(())
}

/// Reads who a host says it is, up to where it ends its side of the connection.
async fn hear_introduction(
    stream: &mut TcpStream,
    me: &Identity,
    tag: Tag,
) -> io::Result<([u8; 32], Vec<Entry>)> {
    let mut message = Vec::new();
    stream.take(MAX_INTRODUCTION as u64 + 1).read_to_end(&mut message).await?;
    let (exchange, text) = introduction::open(me, tag, &message).map_err(broken)?;
    match postcard::take_from_bytes(&text) {
        Ok((Request::Introduction(chain), [])) => Ok((exchange, chain)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

async fn hear(stream: &mut TcpStream, handshake: &mut Handshake) -> io::Result<()> {
    let mut message = vec![0; handshake.awaits()];
    stream.read_exact(&mut message).await?;
    handshake.read(&message).map_err(broken)
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::core::cluster::entry::{Key, Version};

    const TAG: Tag = Tag(*b"mesh1");

    fn identity(n: u8) -> Identity {
        Identity::from_seed(&[n; 32])
    }

    /// Host 2 meets one caller, of whom it asks one thing; host 1 is a member.
    async fn serve(listener: TcpListener) -> io::Result<Option<Request>> {
        let (stream, _) = listener.accept().await?;
        let is_known = |key: &[u8; 32]| *key == identity(1).exchange_public();
        let token = Token::new([7; 32], TAG);
        let met = Visitor::meet(stream, &identity(2), TAG, &token, is_known).await?;
        let Visitor::Caller(mut caller) = met else { panic!("{met:?}") };
        let request = caller.request().await?;
        caller.respond(&Response::Done).await?;
        Ok(request)
    }

    async fn listen() -> (SocketAddr, tokio::task::JoinHandle<io::Result<Option<Request>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (at, tokio::spawn(serve(listener)))
    }

    #[tokio::test]
    async fn a_member_is_answered() {
        let (at, served) = listen().await;
        let peer = identity(2).exchange_public();
        let answer = ask(&identity(1), TAG, &peer, at, &Request::Ping).await.unwrap();
        assert_eq!(answer, Response::Done);
        assert_eq!(served.await.unwrap().unwrap(), Some(Request::Ping));
    }

    #[tokio::test]
    async fn a_key_that_is_no_members_gets_not_a_byte() {
        let (at, served) = listen().await;
        let peer = identity(2).exchange_public();
        let mut handshake = Handshake::initiate_member(&identity(3), &peer, TAG, &[9; 32]);
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&[Kind::Member as u8]).await.unwrap();
        stream.write_all(&handshake.write().unwrap()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{answer:?}");
        assert_eq!(served.await.unwrap().unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    /// Who it is from and what it says is heard; nothing is said to it.
    #[tokio::test]
    async fn who_introduces_itself_is_heard_and_gets_not_a_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let key = Key::Member(identity(3).id());
        let said = vec![identity(3).sign_entry(key, Version(1), None)];
        let request = Request::Introduction(said.clone());
        let told = tokio::spawn(async move {
            let peer = identity(2).exchange_public();
            ask(&identity(3), TAG, &peer, at, &request).await
        });
        let (stream, _) = listener.accept().await.unwrap();
        let token = Token::new([7; 32], TAG);
        let met = Visitor::meet(stream, &identity(2), TAG, &token, |_| false).await.unwrap();
        let Visitor::Unknown { exchange, chain, stream } = met else { panic!("{met:?}") };
        assert_eq!((exchange, chain), (identity(3).exchange_public(), said));
        drop(stream);
        assert_eq!(told.await.unwrap().unwrap(), Response::Done);
    }

    #[tokio::test]
    async fn an_endless_introduction_is_not_read() {
        let (at, served) = listen().await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&[Kind::Introduction as u8]).await.unwrap();
        // Until it hangs up: its buffers and ours hold more than it reads.
        while stream.write_all(&[0; 4096]).await.is_ok() {}
        assert_eq!(served.await.unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn who_joins_must_have_the_token() {
        for (secret, admitted) in [([7; 32], true), ([8; 32], false)] {
            let (at, served) = listen().await;
            let token = Token::new(secret, TAG);
            let answer = join(&identity(3), &token, at, &Request::Ping).await;
            assert_eq!(answer.is_ok(), admitted);
            assert_eq!(served.await.unwrap().is_ok(), admitted);
        }
    }
}
