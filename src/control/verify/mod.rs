//! `vxmesh network verify`: whether an encrypted network is one, by what crosses the
//! underlay and what becomes of what an attacker there could send.
//!
//! Marked frames go to another host's router and come back, as all frames of the
//! network do. Meanwhile a packet socket listens. Then the datagrams that it has heard
//! are sent once more, forged, and the frames in clear, in both directions; none may
//! get through. What this host drops is in its counters; that the other host
//! drops it shows in that nothing comes back.

mod capture;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;

use self::capture::Capture;
use super::cluster;
use super::error::{Error, failed};
use super::state::Control;
use crate::api::{Check, PeerVerification, Verification};
use crate::core::drops::Reason;
use crate::wire::mac::Mac;
use crate::wire::verify::{self, Kind};
use crate::wire::{sealed, vxlan};

/// Frames that are sent to each host.
const FRAMES: usize = 16;
/// Bytes by which one frame is known.
const MARK: usize = 32;
/// Bytes behind the mark, at most: a length by chance, so that a datagram of ours is
/// known by it.
const FILL: usize = 512;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl Control {
    /// Verifies an encrypted network with each host, or one, that has endpoints on it.
    pub fn verify(&self, reference: &str, node: Option<&str>) -> Result<Verification, Error> {
        let (network, peers) = self.to_verify(reference, node)?;
        let _alone = self.verifying.lock();
        let mut verification = Verification { network, passed: true, peers: Vec::new() };
        for (name, subject) in peers {
            let checks = self.own.run(|| self.examine(&subject))?;
            verification.passed &= checks.iter().all(|check| check.passed);
            verification.peers.push(PeerVerification { node: name, vtep: subject.to, checks });
        }
        Ok(verification)
    }

    /// The network's name, and the hosts to verify it with.
    fn to_verify(
        &self,
        reference: &str,
        node: Option<&str>,
    ) -> Result<(String, Vec<(String, Subject)>), Error> {
        let state = self.lock();
        let network = state.tables.network(reference)?;
        let name = network.name.clone();
        if !network.encrypted() {
            return Err(Error::conflict(format!(
                "network {name} is not encrypted: there is nothing to verify; create one with --opt encrypted"
            )));
        }
        let plan = self.plan.load();
        let Some(planned) = plan.network(network.vni) else {
            return Err(Error::conflict(format!(
                "network {name} has no endpoint on this host: verify it from a host that has one"
            )));
        };
        let only = node.map(|node| cluster::verbs::find_node(&state, node)).transpose()?;
        let members = state.cluster.machine.replica().members();
        let peers: Vec<(String, Subject)> = members
            .filter(|(id, _)| only.is_none_or(|only| only == *id))
            .filter_map(|(id, _)| {
                let vtep = state.cluster.machine.replica().node(&id)?.vtep;
                let subject = Subject { to: vtep, vni: network.vni, router: planned.router_mac };
                planned.is_member(vtep).then(|| (state.cluster.machine.name_of(&id), subject))
            })
            .collect();
        if peers.is_empty() {
            return Err(Error::conflict(format!(
                "network {name} has no endpoint on {}: attach one there first",
                node.unwrap_or("another host that is up")
            )));
        }
        Ok((name, peers))
    }

    /// All checks with one host, in the daemon's namespace.
    fn examine(&self, subject: &Subject) -> Result<Vec<Check>, Error> {
        let here = SocketAddr::new(self.underlay.vtep, self.options.data_port);
        let there = SocketAddr::new(subject.to, self.options.data_port);
        let marks = Marks::new()?;
        let known = marks.clone();
        let capture = Capture::start(here, there, move |bytes| known.concerns(bytes))
            .map_err(failed("the underlay cannot be listened to (is CAP_NET_RAW missing?)"))?;
        let socket = UdpSocket::bind((self.underlay.vtep, 0))
            .map_err(failed("there is no socket to play an attacker with"))?;
        let heard = self.dataplane.hear();
        let mut trial = Trial { control: self, subject, heard, socket, fences: BTreeSet::new() };

        let answered = trial.ask(&marks.frames(subject.router));
        let seen = capture.finish().map_err(failed("listening to the underlay failed"))?;
        let sealed = |inbound| -> Vec<Vec<u8>> {
            let of = seen.iter().filter(|heard| heard.inbound == inbound);
            of.flat_map(|heard| marks.datagrams(&heard.bytes)).collect()
        };
        let (out, back) = (sealed(false), sealed(true));
        let clear = seen.iter().filter(|heard| marks.shows(&heard.bytes)).count();
        // What was asked twice is answered twice, and looks like a replay that got through.
        trial.fence()?;
        let all = |n: usize| n >= FRAMES;
        Ok(vec![
            check(
                "frames go and come back",
                answered == FRAMES,
                format!("{answered} of {FRAMES} came back"),
            ),
            check(
                "the underlay shows no clear byte",
                clear == 0 && all(out.len()) && all(back.len()),
                format!(
                    "{} datagrams sent and {} received, sealed; {clear} with a frame in clear",
                    out.len(),
                    back.len()
                ),
            ),
            trial.refused_here("replays are refused here", here, &back, Reason::SealedReplay)?,
            trial.refused_here(
                "forgeries are refused here",
                here,
                &forged(&back)?,
                Reason::SealedForged,
            )?,
            trial.refused_there("replays are refused there", there, &out)?,
            trial.refused_there("forgeries are refused there", there, &forged(&out)?)?,
            trial.refused_there("clear frames are refused there", there, &marks.clear(subject))?,
        ])
    }
}

/// A host, and the network that it is asked about.
struct Subject {
    to: IpAddr,
    vni: vxlan::Vni,
    router: Mac,
}

fn check(name: &str, passed: bool, found: String) -> Check {
    Check { name: name.to_owned(), passed, found }
}

/// The marks of one trial.
#[derive(Clone)]
struct Marks {
    marks: Vec<Vec<u8>>,
}

impl Marks {
    fn new() -> Result<Marks, Error> {
        let fill = usize::from(u16::from_ne_bytes(random()?)) % FILL;
        let mark = || -> Result<Vec<u8>, Error> {
            let mark: [u8; MARK] = random()?;
            Ok(mark.into_iter().cycle().take(MARK + fill).collect())
        };
        Ok(Marks { marks: (0..FRAMES).map(|_| mark()).collect::<Result<_, _>>()? })
    }

    fn frames(&self, router: Mac) -> Vec<Vec<u8>> {
        self.marks.iter().map(|mark| verify::frame(router, Kind::Ask, mark)).collect()
    }

    /// The frames as plain VXLAN.
    fn clear(&self, subject: &Subject) -> Vec<Vec<u8>> {
        let frames = self.frames(subject.router);
        frames.iter().map(|frame| [&vxlan::header(subject.vni)[..], frame].concat()).collect()
    }

    /// How long a sealed datagram with such a frame is.
    fn sealed_len(&self) -> usize {
        let mark = self.marks.first().map_or(0, Vec::len);
        sealed::HEADROOM + verify::HEADER + mark + sealed::TAG
    }

    /// Whether bytes from the underlay are of this trial.
    fn concerns(&self, bytes: &[u8]) -> bool {
        self.shows(bytes) || !self.datagrams(bytes).is_empty()
    }

    /// Whether a mark can be read in them.
    fn shows(&self, bytes: &[u8]) -> bool {
        let found = |mark: &Vec<u8>| bytes.windows(MARK).any(|window| *window == mark[..MARK]);
        self.marks.iter().any(found)
    }

    /// The sealed datagrams of such frames, which the kernel may have joined.
    fn datagrams(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let len = self.sealed_len();
        if !bytes.len().is_multiple_of(len) {
            return Vec::new();
        }
        let datagrams = bytes.chunks(len);
        datagrams.filter(|d| d.first() == Some(&sealed::DATA)).map(<[u8]>::to_vec).collect()
    }
}

/// Datagrams with one bit of what is sealed turned round, and a counter far ahead: what
/// has a known one would be dropped before it is looked at.
fn forged(datagrams: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    let forge = |datagram: &Vec<u8>| {
        let mut datagram = datagram.clone();
        let at = u32::from_ne_bytes(random()?) as usize;
        let text = sealed::HEADER..datagram.len();
        datagram[text.start + at / 8 % text.len()] ^= 1 << (at % 8);
        datagram[sealed::HEADER - 8] ^= 0x40;
        Ok(datagram)
    };
    datagrams.iter().map(forge).collect()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(failed("the system has no random bytes"))?;
    Ok(bytes)
}

/// Playing the attacker on the underlay.
struct Trial<'a> {
    control: &'a Control,
    subject: &'a Subject,
    heard: Receiver<Vec<u8>>,
    socket: UdpSocket,
    /// Marks of the frames that were sent as fences: their answers may come late, and
    /// twice.
    fences: BTreeSet<Vec<u8>>,
}

impl Trial<'_> {
    /// Sends frames over the network; how many have come back. What was lost on the way
    /// is sent again.
    fn ask(&mut self, frames: &[Vec<u8>]) -> usize {
        let mut missing: BTreeSet<Vec<u8>> = frames.iter().map(|f| mark_of(f)).collect();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() && Instant::now() < deadline {
            for frame in frames.iter().filter(|frame| missing.contains(&mark_of(frame))) {
                let Subject { to, vni, .. } = *self.subject;
                self.control.dataplane.send(to, vni, frame.clone());
            }
            let again = Instant::now() + PATIENCE / 4;
            while let Ok(frame) = self.heard.recv_deadline(again) {
                missing.remove(&mark_of(&frame));
                if missing.is_empty() {
                    break;
                }
            }
        }
        frames.len() - missing.len()
    }

    /// Sends datagrams to this host, which must drop them for one reason.
    fn refused_here(
        &self,
        name: &str,
        here: SocketAddr,
        datagrams: &[Vec<u8>],
        reason: Reason,
    ) -> Result<Check, Error> {
        let dropped = || self.control.dataplane.counters().drops(reason);
        let before = dropped();
        self.heard.try_iter().for_each(drop);
        self.play(here, datagrams)?;
        let wanted = datagrams.len() as u64;
        let deadline = Instant::now() + PATIENCE;
        // The counters cannot be waited for.
        while dropped() - before < wanted && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (now, heard) = (dropped() - before, self.got_through());
        let found = match now {
            0 => format!("{wanted} sent, and none arrived: is the loopback interface up?"),
            _ => format!("{wanted} sent, {now} dropped as {}, {heard} got through", reason.name()),
        };
        Ok(check(name, wanted > 0 && now >= wanted && heard == 0, found))
    }

    /// Sends datagrams to the other host, and a fence behind them.
    fn refused_there(
        &mut self,
        name: &str,
        there: SocketAddr,
        datagrams: &[Vec<u8>],
    ) -> Result<Check, Error> {
        self.heard.try_iter().for_each(drop);
        self.play(there, datagrams)?;
        let (alive, heard) = self.fence()?;
        let sent = datagrams.len();
        let found = match alive {
            true => format!("{sent} sent, {heard} got through"),
            false => format!("{sent} sent, and then the other host did not answer any more"),
        };
        Ok(check(name, sent > 0 && alive && heard == 0, found))
    }

    /// Sends a frame of the network until it comes back, which it does after all that was
    /// caused before it was sent. Whether it did, and how much else came.
    fn fence(&mut self) -> Result<(bool, usize), Error> {
        let fence = Marks::new()?.frames(self.subject.router).swap_remove(0);
        let mark = mark_of(&fence);
        self.fences.insert(mark.clone());
        let mut heard = 0;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Subject { to, vni, .. } = *self.subject;
            self.control.dataplane.send(to, vni, fence.clone());
            while let Ok(frame) = self.heard.recv_timeout(PATIENCE / 4) {
                let answered = mark_of(&frame);
                if answered == mark {
                    return Ok((true, heard));
                }
                heard += usize::from(!self.fences.contains(&answered));
            }
        }
        Ok((false, heard))
    }

    /// How much has come that is no fence.
    fn got_through(&self) -> usize {
        self.heard.try_iter().filter(|frame| !self.fences.contains(&mark_of(frame))).count()
    }

    fn play(&self, to: SocketAddr, datagrams: &[Vec<u8>]) -> Result<(), Error> {
        let sent: io::Result<Vec<usize>> =
            datagrams.iter().map(|datagram| self.socket.send_to(datagram, to)).collect();
        sent.map_err(failed(format!("datagrams cannot be sent to {to}"))).map(drop)
    }
}

/// What tells one frame from another, asked or answered.
fn mark_of(frame: &[u8]) -> Vec<u8> {
    frame.get(verify::HEADER..).unwrap_or_default().to_vec()
}
