//! One measurement of one load on one lane.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::lanes::Lane;
use super::load::tcp::Crowd;
use super::load::udp::{Range, Shape};
use super::load::{connect, echo, names, tcp};
use super::mesh;
use super::process;
use super::rows::Load;
use super::search::Search;

/// What a measurement gave: the row's value, and what else is worth knowing.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) details: Vec<(&'static str, f64)>,
}

/// Measures the same load on the same lane again and again.
#[derive(Debug)]
pub(super) struct Meter {
    load: Load,
    time: Duration,
    /// Where a search for a rate begins.
    rate: f64,
}

/// Below what any lane carries, in packets a second.
const FIRST_RATE: f64 = 40_000.0;
/// How many rates a search offers at most. Most need six or seven.
const PROBES: u32 = 14;
/// Of the time of a measurement, for one rate.
const PROBE: f64 = 1.0 / 6.0;
/// A new search begins a little below what the last one found.
const BACK: f64 = 0.8;
/// An idle daemon is watched for this many times as long as others are measured.
const PATIENT: u32 = 3;

impl Meter {
    pub(super) fn new(load: Load, time: Duration) -> Meter {
        Meter { load, time, rate: FIRST_RATE }
    }

    pub(super) fn sample(&mut self, lane: &Lane) -> io::Result<Sample> {
        let (from, to) = (&lane.from, lane.to.first().ok_or(io::ErrorKind::NotFound)?);
        let plain = |value| Sample { value, details: Vec::new() };
        match self.load {
            Load::Bulk(crowd) => self.bulk(lane, crowd),
            Load::Datagrams(shape) => self.datagrams(lane, shape).map(plain),
            Load::EchoTcp => echo::tcp(from, to, self.time).map(Sample::from),
            Load::EchoUdp => echo::udp(from, to, self.time).map(Sample::from),
            Load::Connections => connect::rate(from, to, self.time).map(plain),
            Load::Names => names::rate(from, mesh::PEER, self.time).map(Sample::from),
            Load::NamesLatency => {
                names::rate(from, mesh::PEER, self.time).map(|echoes| plain(echoes.p99_us))
            }
            Load::Memory => {
                self.bulk(lane, Crowd { threads: 1, streams: 1 })?;
                process::resident_mb(&lane.daemons).map(plain)
            }
            Load::IdleMemory => process::resident_mb(&lane.daemons).map(plain),
            Load::IdleCpu => {
                let (before, start) = (process::cpu_seconds(&lane.daemons)?, Instant::now());
                thread::sleep(self.time * PATIENT);
                let used = process::cpu_seconds(&lane.daemons)? - before;
                Ok(plain(used / start.elapsed().as_secs_f64() * 100.0))
            }
        }
    }

    fn bulk(&self, lane: &Lane, crowd: Crowd) -> io::Result<Sample> {
        let to = lane.to.first().ok_or(io::ErrorKind::NotFound)?;
        let cpu = || process::cpu_seconds(&lane.daemons);
        let (bulk, before, after) = tcp::bulk(&lane.from, to, crowd, self.time, cpu)?;
        let mut details = Vec::new();
        if !lane.daemons.is_empty() {
            details.push(("daemons_cpu_s_per_gb", (after - before) / (bulk.bytes as f64 / 1e9)));
        }
        Ok(Sample { value: bulk.gbit_per_second(), details })
    }

    /// Datagrams a second, the most that arrive with less than 1 % loss.
    fn datagrams(&mut self, lane: &Lane, shape: Shape) -> io::Result<f64> {
        let range = Range::new(&lane.from, &lane.to, shape)?;
        let time = self.time.mul_f64(PROBE);
        // Resolves addresses, and wakes up whoever sleeps.
        range.probe(1000.0, time / 4)?;
        let mut search = Search::new(self.rate, PROBES);
        while let Some(rate) = search.next() {
            search.observe(range.probe(rate, time)?);
        }
        range.finish()?;
        if search.best() == 0.0 {
            return Err(io::Error::other("no rate passes with less than 1 % loss"));
        }
        self.rate = search.best() * BACK;
        Ok(search.best())
    }
}

impl From<echo::Echoes> for Sample {
    fn from(echoes: echo::Echoes) -> Sample {
        let details = vec![("p50_us", echoes.p50_us), ("p99_us", echoes.p99_us)];
        Sample { value: echoes.per_second, details }
    }
}
