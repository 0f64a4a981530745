//! `vxmesh status`: how the daemon is.

use std::time::Duration;

use anstyle::Style;
use clap::Args;

use super::output::{self, Format, FormatArg};
use crate::api;
use crate::client::{Client, path};

/// Show how the daemon is: its underlay, fast paths, traffic and drops
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
        ("Underlay", underlay(s)),
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
        row(["endpoints", &endpoints]),
    ]
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
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
