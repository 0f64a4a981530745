//! The daemon's life: start, restore, run, end.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use nix::sys::utsname::uname;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;
use zeroize::Zeroizing;

use super::cluster::driver::{self, Sockets};
use super::config::{Mode, Options};
use super::error::{Error, failed};
use super::flows::{self, Durable, Keeper};
use super::health;
use super::names;
use super::netlink::Netlink;
use super::netns::Namespace;
use super::seal::offer::Ability;
use super::server::Socket;
use super::state::{Control, Facts};
use super::store::{self, Store};
use super::underlay;
use crate::core::plan::Plan;
use crate::core::tables::{self, Tables};
use crate::dataplane::{self, Dataplane, Event};

/// How long requests under way may take after the signal to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether sandboxes are still there.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM or SIGINT. Endpoints and their interfaces
/// stay, so that the next start takes them up again.
pub fn run(options: Options) -> Result<(), Error> {
    abort_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        // Shorter than the sweep's interval, so that the sweep does not keep
        // alive in turn all threads that a burst of requests has started.
        .thread_keep_alive(SWEEP_INTERVAL / 2)
        .thread_name("control")
        .build()
        .map_err(failed("cannot start the runtime"))?;
    runtime.block_on(live(options))
}

/// A daemon that has lost an invariant ends, to be started again; it does not
/// limp on without one of its threads. Only the thread that opens the state may
/// panic, and says by its result that the file is damaged.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(store::OPENER) {
            return;
        }
        report(panic);
        std::process::abort();
    }));
}

async fn live(options: Options) -> Result<(), Error> {
    // Signals first: one that comes while we start must still end us cleanly.
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("cannot hear SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("cannot hear SIGINT"))?;
    let store = Store::open(&options.data_dir)?;
    // Bound before the rest is ready: clients wait in its queue meanwhile.
    let socket = Socket::bind(&options.socket)?;
    let (control, events) = start(options, store, Handle::current())?;
    let control = Arc::new(control);
    let sockets = Sockets::bind(control.myself().control)?;
    tokio::spawn(driver::run(control.clone(), sockets));
    tokio::spawn(watch(control.clone(), events));
    tokio::spawn(health::run(control.clone()));
    tokio::spawn(keep_flows(control.clone()));
    let questions = control.dataplane.questions();
    tokio::spawn(names::gateway::run(control.clone(), questions));

    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(socket.serve(control.clone(), async {
        // A dropped sender ends the server as well.
        let _ = end.await;
    }));
    ready(&control)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending; endpoints stay for the next start");
    notify("STOPPING=1");
    drop(ended);
    let served = match tokio::time::timeout(PATIENCE, serving).await {
        Ok(served) => served.map_err(failed("the API server broke off"))?,
        // A client that does not go away is not waited for.
        Err(_) => Ok(()),
    };
    // Last, so that little happens between this and the next start.
    let flows = control.dataplane.save_flows();
    let left = flows::leave(&control.options.data_dir, &flows, Durable::Yes);
    left.map_err(failed("cannot leave connections to services to the next start"))?;
    served
}

/// Everything up to the API: the underlay, the data plane, and the endpoints
/// that were there before. Blocks, which keeps nobody waiting yet.
pub(super) fn start(
    options: Options,
    store: Store,
    runtime: Handle,
) -> Result<(Control, Receiver<Event>), Error> {
    let ability = Ability::find(options.cipher)?;
    let own = Namespace::own()?;
    let underlay =
        own.run(|| underlay::discover(&Netlink::open()?, options.advertise.as_deref()))?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(failed("the system has no random bytes"))?;
    let seed = u64::from_ne_bytes(seed);
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(failed("the system has no random bytes"))?;
    let facts = tables::Underlay { vtep: underlay.vtep, mtu: underlay.mtu };
    let tables = Tables::new(seed, facts);
    let plan = Arc::new(ArcSwap::from_pointee(Plan::new(seed, underlay.vtep, [])));
    let config = dataplane::Config {
        vtep: underlay.vtep,
        port: options.data_port,
        no_udp_gso: match options.udp_gso {
            Mode::Auto => uname()
                .ok()
                .and_then(|kernel| dataplane::gso_distrust(&kernel.release().to_string_lossy())),
            Mode::Off => Some("switched off by --udp-gso off".to_owned()),
        },
        seed,
        offer: ability.offer(),
        generation: generation(),
        secret,
        flows: flows::take(&options.data_dir),
    };
    let (dataplane, events) =
        Dataplane::start(config, plan.clone()).map_err(|e| Error::Failed(e.to_string()))?;
    match dataplane.restored_flows() {
        (flows, false) => tracing::warn!(
            flows,
            "some connections to services begin anew: what the daemon before left of them cannot be read"
        ),
        (0, true) => {}
        (flows, true) => tracing::info!(flows, "connections to services go on"),
    }
    let facts = Facts { underlay, own, ability };
    let control = Control::new(options, facts, store, (dataplane, plan), tables, runtime)?;
    control.restore();
    Ok((control, events))
}

/// Rises from start to start, as far as the clock does: microseconds since 1970. A
/// clock that was set back costs other hosts one handshake of their own.
fn generation() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

async fn keep_flows(control: Arc<Control>) {
    let mut keeper = Keeper::default();
    let mut tick = tokio::time::interval(flows::INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let control = control.clone();
        let keep = move || {
            keeper.keep(&control);
            keeper
        };
        match tokio::task::spawn_blocking(keep).await {
            Ok(kept) => keeper = kept,
            Err(_) => return, // the daemon ends
        }
    }
}

async fn watch(control: Arc<Control>, mut events: Receiver<Event>) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listening = true;
    loop {
        let event = tokio::select! {
            _ = sweep.tick() => None,
            event = events.recv(), if listening => {
                listening = event.is_some();
                event
            }
        };
        let control = control.clone();
        let look = move || match event {
            Some(Event::PortGone(port)) => control.port_gone(port),
            None => control.sweep(),
        };
        if let Err(e) = tokio::task::spawn_blocking(look).await {
            tracing::error!("looking after sandboxes failed: {e}");
        }
    }
}

fn ready(control: &Control) -> Result<(), Error> {
    let status = control.status();
    let id = control.lock().cluster.machine.me().id();
    tracing::info!(
        node = status.name,
        id = id.short(),
        vtep = %status.underlay.vtep,
        port = status.underlay.port,
        mtu = status.underlay.mtu,
        ciphers = %control.ability,
        networks = status.networks,
        endpoints = status.endpoints,
        socket = %control.options.socket.display(),
        "ready"
    );
    notify("READY=1");
    Ok(())
}

/// Tells the service manager, where one asked to be told: sd_notify(3).
fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = address_of(&address)
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(e) = sent {
        tracing::warn!("cannot tell the service manager {state}: {e}");
    }
}

/// A leading `@` stands for the zero byte of an abstract address.
fn address_of(text: &std::ffi::OsStr) -> io::Result<SocketAddr> {
    match text.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(text),
    }
}
