//! A stand-in for the daemon: one prepared answer for each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and target.
    pub(crate) line: String,
    /// The body as JSON; null if there was none.
    pub(crate) body: Value,
}

/// Listens on a socket of its own until the test ends.
pub(crate) struct FakeDaemon {
    directory: tempfile::TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeDaemon {
    /// Gives `answers` (status and body) in their order, then hangs up on everyone.
    pub(crate) fn start(answers: impl IntoIterator<Item = (u16, Value)>) -> FakeDaemon {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("vxmesh.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let daemon = FakeDaemon { directory, requests: requests.clone() };
        let answers: Vec<_> = answers.into_iter().collect();
        thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let request = read(&stream);
                if let Some(answer) = answers.next() {
                    requests.lock().unwrap().push(request);
                    write(&stream, answer);
                }
            }
        });
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("vxmesh.sock")
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &UnixStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        head.push(line);
    }
    let length = head
        .iter()
        .filter_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        })
        .next()
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = head[0].trim().trim_end_matches(" HTTP/1.1").to_owned();
    Request { line, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

fn write(mut stream: &UnixStream, (status, body): (u16, Value)) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length =
        if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    stream.write_all(format!("HTTP/1.1 {status} x\r\n{length}\r\n{body}").as_bytes()).unwrap();
}
