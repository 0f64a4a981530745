//! The result. `vxmesh bench --format json` prints a [`Report`] as it is here.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::SystemTime;

use serde::Serialize;

use super::Options;
use super::lanes::{Kind, Wire};
use super::measure::Sample;
use super::rows::{Row, Target};
use super::stats::{Summary, ratios};

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// vxmesh's version.
    pub version: &'static str,
    /// `release`, or `debug` for a build that says nothing about speed.
    pub build: &'static str,
    /// When the run began: RFC 3339, UTC.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// How often each lane was measured for each row.
    pub rounds: u32,
    /// How long one measurement took, about.
    pub seconds: f64,
    /// What one has to know to read this, a sentence each.
    pub remarks: Vec<String>,
    /// In the order in which they were measured.
    pub rows: Vec<Outcome>,
}

/// The machine that all this ran on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

/// What came of a row.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// As in `--row`.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// Of all values.
    pub unit: &'static str,
    /// What crossed the underlay whole.
    pub underlay: Wire,
    /// What vxmesh shall reach.
    pub target: Target,
    /// The lane that the target speaks of.
    pub subject: Option<Kind>,
    /// The lane that ratios are made against.
    pub reference: Option<Kind>,
    /// Whether vxmesh reached it; nothing where there is no target.
    pub verdict: Option<Verdict>,
    /// In the order in which they were measured.
    pub lanes: Vec<Measured>,
}

/// A lane in a row.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Which lane.
    pub lane: Kind,
    /// One value a round, in the row's unit.
    pub samples: Vec<f64>,
    /// The samples summed up.
    pub value: Summary,
    /// What they are beside the reference's, round by round.
    pub ratio: Option<Summary>,
    /// Medians of what else was measured: `p50_us`, `p99_us` (microseconds),
    /// `daemons_cpu_s_per_gb` (seconds of all daemons for 10⁹ bytes).
    pub details: BTreeMap<&'static str, f64>,
}

/// What the numbers say of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The goal is reached.
    Goal,
    /// The floor is reached, the goal is not.
    Floor,
    /// Not even the floor.
    Below,
    /// The machine was too noisy: half of the reference's samples, or of the
    /// ratios, are spread over more than a quarter of their median.
    Noisy,
}

/// The widest spread (see [`Summary::spread`]) that allows a verdict.
const CALM: f64 = 0.25;

impl Report {
    pub(super) fn new(options: &Options) -> Report {
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            machine: Machine::here(),
            rounds: options.rounds,
            seconds: options.time.as_secs_f64(),
            remarks: Vec::new(),
            rows: Vec::new(),
        };
        if cfg!(debug_assertions) {
            let text = "this is a debug build, whose numbers say nothing: build it with --release";
            report.remark(text.into());
        }
        report
    }

    pub(super) fn remark(&mut self, sentence: String) {
        self.remarks.push(sentence);
    }
}

impl Machine {
    fn here() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cpu: cpu_model(&info).unwrap_or("unknown processor").to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// The name in the text of /proc/cpuinfo; not every architecture has one.
fn cpu_model(info: &str) -> Option<&str> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

impl Outcome {
    pub(super) fn new(row: &Row, lanes: Vec<Measured>) -> Outcome {
        let find = |kind| lanes.iter().find(|lane| Some(lane.lane) == kind);
        let verdict = find(row.subject())
            .and_then(|subject| verdict(row.target, subject, find(row.reference())));
        Outcome {
            id: row.id,
            title: row.title,
            unit: row.unit,
            underlay: row.wire,
            target: row.target,
            subject: row.subject(),
            reference: row.reference().filter(|kind| find(Some(*kind)).is_some()),
            verdict,
            lanes,
        }
    }
}

fn verdict(target: Target, subject: &Measured, reference: Option<&Measured>) -> Option<Verdict> {
    let judge = |goal: bool, floor: bool| match (goal, floor) {
        (true, _) => Verdict::Goal,
        (_, true) => Verdict::Floor,
        _ => Verdict::Below,
    };
    match target {
        Target::None => None,
        Target::AtMost { floor, goal } => {
            let value = subject.value.median;
            Some(judge(value <= goal, value <= floor))
        }
        Target::AtLeast { floor, goal } => {
            let value = subject.value.median;
            Some(judge(value >= goal, value >= floor))
        }
        Target::Ratio { floor, goal } => {
            let ratio = subject.ratio?;
            if ratio.spread() > CALM || reference?.value.spread() > CALM {
                return Some(Verdict::Noisy);
            }
            Some(judge(ratio.median >= goal, ratio.median >= floor))
        }
    }
}

/// Sums up what was measured on each lane of a row.
pub(super) fn measured(row: &Row, lanes: Vec<(Kind, Vec<Sample>)>) -> Vec<Measured> {
    let values = |samples: &[Sample]| -> Vec<f64> {
        samples.iter().map(|sample| sample.value / row.scale).collect()
    };
    let reference = row.reference().and_then(|kind| lanes.iter().find(|(k, _)| *k == kind));
    let reference = reference.map(|(_, samples)| values(samples));
    let sum_up = |(kind, samples): &(Kind, Vec<Sample>)| {
        let samples_here = values(samples);
        Some(Measured {
            lane: *kind,
            value: Summary::of(&samples_here)?,
            ratio: reference.as_ref().and_then(|r| Summary::of(&ratios(&samples_here, r))),
            samples: samples_here,
            details: details(samples),
        })
    };
    lanes.iter().filter_map(sum_up).collect()
}

/// The median of each detail.
fn details(samples: &[Sample]) -> BTreeMap<&'static str, f64> {
    let mut all: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (name, value) in samples.iter().flat_map(|sample| &sample.details) {
        all.entry(name).or_default().push(*value);
    }
    let median = |(name, values): (_, Vec<f64>)| Some((name, Summary::of(&values)?.median));
    all.into_iter().filter_map(median).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::rows;
    use super::*;

    /// One row with two lanes, five rounds, 2 to 1, and one without a ratio.
    pub(crate) fn example() -> Report {
        let machine = Machine { cpu: "A & B <CPU>".into(), cores: 2, kernel: "6.1".into() };
        let sample = |value| Sample { value, details: vec![("p50_us", value)] };
        let mut report = Report {
            version: "1.2.3",
            build: "release",
            date: "2026-01-01T00:00:00Z".into(),
            machine,
            rounds: 5,
            seconds: 1.0,
            remarks: Vec::new(),
            rows: Vec::new(),
        };
        let lanes = |values: [f64; 5], kind| (kind, values.map(sample).to_vec());
        let [tcp, idle] =
            ["tcp-1", "idle-cpu"].map(|id| rows::ROWS.iter().find(|row| row.id == id).unwrap());
        let kernel = lanes([10.0, 11.0, 10.0, 9.0, 10.0], Kind::Vxlan);
        let ours = lanes([20.0, 22.0, 20.0, 18.0, 20.0], Kind::Vxmesh);
        report.rows.push(Outcome::new(tcp, measured(tcp, vec![kernel, ours])));
        let quiet = lanes([0.1; 5], Kind::VxmeshIdle);
        report.rows.push(Outcome::new(idle, measured(idle, vec![quiet])));
        report
    }

    #[test]
    fn ratios_and_verdicts_follow_from_the_samples() {
        let report = example();
        let [tcp, idle] = &report.rows[..] else { panic!("two rows") };
        let ratio = tcp.lanes[1].ratio.unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (2.0, 2.0, 2.0));
        assert_eq!(tcp.lanes[1].details["p50_us"], 20.0);
        assert_eq!(tcp.verdict, Some(Verdict::Goal));
        assert_eq!((idle.verdict, idle.reference), (Some(Verdict::Floor), None));
    }

    #[test]
    fn the_verdict_is_withheld_when_the_reference_is_all_over_the_place() {
        let target = Target::Ratio { floor: 0.5, goal: 3.0 };
        let [mut kernel, mut ours] = [0, 1].map(|n| {
            let lane = example().rows.remove(0).lanes.remove(n);
            assert_eq!(lane.samples.len(), 5);
            lane
        });
        assert_eq!(verdict(target, &ours, Some(&kernel)), Some(Verdict::Floor));
        kernel.value = Summary::of(&[10.0, 20.0, 10.0, 5.0, 30.0]).unwrap();
        assert_eq!(verdict(target, &ours, Some(&kernel)), Some(Verdict::Noisy));
        ours.ratio = None;
        assert_eq!(verdict(target, &ours, Some(&kernel)), None);
        assert_eq!(verdict(Target::None, &ours, Some(&kernel)), None);
    }

    #[test]
    fn json_has_the_machine_and_the_rows() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["machine"]["cores"], 2);
        assert_eq!(json["rows"][0]["id"], "tcp-1");
        assert_eq!(json["rows"][0]["lanes"][1]["lane"], "vxmesh");
        assert_eq!(json["rows"][0]["lanes"][1]["ratio"]["median"], 2.0);
        assert_eq!(json["rows"][0]["target"]["of"], "ratio");
        assert_eq!(json["rows"][1]["target"]["of"], "at-most");
        assert_eq!(json["rows"][0]["verdict"], "goal");
    }

    #[test]
    fn finds_the_processor() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: X 1: Y\n"), Some("X 1: Y"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
