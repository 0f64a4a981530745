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

fn traffic(s: &api::Status) -> Rows {
    s.counters.iter().map(|(name, count)| row([name, &count.to_string()])).collect()
}

fn drops(s: &api::Status) -> Rows {
    let of = |d: &api::Drop| row([&d.reason, &d.frames.to_string(), d.explanation.trim()]);
    s.drops.iter().map(of).collect()
}
