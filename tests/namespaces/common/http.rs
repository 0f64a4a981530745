//! The smallest HTTP client that can drive the API: one request a connection,
//! written by hand so that it shares no code with the program's own client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The sentence of an error.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// A connection that gives up rather than hang.
pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// A request with a JSON body, or none if `body` is null.
pub(crate) fn request(socket: &Path, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = connect(socket);
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: vxmesh\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    answer(stream).expect("an HTTP answer")
}

/// Reads an answer to the connection's end; `None` if it is not HTTP.
pub(crate) fn answer(mut stream: UnixStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A reset after the answer is the server's right: it need not read the rest.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}
