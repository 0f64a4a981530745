//! `vxmesh bench`: vxmesh beside the kernel's own overlay, on this machine.
//!
//! Every lane (a way from one container to another) stands while the whole
//! bench runs. For each row the lanes are measured in turn, round after round,
//! so that what slows this machine down for a while hits all of them; ratios
//! are made of the values of one round.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`rows`] | what is measured, on which lanes, and how good it shall be |
//! | [`lanes`] | the lanes; `kernel` and `mesh` build them |
//! | `load` | the traffic generator |
//! | `search` | the highest rate with little loss |
//! | `process` | what the daemons use |
//! | [`stats`] | medians, spreads and ratios |
//! | [`report`] | the result, as `--format json` shows it |
//! | [`plot`] | the result as an SVG file |

mod kernel;
pub mod lanes;
mod load;
mod measure;
mod mesh;
pub mod plot;
mod process;
pub(crate) mod progress;
pub mod report;
pub mod rows;
mod search;
pub mod stats;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::Context;

use super::custody::Custody;
use super::interrupt::Interrupt;
use super::privilege::{self, Standing};
use lanes::{Kind, Lane, Wire};
use measure::{Meter, Sample};
use progress::Progress;
use report::{Measured, Outcome, Report};
use rows::Row;

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// How to measure.
#[derive(Debug)]
pub struct Options {
    /// What to measure.
    pub rows: Vec<&'static Row>,
    /// How often each lane is measured for each row; at least once.
    pub rounds: u32,
    /// How long one measurement takes, about.
    pub time: Duration,
}

/// Measures. To be called from the main thread, before there is any other. An
/// error if there can be no lab, or if a lane of vxmesh does not carry what it
/// should; lanes that this kernel cannot do are left out with a remark.
///
/// SIGINT, SIGTERM and SIGHUP take the lab down and end the process with 130.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let standing = privilege::obtain()?;
    let interrupt = Interrupt::hold()?;
    let custody = Custody::new()?;
    let progress = Progress::new();
    interrupt.on_arrival({
        let (custody, progress) = (custody.clone(), progress);
        move || {
            progress.clear();
            custody.clean_and_exit(INTERRUPTED)
        }
    });
    let mut report = Report::new(options);
    if standing == Standing::UserNamespace {
        report.remark("not root: the lab is in a user namespace of its own".into());
    }
    let result = perform(options, &custody, progress, &mut report);
    progress.clear();
    custody.clean();
    result.map(|()| report)
}

type Lanes = BTreeMap<(Kind, Wire), Lane>;

fn perform(
    options: &Options,
    custody: &Custody,
    progress: Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let lanes = build(options, custody, progress, report)?;
    for (n, row) in options.rows.iter().enumerate() {
        let here: Vec<(Kind, &Lane)> = row
            .kinds
            .iter()
            .filter_map(|kind| Some((*kind, lanes.get(&(*kind, row.wire))?)))
            .collect();
        let step = format!("{}/{} {}", n + 1, options.rows.len(), row.title);
        let measured = rounds(row, &here, options, |round, kind| {
            progress.show(&format!("{step}: round {round} of {}, {kind}", options.rounds));
        })?;
        report.rows.push(Outcome::new(row, measured));
    }
    Ok(())
}

/// Builds every lane that a row asks for.
fn build(
    options: &Options,
    custody: &Custody,
    progress: Progress,
    report: &mut Report,
) -> anyhow::Result<Lanes> {
    let mut lanes = Lanes::new();
    let mut wanted: Vec<(Kind, Wire)> = options
        .rows
        .iter()
        .flat_map(|row| row.kinds.iter().map(|kind| (*kind, row.wire)))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    for (kind, wire) in wanted {
        progress.show(&format!("building the lab: {kind}, {wire}"));
        match lanes::build(kind, wire, custody) {
            Ok(lane) => drop(lanes.insert((kind, wire), lane)),
            Err(e) if is_unsupported(&e) => report.remark(format!(
                "\"{kind}\" ({wire}) is left out, since this kernel cannot do it: {}",
                e.root_cause()
            )),
            Err(e) => return Err(e),
        }
    }
    Ok(lanes)
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::Unsupported)
}

/// Measures a row on its lanes, in turn.
fn rounds(
    row: &Row,
    lanes: &[(Kind, &Lane)],
    options: &Options,
    mut progress: impl FnMut(u32, Kind),
) -> anyhow::Result<Vec<Measured>> {
    let mut meters: Vec<Meter> = lanes.iter().map(|_| Meter::new(row.load, options.time)).collect();
    let mut samples: Vec<Vec<Sample>> = lanes.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        for (((kind, lane), meter), samples) in lanes.iter().zip(&mut meters).zip(&mut samples) {
            progress(round, *kind);
            let sample = meter
                .sample(lane)
                .with_context(|| format!("\"{}\" on \"{kind}\" failed", row.title))?;
            samples.push(sample);
        }
    }
    Ok(report::measured(row, lanes.iter().map(|(kind, _)| *kind).zip(samples).collect()))
}
