//! What is particular to services, as users write and read it.

use std::time::Duration;

use clap::ValueEnum;

use crate::api;

/// For how long a client keeps its endpoint if no number is given, in seconds.
const AFFINITY: u32 = 10_800;

/// What a service's name stands for.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum EndpointMode {
    #[default]
    Vip,
    Dnsrr,
}

impl From<EndpointMode> for api::EndpointMode {
    fn from(mode: EndpointMode) -> api::EndpointMode {
        match mode {
            EndpointMode::Vip => api::EndpointMode::Vip,
            EndpointMode::Dnsrr => api::EndpointMode::Dnsrr,
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Scheduler {
    #[default]
    Rr,
    Maglev,
    LeastConn,
}

impl From<Scheduler> for api::Scheduler {
    fn from(scheduler: Scheduler) -> api::Scheduler {
        match scheduler {
            Scheduler::Rr => api::Scheduler::Rr,
            Scheduler::Maglev => api::Scheduler::Maglev,
            Scheduler::LeastConn => api::Scheduler::LeastConn,
        }
    }
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affinity(pub(super) u32);

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HealthCheck(pub(super) api::Health);

/// A new value, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<T>(pub(super) Option<T>);

/// Reads `none` too.
pub(super) fn off<T: Clone + Send + Sync + 'static>(
    read: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Change<T>, String> + Clone + Send + Sync + 'static {
    move |text| if text == "none" { Ok(Change(None)) } else { read(text).map(Some).map(Change) }
}

/// `client-ip` or `client-ip:600`.
pub(super) fn affinity(text: &str) -> Result<Affinity, String> {
    let (what, seconds) = match text.split_once(':') {
        Some((what, seconds)) => (what, seconds.parse().ok().filter(|n| (1..=86_400).contains(n))),
        None => (text, Some(AFFINITY)),
    };
    match seconds {
        Some(seconds) if what == "client-ip" => Ok(Affinity(seconds)),
        _ => Err("not an affinity: write client-ip, or client-ip:SECONDS with 1 to 86400".into()),
    }
}

/// `tcp:80` or `http:80/path`, and `interval=5s`, `timeout=2s`, `retries=3` behind commas.
pub(super) fn health(text: &str) -> Result<HealthCheck, String> {
    let mut parts = text.split(',');
    let probe = parts
        .next()
        .and_then(probe)
        .ok_or("not a health check: write tcp:PORT or http:PORT/PATH, then options after commas")?;
    let mut health = api::Health {
        probe,
        interval_ms: api::interval(),
        timeout_ms: api::timeout(),
        retries: api::retries(),
    };
    for part in parts {
        let value = match part.split_once('=') {
            Some(("interval", value)) => milliseconds(value).map(|ms| health.interval_ms = ms),
            Some(("timeout", value)) => milliseconds(value).map(|ms| health.timeout_ms = ms),
            Some(("retries", value)) => value.parse().ok().map(|n| health.retries = n),
            _ => None,
        };
        value.ok_or_else(|| {
            format!("{part:?} is no option of a health check: write interval=5s, timeout=500ms or retries=3")
        })?;
    }
    Ok(HealthCheck(health))
}

fn probe(text: &str) -> Option<api::Probe> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "tcp" => Some(api::Probe::Tcp(number(rest)?)),
        "http" => {
            let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let path = if path.is_empty() { "/" } else { path };
            Some(api::Probe::Http { port: number(port)?, path: path.to_owned() })
        }
        _ => None,
    }
}

fn milliseconds(text: &str) -> Option<u32> {
    u32::try_from(humantime::parse_duration(text).ok()?.as_millis()).ok()
}

/// A port.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// `8080:80/tcp`, `80/udp` or `80`.
pub(super) fn ports(text: &str) -> Result<api::Published, String> {
    let read = || {
        let (published, target) = match text.split_once(':') {
            Some((published, target)) => (Some(number(published)?), target),
            None => (None, text),
        };
        let api::Target { target, protocol } = port(target).ok()?;
        Some(api::Published { published, target, protocol })
    };
    read().ok_or_else(|| {
        "not a port to publish: write TARGET or PUBLISHED:TARGET, from 1 to 65535, and /udp or /sctp if it is not tcp".into()
    })
}

/// `80` or `80/udp`.
pub(super) fn port(text: &str) -> Result<api::Target, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Some(api::Protocol::Tcp),
        "udp" => Some(api::Protocol::Udp),
        "sctp" => Some(api::Protocol::Sctp),
        _ => None,
    };
    match (number(port), protocol) {
        (Some(target), Some(protocol)) => Ok(api::Target { target, protocol }),
        _ => {
            Err("not a port: write one from 1 to 65535, and /udp or /sctp if it is not tcp".into())
        }
    }
}

/// The mode's name.
pub(super) fn mode(mode: api::EndpointMode) -> &'static str {
    match mode {
        api::EndpointMode::Vip => "vip",
        api::EndpointMode::Dnsrr => "dnsrr",
    }
}

/// The scheduler's name.
pub(super) fn scheduler(scheduler: api::Scheduler) -> &'static str {
    match scheduler {
        api::Scheduler::Rr => "rr",
        api::Scheduler::Maglev => "maglev",
        api::Scheduler::LeastConn => "least-conn",
    }
}

/// As Docker shows ports: `*:8080->80/tcp`.
pub(super) fn published(port: &api::Published) -> String {
    let protocol = match port.protocol {
        api::Protocol::Tcp => "tcp",
        api::Protocol::Udp => "udp",
        api::Protocol::Sctp => "sctp",
    };
    let before = port.published.map(|p| format!("*:{p}->")).unwrap_or_default();
    format!("{before}{}/{protocol}", port.target)
}

/// As [`health`] reads it.
pub(super) fn health_check(health: &api::Health) -> String {
    let probe = match &health.probe {
        api::Probe::Tcp(port) => format!("tcp:{port}"),
        api::Probe::Http { port, path } => format!("http:{port}{path}"),
    };
    let time = |ms: u32| humantime::format_duration(Duration::from_millis(ms.into())).to_string();
    format!(
        "{probe},interval={},timeout={},retries={}",
        time(health.interval_ms).replace(' ', ""),
        time(health.timeout_ms).replace(' ', ""),
        health.retries
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_are_read_as_they_are_shown() {
        for text in [
            "tcp:80,interval=5s,timeout=2s,retries=3",
            "http:8080/ready?deep=1,interval=1m30s,timeout=500ms,retries=1",
            "http:80/,interval=1s,timeout=2s,retries=3",
        ] {
            assert_eq!(health_check(&health(text).unwrap().0), text);
        }
        let short = health("http:80").unwrap().0;
        assert_eq!(health_check(&short), "http:80/,interval=5s,timeout=2s,retries=3");
        for bad in
            ["", "80", "tcp:", "tcp:0", "tcp:65536", "icmp:1", "http:/x", "tcp:80,", "tcp:80,x=1"]
        {
            assert!(health(bad).is_err(), "{bad}");
        }
        assert!(health("tcp:80,interval=5").unwrap_err().contains("interval=5s"));
    }

    #[test]
    fn affinities_have_a_length() {
        assert_eq!(affinity("client-ip"), Ok(Affinity(10_800)));
        assert_eq!(affinity("client-ip:5"), Ok(Affinity(5)));
        for bad in ["", "client-ip:", "client-ip:0", "client-ip:86401", "cookie", "none"] {
            assert!(affinity(bad).unwrap_err().contains("client-ip"), "{bad}");
        }
        assert_eq!(off(affinity)("none"), Ok(Change(None)));
        assert_eq!(off(affinity)("client-ip"), Ok(Change(Some(Affinity(10_800)))));
    }

    #[test]
    fn ports_are_dockers() {
        let shown = |text| published(&ports(text).unwrap());
        assert_eq!(shown("8080:80"), "*:8080->80/tcp");
        assert_eq!(shown("53/udp"), "53/udp");
        assert_eq!(shown("1:2/sctp"), "*:1->2/sctp");
        for bad in ["", ":", "0", "0:80", "80:0", "80:", "1:2:3", "80/icmp", "80/", "65536", "a"] {
            assert!(ports(bad).unwrap_err().contains("1 to 65535"), "{bad}");
        }
    }
}
