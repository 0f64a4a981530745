//! A blocking client of one daemon's API.

use std::path::PathBuf;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api;

/// The daemon behind a unix socket. One connection for each request.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// Nothing is connected yet.
    pub fn new(socket: PathBuf) -> Api {
        Api { socket }
    }

    /// Reads the object at `path`, such as `/v1/status`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(serde_json::from_slice(&self.call(Method::GET, path, Bytes::new())?)?)
    }

    /// Posts `body` to `path`, and reads the answer.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?.into();
        Ok(serde_json::from_slice(&self.call(Method::POST, path, body)?)?)
    }

    /// Deletes what is at `path`.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, Bytes::new()).map(drop)
    }

    fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::HOST, "vxmesh")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (status, body) = runtime
            .block_on(self.exchange(request))
            .with_context(|| format!("{method} {path} had no answer"))?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<api::Error>(&body) {
            Ok(error) => bail!("{}", error.message),
            Err(_) => bail!("{method} {path} was answered with {status}"),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Moves the bytes; what goes wrong with it, the sender reports.
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
