//! Flows on their way from one daemon to the next.
//!
//! Bytes: a format number, then a record for each flow, with ages instead of
//! instants. A record that cannot be read ends the list.

use std::time::Duration;

use super::balancer::Balancer;
use super::choose::Service;
use super::flow::{Flow, Saved};
use super::schedule::stir;
use crate::core::Now;

/// The form of what follows; another one is not read.
const FORMAT: u8 = 1;

/// How long the plan may take to be whole again after a restart. Until then flows
/// that were taken over keep backends that it does not know yet.
const GRACE: Duration = Duration::from_secs(60);

/// Appends a flow.
fn write(out: &mut Vec<u8>, flow: &Saved) {
    if out.is_empty() {
        out.push(FORMAT);
    }
    // Into memory, of numbers and addresses: there is nothing that could fail.
    if let Ok(record) = postcard::to_stdvec(flow) {
        out.extend_from_slice(&record);
    }
}

/// All flows up to the first that cannot be read, and whether that was the end.
fn read(bytes: &[u8]) -> (Vec<Saved>, bool) {
    let mut flows = Vec::new();
    let Some((format, mut rest)) = bytes.split_first() else { return (flows, true) };
    if *format != FORMAT {
        return (flows, false);
    }
    while !rest.is_empty() {
        let Ok((flow, after)) = postcard::take_from_bytes(rest) else { return (flows, false) };
        flows.push(flow);
        rest = after;
    }
    (flows, true)
}

impl Balancer {
    /// Every flow, for the next daemon.
    pub fn save(&self, now: Now) -> Vec<u8> {
        let mut out = Vec::new();
        let end = self.flows.end();
        let mut at = 0;
        while let Some(id) = self.flows.next_from(at, end) {
            if let Some(flow) = self.flows.get(id).filter(|flow| !flow.is_expired(now)) {
                write(&mut out, &flow.save(now));
            }
            at = id + 1;
        }
        out
    }

    /// Takes over what [`Balancer::save`] gave, `elapsed` ago. How many flows there
    /// are, and whether all could be read.
    pub fn restore(&mut self, bytes: &[u8], elapsed: Duration, now: Now) -> (usize, bool) {
        let (saved, whole) = read(bytes);
        for flow in saved.iter().filter_map(|saved| Flow::restore(saved, elapsed, now)) {
            // Of two that claim the same packets the first stays.
            if self.is_free(&flow, now) {
                self.make_way(&flow);
                let key = (flow.vni, flow.vip());
                let turn = stir(self.seed, key.1);
                self.services.entry(key).or_insert(Service { version: 0, turn });
                let _ = self.flows.insert(flow, now); // those that fit
            }
        }
        if self.flows.len() > 0 {
            self.grace = Some(now + GRACE);
        }
        (self.flows.len(), whole)
    }
}
