//! The API from the other side: HTTP/1.1 over the daemon's unix socket, one
//! connection for each request, and errors as sentences.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api;

/// Longer than anything that the daemon does for one request, but a drain.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one daemon. Its calls block.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// A client of the daemon behind `socket`; nothing is connected yet.
    pub fn new(socket: PathBuf) -> anyhow::Result<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Client { socket, runtime })
    }

    /// Reads the object at `path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        decode(&self.call(Method::GET, path, Bytes::new())?)
    }

    /// Posts `body` to `path`, and reads the answer.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        decode(&self.call(Method::POST, path, serde_json::to_vec(body)?.into())?)
    }

    /// Posts nothing to `path`, and reads the answer.
    pub fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        decode(&self.call(Method::POST, path, Bytes::new())?)
    }

    /// Posts `body` to `path`, which answers with nothing but success.
    pub fn tell(&self, path: &str, body: &impl Serialize) -> anyhow::Result<()> {
        self.call(Method::POST, path, serde_json::to_vec(body)?.into()).map(drop)
    }

    /// Puts `path` there.
    pub fn put(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::PUT, path, Bytes::new()).map(drop)
    }

    /// Deletes what is at `path`.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, Bytes::new()).map(drop)
    }

    /// Deletes what is at `path`, which may take the daemon as long as `patience`, and
    /// a little longer.
    pub fn delete_in_time(&self, path: &str, patience: Duration) -> anyhow::Result<()> {
        self.call_for(patience + PATIENCE, Method::DELETE, path, Bytes::new()).map(drop)
    }

    /// The body of a successful answer; anything else is an error.
    fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        self.call_for(PATIENCE, method, path, body)
    }

    fn call_for(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let what = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "vxmesh")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(patience, self.exchange(request)).await.map_err(|_| {
                anyhow!(
                    "the daemon at {} did not answer within {} s: look at its log",
                    self.socket.display(),
                    patience.as_secs()
                )
            })?
        });
        let (status, body) = answer?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<api::Error>(&body) {
            Ok(error) => bail!("{}", error.message),
            Err(_) => bail!(
                "the daemon answers {what} with {status}: check that it has the same version as this program"
            ),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.unreachable(e))?;
        let lost = || {
            format!(
                "the daemon at {} broke off while it answered: look at its log",
                self.socket.display()
            )
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(lost)?;
        let receive = async {
            let response = sender.send_request(request).await.with_context(lost)?;
            let status = response.status();
            let body = response.into_body().collect().await.with_context(lost)?.to_bytes();
            Ok((status, body))
        };
        // The connection only moves bytes while it is polled; what goes wrong
        // with it is what `receive` reports.
        tokio::pin!(connection, receive);
        tokio::select! {
            biased;
            answer = &mut receive => answer,
            _ = &mut connection => receive.await,
        }
    }

    fn unreachable(&self, error: io::Error) -> anyhow::Error {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
                "the daemon does not answer at {socket}: start it with \"vxmesh daemon\" or name its socket with --socket"
            ),
            io::ErrorKind::PermissionDenied => anyhow!(
                "permission denied at {socket}: run this as root or as a member of the group that owns the socket"
            ),
            _ => anyhow!("no connection to the daemon at {socket}: {error}"),
        }
    }
}

/// `/v1/…` of the segments, whatever characters they are made of.
pub fn path(segments: &[&str]) -> String {
    segments.iter().fold("/v1".to_owned(), |path, segment| path + "/" + &encode(segment))
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out + char::from(byte).encode_utf8(&mut [0; 4])
        }
        _ => out + &format!("%{byte:02X}"),
    })
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context(
        "the daemon's answer makes no sense: check that it has the same version as this program",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(path(&["networks", "web"]), "/v1/networks/web");
        assert_eq!(path(&["networks", "a/b?c#d %ü"]), "/v1/networks/a%2Fb%3Fc%23d%20%25%C3%BC");
        assert_eq!(
            path(&["networks", "n", "vteps", "fd00::1"]),
            "/v1/networks/n/vteps/fd00%3A%3A1"
        );
    }

    #[test]
    fn says_where_no_daemon_is() {
        let client = Client::new("/nonexistent/vxmesh.sock".into()).unwrap();
        let error = client.get::<api::Status>(&path(&["status"])).unwrap_err().to_string();
        assert!(error.starts_with("the daemon does not answer at /nonexistent/vxmesh.sock: "));
    }
}
