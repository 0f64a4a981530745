//! The control port: moves datagrams and connections between the sockets and
//! the machine.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::stream::{self, Caller, Visitor};
use crate::control::error::{Error, failed};
use crate::control::state::Control;
use crate::core::cluster::entry::NodeId;
use crate::core::cluster::machine::Output;
use crate::core::cluster::rpc::{Request, Response};
use crate::dataplane;

/// Members and newcomers that are served side by side; more are closed at once.
const CALLERS: usize = 128;
/// Connections that have yet to show whose they are. The oldest makes room for
/// the latest, so that strangers who only hold theirs keep nobody out.
const UNKNOWN: usize = 128;
/// Datagrams taken in a row before anything else has its turn.
const BATCH: usize = 64;
/// The longest datagram that is read; ours are far shorter.
const DATAGRAM: usize = 1 << 16;
/// How often what others wrote is brought to the disk.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The sockets of the control port.
#[derive(Debug)]
pub(in crate::control) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds both. To be called on the runtime.
    pub(in crate::control) fn bind(at: SocketAddr) -> Result<Sockets, Error> {
        let taken = || {
            failed(format!(
                "cannot hear control traffic at {at}; end the other daemon, or give another --gossip-port"
            ))
        };
        let bind = || {
            let udp = std::net::UdpSocket::bind(at)?;
            udp.set_nonblocking(true)?;
            dataplane::never_fragment(&socket2::SockRef::from(&udp), at.ip())?;
            let tcp = std::net::TcpListener::bind(at)?;
            tcp.set_nonblocking(true)?;
            Ok::<_, io::Error>((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
        };
        let (udp, tcp) = bind().map_err(taken())?;
        Ok(Sockets { udp, tcp })
    }
}

/// Wakes the driver after the machine was used elsewhere.
pub(in crate::control) type Wake = Arc<Notify>;

/// Runs until the runtime ends.
pub(in crate::control) async fn run(control: Arc<Control>, sockets: Sockets) {
    let Sockets { udp, tcp } = sockets;
    let udp = Arc::new(udp);
    let mut door = Door::default();
    let mut save = tokio::time::interval(SAVE_INTERVAL);
    let mut buffer = vec![0; DATAGRAM];
    let wake = control.wake.clone();
    loop {
        let due = dispatch(&control, &udp);
        tokio::select! {
            ready = udp.readable() => {
                if ready.is_ok() {
                    receive(&control, &udp, &mut buffer);
                }
            }
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => door.meet(&control, stream),
                // No descriptors left, most likely: let some be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            () = tokio::time::sleep(due) => control.with_machine(|machine, now| machine.tick(now)),
            _ = save.tick() => {
                let control = control.clone();
                tokio::task::spawn_blocking(move || control.save());
            }
            () = wake.notified() => {}
        }
    }
}

/// Does what the machine wants done; how long it can wait until its next timer.
fn dispatch(control: &Arc<Control>, udp: &UdpSocket) -> Duration {
    let (outputs, mute, due) = control.outputs();
    for output in outputs {
        match output {
            // What cannot be sent now is lost like any datagram.
            Output::Datagram { to, bytes } => {
                let _ = udp.try_send_to(&bytes, to);
            }
            // It may tell what this host could not store when it wanted to ask.
            Output::Call { id, request, .. } if mute && request != Request::Ping => {
                control.with_machine(|machine, now| machine.answered(now, id, None));
                control.wake.notify_one();
            }
            Output::Call { id, exchange, at, request, .. } => {
                let control = control.clone();
                tokio::spawn(async move {
                    let response = control.ask(&exchange, at, &request).await.ok();
                    control.with_machine(|machine, now| machine.answered(now, id, response));
                    control.wake.notify_one();
                });
            }
            Output::Removal(result) => control.removal_ended(result),
            Output::Visible => control.show_nodes(),
            Output::PathMtu { vtep, mtu } => control.path_found(vtep, mtu),
        }
    }
    due
}

fn receive(control: &Control, udp: &UdpSocket, buffer: &mut [u8]) {
    for _ in 0..BATCH {
        let Ok((len, _)) = udp.try_recv_from(buffer) else { return };
        control.with_machine(|machine, now| machine.datagram(now, &mut buffer[..len]));
    }
}

/// Where callers show who they are.
struct Door {
    unknown: VecDeque<AbortHandle>,
    callers: Arc<Semaphore>,
}

impl Default for Door {
    fn default() -> Door {
        Door { unknown: VecDeque::new(), callers: Arc::new(Semaphore::new(CALLERS)) }
    }
}

impl Door {
    fn meet(&mut self, control: &Arc<Control>, stream: TcpStream) {
        self.unknown.retain(|task| !task.is_finished());
        if self.unknown.len() >= UNKNOWN
            && let Some(oldest) = self.unknown.pop_front()
        {
            oldest.abort();
            control.count_refused_connection();
        }
        let (control, callers) = (control.clone(), self.callers.clone());
        let meeting = tokio::spawn(async move {
            // Strangers go away without a word; members ask again.
            let welcome = match welcome(&control, stream).await {
                Ok(Visitor::Caller(caller)) => callers.try_acquire_owned().is_ok_and(|permit| {
                    // On its own: whom we know makes room for nobody.
                    tokio::spawn(serve(control.clone(), caller, permit));
                    true
                }),
                Ok(Visitor::Unknown { exchange, chain, stream }) => {
                    let known = control.introduced(&exchange, chain);
                    control.wake.notify_one();
                    drop(stream);
                    known
                }
                Err(_) => false,
            };
            if !welcome {
                control.count_refused_connection();
            }
        });
        self.unknown.push_back(meeting.abort_handle());
    }
}

async fn welcome(control: &Control, stream: TcpStream) -> io::Result<Visitor> {
    let (tag, token) = control.credentials().ok_or(io::ErrorKind::NotConnected)?;
    let is_known = |key: &[u8; 32]| control.peer_by_exchange(key).is_some();
    Visitor::meet(stream, &control.identity(), tag, &token, is_known).await
}

async fn serve(control: Arc<Control>, mut caller: Caller, _permit: OwnedSemaphorePermit) {
    if converse(&control, &mut caller).await.is_err() {
        control.count_refused_connection();
    }
    control.wake.notify_one();
}

async fn converse(control: &Arc<Control>, caller: &mut Caller) -> io::Result<()> {
    let exchange = caller.exchange();
    while let Some(request) = caller.request().await? {
        let response = match caller.by_token {
            true => control.admit(exchange, request),
            false => match control.peer_by_exchange(&exchange) {
                Some(peer) => answer(control, peer, request).await,
                None => return Err(io::ErrorKind::PermissionDenied.into()),
            },
        };
        control.wake.notify_one();
        caller.respond(&response).await?;
        if matches!(response, Response::Removed(_)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    Ok(())
}

/// A member that leaves is answered when all have agreed.
async fn answer(control: &Arc<Control>, peer: NodeId, request: Request) -> Response {
    let (response, removal) = control.answer(peer, request);
    let (Some(removal), Response::Done) = (removal, &response) else { return response };
    control.wake.notify_one();
    match tokio::time::timeout(stream::AGREEMENT, removal).await {
        Ok(Ok(Ok(()))) => Response::Done,
        Ok(Ok(Err(why))) => Response::Refused(why),
        _ => Response::Refused("the members did not agree in time".to_owned()),
    }
}
