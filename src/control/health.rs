//! Backends of this host are tested where they are: from a socket in their own
//! network namespace, at their own address. When, and what follows, is decided in
//! [`crate::core::health`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::error::{Error, failed};
use super::netns::{self, Identity};
use super::state::{Control, State};
use crate::api::Sandbox;
use crate::core::balance::Standing;
use crate::core::health::{Attempt, Tests};
use crate::core::tables::{Backing, Endpoint, Health, Holder, Id, Probe};

/// How long there is nothing to do where nothing is tested.
const NEVER: Duration = Duration::from_secs(1 << 20);

/// Where a backend is, to be tested there.
#[derive(Clone, Debug)]
struct Place {
    sandbox: Sandbox,
    identity: Identity,
    ip: IpAddr,
}

/// Tests backends until the runtime ends.
pub(super) async fn run(control: Arc<Control>) {
    let mut tests = Tests::default();
    let mut running = FuturesUnordered::new();
    control.forget_drains();
    loop {
        for attempt in tests.start(control.now()) {
            let control = control.clone();
            running.push(async move {
                let well = test(&control, &attempt).await.is_ok();
                (attempt, well)
            });
        }
        let due = tests.due().map_or(NEVER, |due| due.saturating_sub(control.now()));
        tokio::select! {
            Some((attempt, well)) = running.next() => {
                if let Some(standing) = tests.heard(&attempt, well) {
                    control.set_standing(&attempt.backend, standing);
                }
            }
            () = sleep(due) => {}
            () = control.backends_changed.notified() => {
                control.free_untested();
                tests.follow(control.now(), control.tested());
            }
        }
    }
}

impl Control {
    /// The backends of this host that are tested.
    fn tested(&self) -> Vec<(Id, Health, Standing)> {
        let state = self.lock();
        let of = |(e, b): (&Endpoint, &Backing)| {
            Some((e.id.clone(), health_of(&state, e, b)?.clone(), b.standing))
        };
        backends_here(&state).filter_map(of).collect()
    }

    /// Backends that wait for a test which is no more are as good as attached.
    fn free_untested(&self) {
        let free: Vec<Id> = {
            let state = self.lock();
            let waits =
                |b: &Backing| matches!(b.standing, Standing::Starting | Standing::Unhealthy);
            let untested = |e: &Endpoint, b: &Backing| health_of(&state, e, b).is_none();
            let free = backends_here(&state).filter(|(e, b)| waits(b) && untested(e, b));
            free.map(|(e, _)| e.id.clone()).collect()
        };
        for id in free {
            self.set_standing(&id, Standing::Ready);
        }
    }

    /// Lets all hosts know how a backend of this one stands.
    pub(super) fn set_standing(&self, id: &Id, standing: Standing) {
        let state = self.lock();
        let known = state.tables.get_endpoint(id).and_then(|e| e.service.as_ref());
        // Nothing brings back what is about to go.
        if known.is_some_and(|backing| backing.standing != Standing::Draining) {
            self.stand(state, id, standing);
        }
    }

    /// After a start: whoever wanted these to go must say so again.
    fn forget_drains(&self) {
        let drains = |b: &Backing| b.standing == Standing::Draining;
        let draining: Vec<Id> = backends_here(&self.lock())
            .filter(|(_, b)| drains(b))
            .map(|(e, _)| e.id.clone())
            .collect();
        for id in draining {
            self.stand(self.lock(), &id, Standing::Starting);
        }
    }

    fn stand(&self, mut state: MutexGuard<'_, State>, id: &Id, standing: Standing) {
        let Some(mut endpoint) = state.tables.get_endpoint(id).cloned() else { return };
        let Some(backing) = &mut endpoint.service else { return };
        if endpoint.holder != Holder::Here {
            return;
        }
        let service = state.tables.get_service(&backing.service).map(|s| s.name.clone());
        tracing::info!(
            endpoint = endpoint.name,
            service = service.unwrap_or_default(),
            "{:?}, was {:?}",
            standing,
            backing.standing
        );
        backing.standing = standing;
        state.tables.put_endpoint(endpoint.clone());
        self.tell(&mut state, &endpoint);
        // What could not be stored is tried again every second.
        let _ = self.settle_cluster(&mut state);
        self.publish(&mut state);
    }

    fn place_of(&self, id: &Id) -> Option<Place> {
        let state = self.lock();
        let attachment = state.attachments.get(id)?;
        let ip = *state.tables.get_endpoint(id)?.addresses.first()?;
        Some(Place { sandbox: attachment.sandbox.clone(), identity: attachment.identity, ip })
    }
}

/// How a backend of this host is tested. A virtual machine is not: it has no namespace
/// here to be tested from.
fn health_of<'a>(state: &'a State, endpoint: &Endpoint, backing: &Backing) -> Option<&'a Health> {
    let attachment = state.attachments.get(&endpoint.id)?;
    let machine = matches!(attachment.sandbox, Sandbox::Tap(_));
    state.tables.get_service(&backing.service)?.health.as_ref().filter(|_| !machine)
}

/// Backends whose interface is here.
fn backends_here(state: &State) -> impl Iterator<Item = (&Endpoint, &Backing)> {
    let bound = |e: &&Endpoint| e.holder == Holder::Here && state.tables.port(&e.id).is_some();
    state.tables.endpoints().filter(bound).filter_map(|e| Some((e, e.service.as_ref()?)))
}

/// Whether a backend is well; the error says in what it is not.
async fn test(control: &Control, attempt: &Attempt<Id>) -> Result<(), Error> {
    let Some(place) = control.place_of(&attempt.backend) else {
        return Err(Error::Failed("it is gone".to_owned()));
    };
    let (Probe::Tcp(port) | Probe::Http(port, _)) = &attempt.probe;
    let at = SocketAddr::new(place.ip, *port);
    let socket = tokio::task::spawn_blocking(move || socket_in(&place))
        .await
        .map_err(failed("the test was not made"))??;
    let tried = async {
        let stream = socket.connect(at).await?;
        match &attempt.probe {
            Probe::Tcp(_) => Ok(()),
            Probe::Http(_, path) => get(stream, at, path).await,
        }
    };
    match timeout(attempt.timeout, tried).await {
        Ok(result) => result.map_err(failed("it does not answer")),
        Err(_) => Err(Error::Failed("it did not answer in time".to_owned())),
    }
}

/// An unconnected socket in the backend's namespace.
fn socket_in(place: &Place) -> Result<TcpSocket, Error> {
    let Some(namespace) = netns::find(&place.sandbox, place.identity) else {
        return Err(Error::Failed("its sandbox is gone".to_owned()));
    };
    let made = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address((place.ip, 0).into()), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let socket = namespace.run(|| made().map_err(failed("cannot open a socket")))?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Asks for a path; a status from 200 to 399 is well.
async fn get(stream: TcpStream, at: SocketAddr, path: &str) -> io::Result<()> {
    let request = Request::get(path)
        .header(header::HOST, at.to_string())
        .header(header::USER_AGENT, concat!("vxmesh/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(io::Error::other(format!("it answers {status}")))
        }
    };
    // The connection only moves bytes while it is polled; what goes wrong with it is
    // what `answer` reports.
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ = &mut connection => answer.await,
    }
}
