//! The API of [`crate::api`] on its unix socket.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use nix::sys::stat::{Mode, fchmod};
use serde::Deserialize;
use tokio::net::UnixListener;

use super::error::{Error, blocking, failed};
use super::extract::{BODY_LIMIT, Failure, Json, Params, Path};
use super::state::Control;
use crate::api;

/// For root and the socket's group.
const MODE: u32 = 0o660;

/// The socket, bound; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket with mode 0660, in the place of one that nobody listens
    /// at any more. To be called on the runtime.
    pub fn bind(path: &FsPath) -> Result<Socket, Error> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)
                .map_err(failed(format!("cannot make the socket's directory {}", dir.display())))?;
        }
        match UnixStream::connect(path) {
            Ok(_) => {
                return Err(Error::conflict(format!(
                    "a daemon is listening at {} already: stop it, or give another --socket",
                    path.display()
                )));
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
                fs::remove_file(path)
                    .map_err(failed(format!("cannot replace the socket {}", path.display())))?;
            }
            // Whatever else is there, binding will say it.
            Err(_) => {}
        }
        let listener = listen(path).map_err(failed(format!(
            "cannot listen at {}; give another --socket",
            path.display()
        )))?;
        Ok(Socket { listener: Some(listener), path: path.to_owned() })
    }

    /// Serves until `end` is ready, then lets requests that are under way finish.
    pub async fn serve(
        mut self,
        control: Arc<Control>,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let served = axum::serve(listener, router(control)).with_graceful_shutdown(end).await;
        served.map_err(failed("cannot serve the API"))
    }
}

/// The mode is set on the socket before it has a name, so that the file is
/// never open to more than its group, and again to make up for the umask.
fn listen(path: &FsPath) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    fchmod(&socket, Mode::from_bits_truncate(MODE))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

fn is_socket(path: &FsPath) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

type Shared = State<Arc<Control>>;

/// All paths of [`crate::api`].
pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/networks", get(networks).post(create_network))
        .route("/v1/networks/prune", post(prune))
        .route("/v1/networks/{network}", get(network).delete(remove_network))
        .route("/v1/networks/{network}/verify", post(verify))
        .route("/v1/networks/{network}/vteps", get(vteps))
        .route("/v1/networks/{network}/vteps/{ip}", put(add_vtep).delete(remove_vtep))
        .route("/v1/endpoints", get(endpoints).post(attach))
        .route("/v1/endpoints/{endpoint}", get(endpoint).delete(detach))
        .route("/v1/services", get(services).post(create_service))
        .route("/v1/services/{service}", get(service).delete(remove_service))
        .route("/v1/services/{service}/update", post(update_service))
        .route("/v1/cluster", get(cluster))
        .route("/v1/cluster/init", post(cluster_init))
        .route("/v1/cluster/token", get(cluster_token))
        .route("/v1/cluster/token/rotate", post(rotate_token))
        .route("/v1/cluster/key/rotate", post(rotate_key))
        .route("/v1/cluster/join", post(join))
        .route("/v1/cluster/leave", post(leave))
        .route("/v1/nodes", get(nodes))
        .route("/v1/nodes/{node}", get(node).delete(remove_node))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(control)
}

async fn status(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || Ok(control.status())).await
}

async fn networks(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || Ok(control.networks())).await
}

async fn create_network(
    State(control): Shared,
    Json(request): Json<api::NetworkCreate>,
) -> Result<Response, Failure> {
    answer(StatusCode::CREATED, move || control.create_network(request)).await
}

async fn prune(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.prune()).await
}

async fn network(State(control): Shared, Path(network): Path<String>) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.network(&network)).await
}

async fn remove_network(
    State(control): Shared,
    Path(network): Path<String>,
) -> Result<StatusCode, Failure> {
    done(move || control.remove_network(&network)).await
}

async fn verify(
    State(control): Shared,
    Path(network): Path<String>,
    Json(request): Json<api::Verify>,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.verify(&network, request.node.as_deref())).await
}

async fn vteps(State(control): Shared, Path(network): Path<String>) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.vteps(&network)).await
}

async fn add_vtep(
    State(control): Shared,
    Path((network, ip)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let ip = address(&ip)?;
    done(move || control.add_vtep(&network, ip)).await
}

async fn remove_vtep(
    State(control): Shared,
    Path((network, ip)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let ip = address(&ip)?;
    done(move || control.remove_vtep(&network, ip)).await
}

/// What [`endpoints`] may be limited to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    network: Option<String>,
}

async fn endpoints(
    State(control): Shared,
    Params(filter): Params<Filter>,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.endpoints(filter.network.as_deref())).await
}

async fn attach(
    State(control): Shared,
    Json(request): Json<api::Attach>,
) -> Result<Response, Failure> {
    answer(StatusCode::CREATED, move || control.attach(request)).await
}

async fn endpoint(
    State(control): Shared,
    Path(endpoint): Path<String>,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.endpoint(&endpoint)).await
}

/// For how many seconds a detach may wait.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    drain: Option<u32>,
}

async fn detach(
    State(control): Shared,
    Path(endpoint): Path<String>,
    Params(Drain { drain }): Params<Drain>,
) -> Result<StatusCode, Failure> {
    // On its own: it goes on when the client does not wait for its end.
    let detached = tokio::spawn(control.detach(endpoint, drain)).await;
    detached.map_err(|e| Error::Failed(format!("the request was not carried out: {e}")))??;
    Ok(StatusCode::NO_CONTENT)
}

async fn services(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || Ok(control.services())).await
}

async fn create_service(
    State(control): Shared,
    Json(request): Json<api::ServiceCreate>,
) -> Result<Response, Failure> {
    answer(StatusCode::CREATED, move || control.create_service(&request)).await
}

async fn service(State(control): Shared, Path(service): Path<String>) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.service(&service)).await
}

async fn update_service(
    State(control): Shared,
    Path(service): Path<String>,
    Json(request): Json<api::ServiceUpdate>,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.update_service(&service, &request)).await
}

async fn remove_service(
    State(control): Shared,
    Path(service): Path<String>,
) -> Result<StatusCode, Failure> {
    done(move || control.remove_service(&service)).await
}

async fn cluster(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.cluster()).await
}

async fn cluster_init(
    State(control): Shared,
    Json(request): Json<api::ClusterInit>,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.cluster_init(request)).await
}

async fn cluster_token(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.cluster_token(false)).await
}

async fn rotate_token(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.cluster_token(true)).await
}

async fn rotate_key(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.cluster_rotate_key()).await
}

async fn join(
    State(control): Shared,
    Json(request): Json<api::ClusterJoin>,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.cluster_join(request)).await
}

async fn leave(
    State(control): Shared,
    Json(request): Json<api::ClusterLeave>,
) -> Result<StatusCode, Failure> {
    done(move || control.cluster_leave(&request)).await
}

async fn nodes(State(control): Shared) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.nodes()).await
}

async fn node(State(control): Shared, Path(node): Path<String>) -> Result<Response, Failure> {
    answer(StatusCode::OK, move || control.node(&node)).await
}

async fn remove_node(
    State(control): Shared,
    Path(nodes): Path<String>,
) -> Result<StatusCode, Failure> {
    done(move || control.remove_nodes(&nodes)).await
}

async fn unknown_path(uri: Uri) -> Failure {
    let message = format!("there is nothing at {}: see GET /v1/status", uri.path());
    Failure(StatusCode::NOT_FOUND, message)
}

async fn unknown_method(method: Method, uri: Uri) -> Failure {
    let message = format!("{} does not take {method}: try GET", uri.path());
    Failure(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn address(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| {
        Error::invalid(format!("{text:?} is no address: give a VTEP's, such as 192.0.2.7"))
    })
}

async fn answer<T: serde::Serialize + Send + 'static>(
    status: StatusCode,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<Response, Failure> {
    Ok((status, Json(blocking(work).await?)).into_response())
}

async fn done(
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<StatusCode, Failure> {
    blocking(work).await?;
    Ok(StatusCode::NO_CONTENT)
}
