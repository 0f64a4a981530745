//! How encrypted networks are told of: rows of `status` and `node`.

use std::time::Duration;

use super::output;
use crate::api;

type Rows = Vec<Vec<String>>;

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).into()
}

/// The ciphers that this host offers.
pub(super) fn ciphers(e: &api::Encrypted) -> Rows {
    let of = |c: &api::Cipher| row([&c.name, &format!("{} ns for a full packet", c.nanoseconds)]);
    e.ciphers.iter().map(of).collect()
}

/// Encrypted networks: what crossed the border, and whom they do not reach.
pub(super) fn networks(e: &api::Encrypted) -> Rows {
    let header =
        ["NETWORK", "SEALED", "OPENED", "CLEAR REFUSED", "CLEAR SENT", "CLEAR ACCEPTED", "STATE"];
    let of = |n: &api::EncryptedNetwork| {
        let counts = [n.sealed, n.opened, n.clear_refused, n.clear_sent, n.clear_accepted];
        let counts = counts.map(|n| n.to_string());
        [n.name.clone()].into_iter().chain(counts).chain([reach(n)]).collect()
    };
    table(row(header), e.networks.iter().map(of).collect())
}

fn reach(network: &api::EncryptedNetwork) -> String {
    let missing = |u: &api::Unreachable| format!("no traffic to {}: {}", u.node, u.reason);
    match &network.unreachable[..] {
        [] => "ok".to_owned(),
        missed => missed.iter().map(missing).collect::<Vec<_>>().join("; "),
    }
}

/// The sessions with other hosts.
pub(super) fn sessions(e: &api::Encrypted) -> Rows {
    let header = ["NODE", "CIPHER", "AGE", "HANDSHAKE", "SEALED", "OPENED", "DROPPED", "TROUBLE"];
    let of = |s: &api::Session| {
        vec![
            s.node.clone(),
            cipher(Some(s)),
            s.age.map_or("-".into(), time),
            s.handshake.map_or("-".into(), |seconds| format!("{} ago", time(seconds))),
            s.sealed.to_string(),
            s.opened.to_string(),
            drops(s),
            s.trouble.clone().unwrap_or_default(),
        ]
    };
    table(row(header), e.sessions.iter().map(of).collect())
}

/// The cipher; `-` where there is to be no session, `none` where there is trouble.
pub(super) fn cipher(session: Option<&api::Session>) -> String {
    let cipher = session.and_then(|s| s.cipher.as_deref());
    let wanted = session.is_some_and(|s| s.wanted);
    cipher.unwrap_or(if wanted { "none" } else { "-" }).to_owned()
}

/// A session on the lines of a node's summary.
pub(super) fn summary(session: Option<&api::Session>) -> Rows {
    let mut rows = vec![row(["SEAL", &cipher(session)])];
    let Some(s) = session else { return rows };
    if let (Some(age), Some(handshake)) = (s.age, s.handshake) {
        rows.push(row(["SEALED FOR", &time(age)]));
        let handshakes = format!("{}, the last {} ago", s.handshakes, time(handshake));
        rows.push(row(["HANDSHAKES", &handshakes]));
    }
    rows.push(row(["SEALED", &s.sealed.to_string()]));
    rows.push(row(["OPENED", &s.opened.to_string()]));
    rows.push(row(["DROPPED", &drops(s)]));
    rows.extend(s.trouble.as_ref().map(|trouble| row(["TROUBLE", trouble])));
    rows
}

fn drops(session: &api::Session) -> String {
    output::list(session.drops.iter().map(|(reason, n)| format!("{reason}={n}")))
}

/// Seconds for people.
fn time(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Nothing at all rather than a header alone.
fn table(header: Vec<String>, rows: Rows) -> Rows {
    if rows.is_empty() { rows } else { std::iter::once(header).chain(rows).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(cipher: Option<&str>, wanted: bool) -> api::Session {
        api::Session {
            node: "b".into(),
            wanted,
            cipher: cipher.map(str::to_owned),
            age: cipher.map(|_| 3723),
            handshake: cipher.map(|_| 59),
            handshakes: 32,
            sealed: 7,
            opened: 8,
            drops: [("replayed".to_owned(), 9), ("bad-seal".to_owned(), 1)].into(),
            trouble: None,
        }
    }

    #[test]
    fn the_cipher_says_whether_there_is_trouble() {
        let of = |session: &api::Session| cipher(Some(session));
        assert_eq!(of(&session(Some("AES-256-GCM"), true)), "AES-256-GCM");
        assert_eq!(of(&session(Some("AES-256-GCM"), false)), "AES-256-GCM", "it runs out");
        assert_eq!(of(&session(None, true)), "none");
        assert_eq!(of(&session(None, false)), "-");
        assert_eq!(cipher(None), "-");
    }

    #[test]
    fn nothing_makes_no_table() {
        let nothing = api::Encrypted::default();
        assert_eq!((networks(&nothing), sessions(&nothing)), (Rows::new(), Rows::new()));
        let e = api::Encrypted { sessions: vec![session(None, true)], ..nothing };
        assert_eq!(sessions(&e)[1], ["b", "none", "-", "-", "7", "8", "bad-seal=1,replayed=9", ""]);
    }

    #[test]
    fn every_host_that_is_not_reached_is_named() {
        let host = |n: &str| api::Unreachable { node: n.into(), reason: format!("{n} sleeps") };
        let network = |unreachable| api::EncryptedNetwork {
            name: "red".into(),
            id: String::new(),
            sealed: 0,
            opened: 0,
            clear_refused: 0,
            clear_sent: 0,
            clear_accepted: 0,
            unreachable,
        };
        assert_eq!(reach(&network(Vec::new())), "ok");
        assert_eq!(
            reach(&network(vec![host("b"), host("c")])),
            "no traffic to b: b sleeps; no traffic to c: c sleeps"
        );
    }
}
