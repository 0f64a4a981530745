//! Whom to ask what is not ours to answer: upstream resolvers in order, the next
//! one where one does not answer, and a limit on everything.
//!
//! ```text
//! begin -> next -> (send, wait until the deadline) -> heard   -> the answer
//!           ^                                      -> failed
//!           +------------------------------------------+
//! ```
//!
//! The caller sends and waits; every question it began it must [`end`], however it
//! went.
//!
//! [`end`]: Forwarder::end

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::message::Request;
use crate::core::Now;

/// How many questions may wait for upstream at once.
pub const MOST_IN_FLIGHT: usize = 1024;
/// How many of them may be one client's: others must get through while one floods.
pub const MOST_OF_ONE: usize = 128;
/// How long one resolver has to answer.
pub const PATIENCE: Duration = Duration::from_millis(1500);
/// How long all of them have together. Clients wait five seconds, as a rule, and
/// should learn of the failure rather than ask again.
pub const BUDGET: Duration = Duration::from_secs(4);
/// A resolver that failed this often in a row rests for [`REST`], then one question
/// tries it. Who rests for all is asked last. Who rests for a client is not asked by
/// that one: it has waited long enough to be told at once from now on. For another
/// client that would be unjust; the first may have asked for what nobody can answer.
const FAILURES: u32 = 3;
/// How long a resolver rests that failed several times in a row.
pub const REST: Duration = Duration::from_secs(2);
/// Where resolvers listen.
const PORT: u16 = 53;

/// How often one resolver is asked one question: datagrams get lost.
const ROUNDS: usize = 2;

/// A header's length and some of its fields (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const CODE: u8 = 0x0f;
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

/// The resolvers, how they did, and who is waiting for them. `C` tells clients apart.
#[derive(Debug)]
pub struct Forwarder<C> {
    upstreams: Vec<Upstream<C>>,
    waiting: BTreeMap<C, usize>,
    in_flight: usize,
}

#[derive(Debug)]
struct Upstream<C> {
    address: SocketAddr,
    for_all: Record,
    /// Of clients for whom it failed. One answer, to whomever, and all is forgotten.
    for_one: BTreeMap<C, Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// In a row.
    failures: u32,
    rests_until: Now,
}

impl Record {
    fn rests(&self, now: Now) -> bool {
        self.failures >= FAILURES && now < self.rests_until
    }

    fn fail(&mut self, now: Now) {
        self.failures = self.failures.saturating_add(1);
        self.rests_until = now + REST;
    }

    /// While one question tries it, the others need not wait.
    fn tried(&mut self, now: Now) {
        if self.failures >= FAILURES {
            self.rests_until = now + REST;
        }
    }
}

/// A question on its way.
#[derive(Debug)]
pub struct Question<C> {
    client: C,
    /// As the client is to be answered: with its id.
    message: Vec<u8>,
    /// How long the header and the question are together.
    head: usize,
    end: Now,
    /// Once for each time; who cannot do it is not asked again.
    tried: Vec<SocketAddr>,
    id: u16,
    /// What a resolver said that could not do it, for want of a better answer.
    poor: Option<Vec<u8>>,
}

/// What to send, and how long to wait for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who is asked. Answers from elsewhere are none.
    pub upstream: SocketAddr,
    /// What is sent.
    pub message: Vec<u8>,
    /// When it has [failed](Forwarder::failed).
    pub deadline: Now,
}

/// What came in answer to an [`Attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer, for the client.
    Answer(Vec<u8>),
    /// This resolver cannot do it: go on with [`Forwarder::next`].
    Next,
    /// Not an answer to this question: wait on.
    Noise,
}

impl<C: Clone + Ord> Forwarder<C> {
    /// Nobody to ask yet.
    pub fn new() -> Forwarder<C> {
        Forwarder { upstreams: Vec::new(), waiting: BTreeMap::new(), in_flight: 0 }
    }

    /// Says whom to ask, the first one first. Those that were there before keep
    /// their record. A scoped address (RFC 4007) keeps its scope.
    pub fn set_upstreams(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let mut upstreams: Vec<Upstream<C>> = Vec::new();
        for address in addresses {
            if upstreams.iter().any(|u| u.address == address) {
                continue;
            }
            let known = self.upstreams.iter().position(|u| u.address == address);
            upstreams.push(match known {
                Some(known) => self.upstreams.swap_remove(known),
                None => Upstream { address, for_all: Record::default(), for_one: BTreeMap::new() },
            });
        }
        self.upstreams = upstreams;
    }

    /// How many questions are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a question in, as [`super::Verdict::Forward`] has it. Over quota it is
    /// not taken, and the error is what the client is told: SERVFAIL.
    pub fn begin(&mut self, now: Now, client: C, message: Vec<u8>) -> Result<Question<C>, Vec<u8>> {
        let Some(head) = head_of(&message) else { return Err(Vec::new()) };
        let of_client = self.waiting.get(&client).copied().unwrap_or(0);
        if self.in_flight >= MOST_IN_FLIGHT || of_client >= MOST_OF_ONE {
            return Err(servfail(&message));
        }
        self.in_flight += 1;
        self.waiting.insert(client.clone(), of_client + 1);
        let (tried, end) = (Vec::new(), now + BUDGET);
        Ok(Question { client, message, head, end, tried, id: 0, poor: None })
    }

    /// Gives a question's place to others.
    pub fn end(&mut self, question: &Question<C>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(count) = self.waiting.get_mut(&question.client) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&question.client);
            }
        }
    }

    /// Whom to ask next, under a random id. `None` when nobody is left, or no time:
    /// then the client gets [`Question::give_up`].
    pub fn next(&mut self, now: Now, question: &mut Question<C>, id: u16) -> Option<Attempt> {
        let left = question.end.checked_sub(now).filter(|left| !left.is_zero())?;
        let asked = |u: &Upstream<C>| question.tried.iter().filter(|a| **a == u.address).count();
        let rests = |u: &Upstream<C>| u.for_one.get(&question.client).is_some_and(|r| r.rests(now));
        let fit = self.upstreams.iter_mut().filter(|u| asked(u) < ROUNDS && !rests(u));
        // The first of those that were asked least.
        let upstream = fit.min_by_key(|u| (asked(u), u.for_all.rests(now)))?;
        upstream.for_all.tried(now);
        if let Some(record) = upstream.for_one.get_mut(&question.client) {
            record.tried(now);
        }
        question.tried.push(upstream.address);
        question.id = id;
        let mut message = question.message.clone();
        message[..2].copy_from_slice(&id.to_be_bytes());
        Some(Attempt { upstream: upstream.address, message, deadline: now + PATIENCE.min(left) })
    }

    /// Judges what the resolver that was asked last has sent.
    pub fn heard(&mut self, question: &mut Question<C>, mut answer: Vec<u8>) -> Heard {
        let asked = &question.message[..question.head];
        let of_it = answer.len() >= HEADER
            && answer[..2] == question.id.to_be_bytes()
            && answer[2] & (RESPONSE | OPCODE) == RESPONSE;
        if !of_it {
            return Heard::Noise;
        }
        let code = answer[3] & CODE;
        let same = answer[4..6] == [0, 1]
            && answer
                .get(HEADER..question.head)
                .is_some_and(|theirs| theirs.eq_ignore_ascii_case(&asked[HEADER..]));
        // Who cannot read a question may leave it out of the complaint.
        let complaint = answer[4..6] == [0, 0] && code != 0;
        if !same && !complaint {
            return Heard::Noise;
        }
        self.answered(question);
        if same {
            // The client's own letters, as it may look at their case.
            answer[HEADER..question.head].copy_from_slice(&asked[HEADER..]);
            answer[..2].copy_from_slice(&asked[..2]);
            if code != SERVFAIL && code != REFUSED {
                return Heard::Answer(answer);
            }
            question.poor.get_or_insert(answer);
        }
        question.tried.extend(question.tried.last().copied());
        Heard::Next
    }

    fn answered(&mut self, question: &Question<C>) {
        if let Some(upstream) = self.asked_last(question) {
            upstream.for_all = Record::default();
            upstream.for_one.clear();
        }
    }

    /// The resolver that was asked last cannot be reached, or did not answer in time.
    pub fn failed(&mut self, now: Now, question: &Question<C>) {
        if let Some(upstream) = self.asked_last(question) {
            upstream.for_all.fail(now);
            upstream.for_one.entry(question.client.clone()).or_default().fail(now);
        }
    }

    fn asked_last(&mut self, question: &Question<C>) -> Option<&mut Upstream<C>> {
        let last = question.tried.last()?;
        self.upstreams.iter_mut().find(|upstream| upstream.address == *last)
    }
}

impl<C: Clone + Ord> Default for Forwarder<C> {
    fn default() -> Forwarder<C> {
        Forwarder::new()
    }
}

impl<C> Question<C> {
    /// What the client is told when nobody is left to ask: what a resolver said that
    /// could not do it, or SERVFAIL.
    pub fn give_up(&mut self) -> Vec<u8> {
        self.poor.take().unwrap_or_else(|| servfail(&self.message))
    }
}

/// Where a resolver of this address listens.
pub fn at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, PORT)
}

/// How long the header and the one question are together, which is not compressed.
fn head_of(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    let end = at + 1 + 4;
    (end <= message.len()).then_some(end)
}

/// Empty for what is no question.
fn servfail(message: &[u8]) -> Vec<u8> {
    Request::read(message).map(|r| r.refuse(ResponseCode::ServFail)).unwrap_or_default()
}
