//! `vxmesh bench`: how fast vxmesh is beside the kernel, on this machine.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::output::{self, Format, FormatArg};
use crate::lab::bench::report::{Measured, Outcome, Report, Verdict};
use crate::lab::bench::rows::{self, Row, Target};
use crate::lab::bench::{self, Options, plot};

/// Measure vxmesh beside the kernel's own overlay, on this machine
///
/// Builds hosts and containers out of network namespaces, as the demo does, and
/// measures kernel VXLAN, vxmesh and others in turn, so that ratios hold also
/// on a noisy machine. Nothing outside of the namespaces is touched, and
/// nothing is left behind, also after Ctrl-C. All rows take some minutes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo vxmesh bench
  sudo vxmesh bench --quick --row tcp-1 --row rr
  sudo vxmesh bench --format json --plot bench.svg > bench.json")]
pub(super) struct Bench {
    /// Measure only the rows whose id this is or is part of; may be repeated
    #[arg(long = "row", value_name = "PATTERN")]
    rows: Vec<String>,
    /// List the rows and measure nothing
    #[arg(long)]
    list: bool,
    /// Measure each lane this often for each row [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Measure for about this long each time [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Two short rounds: to see that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Draw the ratios into an SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    output: FormatArg,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let range = 0.05..=3600.0;
    match text.parse::<f64>() {
        Ok(seconds) if range.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds from 0.05 to 3600".into()),
    }
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let rows = rows::select(&self.rows)?;
        if self.list {
            return list(&rows, self.output.format);
        }
        let (rounds, time) =
            if self.quick { (2, Duration::from_millis(200)) } else { (5, Duration::from_secs(1)) };
        let options = Options {
            rows,
            rounds: self.rounds.unwrap_or(rounds),
            time: self.seconds.unwrap_or(time),
        };
        let report = bench::run(&options)?;
        if let Some(file) = &self.plot {
            fs::write(file, plot::svg(&report))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        match self.output.format {
            Format::Table => output::print(&page(&report)),
            Format::Json => output::json(&report),
        }
    }
}

fn list(rows: &[&Row], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        let ids: Vec<String> = rows.iter().map(|row| row.id.to_owned()).collect();
        return output::names(&ids, format);
    }
    let lines = rows.iter().map(|row| vec![row.id.into(), row.title.into(), row.unit.into()]);
    output::print(&output::table(&["ROW", "WHAT", "UNIT"], lines))
}

const HEADER: [&str; 8] = ["ROW", "LANE", "MEDIAN", "MIN-MAX", "RATIO", "FLOOR", "GOAL", "REMARK"];

fn page(report: &Report) -> String {
    let machine = &report.machine;
    let mut page = format!(
        "vxmesh {} on {} ({} cores), Linux {}, {}\n{} rounds of {} s; RATIO: the median of the rounds' ratios to the kernel, or to the same in clear\n\n",
        report.version,
        machine.cpu,
        machine.cores,
        machine.kernel,
        report.date,
        report.rounds,
        report.seconds,
    );
    page += &output::table(&HEADER, report.rows.iter().flat_map(lines));
    if !report.remarks.is_empty() {
        page += "\n";
    }
    for remark in &report.remarks {
        page += &format!("{remark}\n");
    }
    page
}

/// One for each lane.
fn lines(row: &Outcome) -> Vec<Vec<String>> {
    row.lanes.iter().enumerate().map(|(n, lane)| line(row, lane, n == 0)).collect()
}

fn line(row: &Outcome, lane: &Measured, first: bool) -> Vec<String> {
    let (floor, goal) = match row.target {
        Target::Ratio { floor, goal } => (number(floor), number(goal)),
        Target::AtMost { floor, goal } => {
            (format!("≤ {}", number(floor)), format!("≤ {}", number(goal)))
        }
        Target::AtLeast { floor, goal } => {
            (format!("≥ {}", number(floor)), format!("≥ {}", number(goal)))
        }
        Target::None => Default::default(),
    };
    let value = lane.value;
    let subject = row.subject == Some(lane.lane);
    let mark = |text: String| if subject { text } else { String::new() };
    let mut remarks: Vec<String> = lane.details.iter().map(|(n, v)| detail(n, *v)).collect();
    if subject && let Some(verdict) = row.verdict {
        remarks.insert(0, said(verdict).into());
    }
    vec![
        if first { format!("{} [{}]", row.id, row.unit) } else { String::new() },
        lane.lane.to_string(),
        number(value.median),
        format!("{}-{}", number(value.min), number(value.max)),
        lane.ratio.map_or(String::new(), |ratio| format!("{:.2}", ratio.median)),
        mark(floor),
        mark(goal),
        remarks.join(", "),
    ]
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Goal => "goal reached",
        Verdict::Floor => "floor reached",
        Verdict::Below => "BELOW THE FLOOR",
        Verdict::Noisy => "too noisy for a verdict",
    }
}

fn detail(name: &str, value: f64) -> String {
    match name {
        "p50_us" => format!("p50 {value:.0} µs"),
        "p99_us" => format!("p99 {value:.0} µs"),
        "daemons_cpu_s_per_gb" => format!("daemons {value:.2} CPU s/GB"),
        name => format!("{name} {value:.2}"),
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::report::tests::example;

    #[test]
    fn the_table_has_a_line_for_each_lane_with_its_ratio_and_the_targets() {
        let page = page(&example());
        let words = |start: &str| -> Vec<String> {
            let line = page.lines().find(|line| line.contains(start)).unwrap();
            line.split_whitespace().map(String::from).collect()
        };
        assert_eq!(words("kernel VXLAN")[..2], ["tcp-1", "[Gbit/s]"]);
        let ours = "vxmesh 20.0 18.0-22.0 2.00 0.65 1.00 goal reached, p50 20 µs";
        assert_eq!(words("goal reached").join(" "), ours);
        assert_eq!(words("floor reached")[7..11], ["0.10", "0.10-0.10", "≤", "0.20"]);
        assert!(page.starts_with("vxmesh 1.2.3 on A & B <CPU> (2 cores), Linux 6.1, 2026-"));
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "1e9", "NaN", "inf", "", "1s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
