//! Runs the cluster's core in a simulated world, and reports how fast it is.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;

#[path = "../../tests/simulation/sim/mod.rs"]
mod sim;

use sim::measure::{Figures, measure, seconds};
use sim::scenario::{self, Size};

/// Runs the cluster's core in a simulated world: random work, random faults, and
/// what must hold whatever happens.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  # A thousand seeds of small clusters
  cargo run --release --example simulate -- --seeds 1000
  # Ten seeds of 500 nodes
  cargo run --release --example simulate -- --nodes 500 --seeds 10
  # One seed again
  cargo run --release --example simulate -- --first 17 --seeds 1
  # The figures of docs/simulation.md, written anew
  cargo run --release --example simulate -- --report docs/simulation.md")]
struct Arguments {
    /// Nodes of each cluster [default: 3 to 7, as the seed has it]
    #[arg(long)]
    nodes: Option<usize>,
    /// How many seeds are run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Seconds for which things go wrong
    #[arg(long, default_value_t = 20)]
    trouble: u64,
    /// Measures how fast clusters are instead, and writes this page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The clusters that are measured, by their number of nodes
    #[arg(long, value_delimiter = ',', default_value = "3,5,10,32,100")]
    sizes: Vec<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.report {
        Some(page) => report(page, &arguments.sizes),
        None => run(&arguments),
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let trouble = Duration::from_secs(arguments.trouble);
    let mut failed = 0;
    let mut equal = Vec::new();
    for seed in arguments.first..arguments.first + arguments.seeds {
        let size = match arguments.nodes {
            Some(hosts) => Size { hosts, trouble, rounds: 1 },
            None => Size { trouble, ..Size::small(seed) },
        };
        match scenario::run(seed, size) {
            Ok(outcome) => equal.extend(outcome.equal),
            Err(why) => {
                failed += 1;
                let nodes = arguments.nodes.map_or_else(String::new, |n| format!(" --nodes {n}"));
                println!(
                    "seed {seed}: {why}\nagain: cargo run --release --example simulate -- --first {seed} --seeds 1 --trouble {}{nodes}",
                    arguments.trouble
                );
            }
        }
    }
    println!(
        "{} seeds, {failed} failed; tables equal after healing: median {:.1} s, p99 {:.1} s",
        arguments.seeds,
        seconds(&equal, 50),
        seconds(&equal, 99)
    );
    if failed > 0 {
        bail!("{failed} of {} seeds failed", arguments.seeds);
    }
    for seed in 0..3 {
        scenario::slow_member(seed, 32, trouble).map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

fn report(page: &PathBuf, sizes: &[usize]) -> anyhow::Result<()> {
    let mut table = Figures::HEAD.to_owned();
    for hosts in sizes {
        let times = if *hosts > 100 { 8 } else { 40 };
        let figures = measure(*hosts, 1, times).map_err(anyhow::Error::msg)?;
        println!("{}", figures.row());
        table += &figures.row();
        table.push('\n');
    }
    let text = include_str!("page.md").replace("{{table}}\n", &table);
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}
