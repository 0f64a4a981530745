//! `vxmesh status`: how the daemon is.

use std::time::Duration;

use anstyle::Style;
use clap::Args;

use super::output::{self, Format, FormatArg};
use super::seal;
use crate::api;
use crate::client::{Client, path};

/// Show how the daemon is: its cluster, underlay, encryption, fast paths, traffic and drops
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh status
  vxmesh status --format json
  watch -n1 vxmesh status")]
pub(super) struct Status {
    #[command(flatten)]
    output: FormatArg,
}

impl Status {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        let status: api::Status = client.get(&path(&["status"]))?;
        match self.output.format {
            Format::Table => output::print(&page(&status)),
            Format::Json => output::json(&status),
        }
    }
}

type Rows = Vec<Vec<String>>;

/// All sections that have something to say.
fn page(s: &api::Status) -> String {
    let sections = [
        ("Node", node(s)),
        ("Cluster", cluster(&s.cluster)),
        ("Capacity", capacity(&s.cluster)),
        ("Refused", refused(&s.cluster)),
        ("Underlay", underlay(s)),
        ("Ciphers", seal::ciphers(&s.encrypted)),
        ("Encrypted networks", seal::networks(&s.encrypted)),
        ("Sessions", seal::sessions(&s.encrypted)),
        ("Fast paths", fast_paths(s)),
        ("Traffic", traffic(s)),
        ("Drops", drops(s)),
        ("Warnings", s.warnings.iter().map(|w| vec![w.clone()]).collect()),
    ];
    let bold = Style::new().bold();
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(title, rows)| format!("{bold}{title}{bold:#}\n{}", output::columns("  ", rows)))
        .collect();
    sections.join("\n")
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).into()
}

fn node(s: &api::Status) -> Rows {
    let up = humantime::format_duration(Duration::from_secs(s.uptime)).to_string();
    let endpoints = format!("{} here, {} on other hosts", s.endpoints, s.remote_endpoints);
    vec![
        row(["name", &s.name]),
        row(["version", &s.version]),
        row(["process", &s.pid.to_string()]),
        row(["up", &up]),
        row(["state in", &s.data_dir]),
        row(["networks", &s.networks.to_string()]),
        row(["services", &s.services.to_string()]),
        row(["endpoints", &endpoints]),
    ]
}

fn cluster(c: &api::ClusterState) -> Rows {
    let tables = match &c.differing[..] {
        [] => "the same on all hosts that were compared".to_owned(),
        hosts => format!("differ from those of {}", hosts.join(", ")),
    };
    vec![
        row(["id", &c.id]),
        row(["nodes", &format!("{} of {} up", c.up, c.nodes)]),
        row(["control", &c.control.to_string()]),
        row(["health", &health(c.health)]),
        row(["key", &c.key.to_string()]),
        row(["tables", &tables]),
    ]
}

/// A local-health score (Lifeguard) and what it means.
fn health(score: u8) -> String {
    let meaning = match score {
        0 => "keeps up",
        1..=3 => "is late at times, and gives others more time",
        _ => "struggles: look at this host's load and at its network",
    };
    format!("{score} ({meaning})")
}

/// How many nodes a space is shown to be shared by.
const SHARES: usize = 4;

/// A table; the largest shares first, all of them in the JSON only.
fn capacity(c: &api::ClusterState) -> Rows {
    if c.capacity.is_empty() {
        return Vec::new();
    }
    let of = |space: &api::Capacity| {
        row([&space.space, &number(space.total), &number(space.used), &shares(&space.shares)])
    };
    let header = row(["SPACE", "TOTAL", "USED", "SHARES"]);
    std::iter::once(header).chain(c.capacity.iter().map(of)).collect()
}

fn shares(shares: &[api::Share]) -> String {
    let mut shares: Vec<&api::Share> = shares.iter().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.owned));
    let shown = shares.iter().take(SHARES).map(|share| {
        format!("{} {} ({} free)", share.node, number(share.owned), number(share.free))
    });
    let more = shares.len().saturating_sub(SHARES);
    let more = (more > 0).then(|| format!("{more} more"));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

/// A count; of those that IPv6 brings, two digits are enough.
fn number(n: u64) -> String {
    if n < 10_000_000_000 { n.to_string() } else { format!("{:.1e}", n as f64) }
}

/// What others sent and was not taken, by who handed it on.
fn refused(c: &api::ClusterState) -> Rows {
    let from = |node: &str| if node.is_empty() { "strangers".into() } else { node.to_owned() };
    let of = |r: &api::Refused| row([&from(&r.node), &r.reason, &r.count.to_string()]);
    c.refused.iter().map(of).collect()
}

fn underlay(s: &api::Status) -> Rows {
    let u = &s.underlay;
    vec![
        row(["VTEP", &u.vtep.to_string()]),
        row(["UDP port", &u.port.to_string()]),
        row(["interface", &u.interface]),
        row(["MTU", &u.mtu.to_string()]),
    ]
}

fn fast_paths(s: &api::Status) -> Rows {
    let state = |active| if active { "on" } else { "off" };
    s.offload.iter().map(|o| row([&o.name, state(o.active), &o.reason])).collect()
}

/// Counts, and where a count has its bytes (`tap_reads`, `tap_read_bytes`) also
/// those and their mean: tens of KiB where super-frames pass.
fn traffic(s: &api::Status) -> Rows {
    let counted = s.counters.iter().filter(|(name, _)| count_of(s, name).is_none());
    let line = |(name, &count): (&String, &u64)| {
        let label = name.replace('_', " ");
        let Some(bytes) = bytes_of(s, name) else { return row([&label, &count.to_string()]) };
        let mean = bytes.checked_div(count).map_or("-".into(), |m| format!("{} each", size(m)));
        row([&label, &count.to_string(), &size(bytes), &mean])
    };
    counted.map(line).collect()
}

/// The bytes of what `name` counts.
fn bytes_of(s: &api::Status, name: &str) -> Option<u64> {
    let stem = name.strip_suffix("_frames").or(name.strip_suffix('s'))?;
    s.counters.get(&format!("{stem}_bytes")).copied()
}

/// The count of those whose bytes `name` counts.
fn count_of(s: &api::Status, name: &str) -> Option<u64> {
    let stem = name.strip_suffix("_bytes")?;
    let count = [format!("{stem}s"), format!("{stem}_frames")];
    count.iter().find_map(|name| s.counters.get(name)).copied()
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

fn drops(s: &api::Status) -> Rows {
    let of = |d: &api::Drop| row([&d.reason, &d.frames.to_string(), d.explanation.trim()]);
    s.drops.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_the_largest_and_numbers_are_short() {
        let share = |(n, owned)| api::Share { node: format!("n{n}"), owned, free: 1 };
        let few: Vec<api::Share> = [(1, 2), (2, 9)].map(share).into();
        assert_eq!(shares(&few), "n2 9 (1 free), n1 2 (1 free)");
        let many: Vec<api::Share> = (0..100).map(|n| share((n, n))).collect();
        let many = shares(&many);
        assert!(many.starts_with("n99 99 (1 free), n98 "), "{many}");
        assert!(many.ends_with("n96 96 (1 free), 96 more"), "{many}");
        assert_eq!(number(16_777_215), "16777215");
        assert_eq!(number(u64::MAX), "1.8e19");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
