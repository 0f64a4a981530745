//! The sessions with one host, and when there is a new one.
//!
//! There are three kinds of sessions:
//!
//! * *current*: sealed with;
//! * *others*, a few, only opened with: those from before, for what is on its way, and
//!   those of the peer's making. One of the latter becomes current when a datagram came
//!   under it, since before that the peer may not have it;
//! * *pending*: an initiation of this host that waits for its response.
//!
//! Two handshakes can cross each other, and then both hosts have two sessions. The host
//! with the lower public key keeps to that of its own making. The other follows: it
//! seals with what it is sealed for with.
//!
//! The times are WireGuard's (section 6 of its paper), but that sessions are made
//! and kept without traffic too.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::gate::{COOKIE_TIME, Cookie};
use super::noise::{Initiator, MAC, Stamp};
use super::session::Session;
use super::trouble::Trouble;
use super::{Peer, Route};
use crate::core::Now;
use crate::core::drops::Reason;
use crate::wire::sealed::Header;
use crate::wire::vxlan::Vni;

/// An unanswered initiation is repeated after this time, and then after twice as long each
/// time, until that is sixteen times as long.
const RETRY: Now = Duration::from_secs(1);
/// Who has begun a session and heard nothing under it repeats its sign of life after this
/// time, and then each time that the session is twice as old; after [`PAUSE`] it begins
/// anew, since the peer may have forgotten everything right after its response.
const REPEAT: Now = Duration::from_secs(1);
/// How long a session of the peer's making may take to be used, until one begins oneself.
const CONFIRM: Now = Duration::from_secs(3);
/// Between two initiations that something else than this host's clock gave rise to.
const PAUSE: Now = Duration::from_secs(5);
/// Who has received and has nothing to send gives a sign of life after this time.
const KEEPALIVE: Now = Duration::from_secs(10);
/// Who has sent and heard nothing for this time begins anew.
const DEAF: Now = Duration::from_secs(15);
/// Signs of life through a translator of addresses, which forgets what is silent: whatever
/// else is sent, since that may come from other ports than the one that is to be kept open.
const TRANSLATED: Now = Duration::from_secs(25);
/// Sessions that are only opened with. As a rule there is one; the room is for
/// initiations that come several times because the responses are lost.
const OTHERS: usize = 4;
/// Responses to one initiation that are looked at.
pub(super) const ANSWERS: u32 = 4;

/// An initiation that waits for its response.
pub(super) struct Pending {
    pub(super) initiator: Initiator,
    /// This host's number for the session that is to be.
    pub(super) index: u32,
    /// The number of the ring key that it was made with.
    pub(super) ring: u32,
    pub(super) mac1: [u8; MAC],
    pub(super) sent: Now,
    /// Responses that were not authentic.
    pub(super) forged: u32,
}

/// What was done since the first session of an unbroken row.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) since: Now,
    pub(super) handshakes: u64,
}

/// One other host.
pub(super) struct Link {
    pub(super) peer: Peer,
    /// Where its VTEP is.
    pub(super) home: SocketAddr,
    /// Where it was heard last.
    pub(super) route: SocketAddr,
    /// Its public key is higher than this host's.
    higher: bool,
    /// The newest initiation of it, and when it came.
    pub(super) stamp: Option<(Stamp, Now)>,
    pub(super) pending: Option<Pending>,
    pub(super) current: Option<Session>,
    /// The newest in front.
    others: Vec<Session>,
    /// When a handshake is to begin.
    begin_at: Option<Now>,
    /// When the last one began.
    begun: Option<Now>,
    /// Initiations since the last session.
    pub(super) attempts: u32,
    keepalive_at: Option<Now>,
    repeat_at: Option<Now>,
    deaf_at: Option<Now>,
    alive_at: Option<Now>,
    /// From where it was heard beside its route, and what was sent there is unanswered.
    probed: Option<IpAddr>,
    cookie: Option<(Cookie, Now)>,
    pub(super) row: Option<Row>,
    /// Why the last handshake came to nothing, and when that was.
    pub(super) trouble: Option<(Trouble, Now)>,
    /// Another member claims its VTEP or its key.
    pub(super) contested: bool,
    pub(super) sealed: u64,
    pub(super) opened: u64,
    pub(super) drops: BTreeMap<&'static str, u64>,
    /// Numbers of sessions that are no more.
    pub(super) retired: Vec<u32>,
}

impl Link {
    /// `own` is this host's public key.
    pub(super) fn new(peer: Peer, home: SocketAddr, own: &[u8; 32]) -> Link {
        Link {
            home,
            route: home,
            higher: peer.public > *own,
            peer: Peer { wanted: false, ..peer },
            stamp: None,
            pending: None,
            current: None,
            others: Vec::new(),
            begin_at: None,
            begun: None,
            attempts: 0,
            keepalive_at: None,
            repeat_at: None,
            deaf_at: None,
            alive_at: None,
            probed: None,
            cookie: None,
            row: None,
            trouble: None,
            contested: false,
            sealed: 0,
            opened: 0,
            drops: BTreeMap::new(),
            retired: Vec::new(),
        }
    }

    /// Follows the tables. `delay` is random: the host with the higher public key waits so
    /// long for the other to begin.
    pub(super) fn follow(&mut self, now: Now, peer: Peer, home: SocketAddr, delay: Now) {
        let moved = home != self.home;
        if moved {
            if self.route == self.home {
                self.route = home;
            }
            self.home = home;
        }
        let wanted = peer.wanted;
        self.peer = peer;
        if !wanted {
            self.begin_at = None;
            self.pending.take().into_iter().for_each(|pending| self.retired.push(pending.index));
        } else if moved || self.begin_at.is_none() {
            let delay = if self.higher { Now::ZERO } else { delay };
            self.begin_at = Some(match &self.current {
                Some(session) if !moved => session.rekey_at(),
                _ => now + delay,
            });
        }
    }

    /// Handshakes are made with this ring key from now on.
    pub(super) fn use_ring(&mut self, now: Now, ring: u32) {
        if let Some(session) = self.current.as_ref().filter(|session| session.terms.ring != ring)
            && self.peer.wanted
        {
            let renew = session.renew_at(now);
            self.begin_at = Some(self.begin_at.map_or(renew, |at| at.min(renew)));
        }
    }

    /// Another member claims its VTEP or its key, or does not: if it does, everything ends.
    pub(super) fn contest(&mut self, contested: bool) {
        self.contested = contested;
        if contested {
            self.peer.wanted = false;
            (self.pending, self.current, self.row) = (None, None, None);
            self.others.clear();
            self.begin_at = None;
            self.still();
        }
    }

    /// The numbers that this host has given for it.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> {
        let sessions = self.current.iter().chain(&self.others);
        sessions.map(|session| session.terms.index).chain(self.pending.iter().map(|p| p.index))
    }

    /// Where it is sent to.
    pub(super) fn route(&self) -> Route {
        Route { to: self.route, translated: self.route != self.home }
    }

    /// Where the next initiation goes: to where the peer was heard, and every other
    /// time to its VTEP, where it may be back.
    pub(super) fn target(&self) -> SocketAddr {
        if self.attempts.is_multiple_of(2) { self.route } else { self.home }
    }

    /// When [`Link::tick`] is next to be called.
    pub(super) fn due(&self) -> Option<Now> {
        let sessions = self.current.iter().chain(&self.others);
        let ends = sessions.map(Session::end).min();
        let lives = [self.keepalive_at, self.repeat_at, self.alive_at];
        lives.into_iter().chain([self.begin_at, self.deaf_at, ends]).flatten().min()
    }

    /// Whether a handshake is to begin.
    pub(super) fn begins(&self, now: Now) -> bool {
        self.begin_at.is_some_and(|at| at <= now)
    }

    /// Ends what is over. Returns a sign of life if one is due.
    pub(super) fn tick(&mut self, now: Now) -> Option<Vec<u8>> {
        self.expire(now);
        if self.deaf_at.is_some_and(|at| at <= now) {
            self.deaf_at = None;
            self.hurry(now);
        }
        let due = |timer: Option<Now>| timer.is_some_and(|at| at <= now);
        if due(self.repeat_at) {
            let age = self.current.as_ref().map_or(PAUSE, |session| session.age(now));
            if age >= PAUSE {
                self.repeat_at = None;
                self.hurry(now);
            } else {
                self.repeat_at = Some(now + age.max(REPEAT));
                return self.sign_of_life(now);
            }
        }
        if due(self.keepalive_at) || due(self.alive_at) {
            return self.sign_of_life(now);
        }
        None
    }

    /// Whether there may be a handshake that something else than the clock gives rise to.
    fn is_rested(&self, now: Now) -> bool {
        self.begun.is_none_or(|begun| begun + PAUSE <= now)
    }

    /// Begins a handshake, if it is not too soon after the last.
    fn hurry(&mut self, now: Now) {
        if self.peer.wanted && self.is_rested(now) {
            self.begin_at = Some(now);
        }
    }

    /// Whether an initiation that is not new should be answered with one of this host:
    /// not if it may just have been delayed or doubled on its way.
    pub(super) fn is_stale(&self, now: Now) -> bool {
        let settled = self.stamp.is_some_and(|(_, at)| at + PAUSE <= now);
        let known = self.peer.wanted || self.current.is_some();
        settled && known && self.is_rested(now)
    }

    /// An initiation was sent, or could not be made; when it is next tried is noted.
    pub(super) fn begun(&mut self, now: Now, pending: Option<Pending>) {
        let jitter = pending.as_ref().map_or(0, |pending| pending.index % 256);
        let wait = RETRY * (1 << self.attempts.min(4));
        self.attempts = self.attempts.saturating_add(1);
        self.begun = Some(now);
        self.begin_at = self.peer.wanted.then(|| now + wait + Duration::from_millis(jitter.into()));
        let before = std::mem::replace(&mut self.pending, pending);
        self.retired.extend(before.map(|pending| pending.index));
    }

    /// Takes a cookie for what is sent from now on, and soon.
    pub(super) fn take_cookie(&mut self, now: Now, cookie: Cookie) {
        self.cookie = Some((cookie, now));
        self.begin_at = self.begin_at.map(|at| at.min(now + RETRY));
    }

    /// The cookie to sign with.
    pub(super) fn cookie(&self, now: Now) -> Option<&Cookie> {
        let good = |(_, at): &&(Cookie, Now)| now < *at + COOKIE_TIME;
        self.cookie.as_ref().filter(good).map(|(cookie, _)| cookie)
    }

    /// A session of this host's making; returns the sign of life by which the peer
    /// learns of it.
    pub(super) fn initiated(&mut self, now: Now, session: Session) -> Option<Vec<u8>> {
        let yields = |current: &Session| !self.higher && session.crosses(current);
        if self.current.as_ref().is_some_and(yields) {
            self.keep(session);
            return None;
        }
        self.establish(now, session);
        self.repeat_at = Some(now + REPEAT);
        self.sign_of_life(now)
    }

    /// A session of the peer's making. It has a while to use it; then there is another
    /// try, and a peer that is heard is not tried more and more seldom.
    pub(super) fn responded(&mut self, now: Now, session: Session) {
        self.attempts = 0;
        self.begin_at = self.begin_at.map(|at| match self.current {
            Some(_) => at.max(now + CONFIRM),
            None => now + CONFIRM,
        });
        self.keep(session);
    }

    /// Seals a datagram.
    pub(super) fn seal(
        &mut self,
        now: Now,
        vni: Vni,
        datagram: &mut [u8],
    ) -> Result<Route, Reason> {
        let session = self.current.as_mut().ok_or(Reason::NoSession)?;
        if now >= session.end() {
            return Err(Reason::NoSession);
        }
        session.sender.seal(vni, datagram).map_err(|reason| match reason {
            Reason::SealedExpired => Reason::NoSession,
            reason => reason,
        })?;
        if session.sender.is_worn() {
            self.hurry(now);
        }
        self.sealed += 1;
        self.keepalive_at = None;
        self.deaf_at.get_or_insert(now + DEAF);
        Ok(self.route())
    }

    /// Opens a datagram under one of its sessions; says too if a handshake should go to
    /// where it came from.
    pub(super) fn open(
        &mut self,
        now: Now,
        source: SocketAddr,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<(Option<Vni>, Option<SocketAddr>), Reason> {
        let session = self
            .current
            .iter_mut()
            .chain(&mut self.others)
            .find(|session| session.terms.index == header.index)
            .ok_or(Reason::SealedUnknownKey)?;
        if now >= session.end() {
            return Err(Reason::SealedExpired);
        }
        let vni = session.receiver.open(header, datagram)?;
        self.opened += 1;
        self.deaf_at = None;
        if vni.is_some() {
            self.keepalive_at.get_or_insert(now + KEEPALIVE);
        }
        let taken = self.prefer(now, header.index);
        let current = self.current.as_ref().filter(|session| session.terms.index == header.index);
        let Some(current) = current else { return Ok((vni, None)) };
        let young = !current.terms.ours && current.age(now) < KEEPALIVE;
        self.repeat_at = None;
        if young && (vni.is_none() || taken) {
            // Whoever has begun repeats its sign of life until it is answered.
            self.keepalive_at = Some(now);
        }
        Ok((vni, self.elsewhere(now, source.ip())))
    }

    /// Where the peer is to be asked, once, if it was heard from another address than its
    /// route's. From which port it sends frames says nothing.
    fn elsewhere(&mut self, now: Now, source: IpAddr) -> Option<SocketAddr> {
        let elsewhere = source != self.route.ip() && self.probed != Some(source);
        if !elsewhere || !self.is_rested(now) {
            return None;
        }
        self.probed = Some(source);
        Some(SocketAddr::new(source, self.home.port()))
    }

    /// Takes a session that a datagram came under for the current one, if it is to be
    /// preferred.
    fn prefer(&mut self, now: Now, index: u32) -> bool {
        let Some(at) = self.others.iter().position(|other| other.terms.index == index) else {
            return false;
        };
        let other = &self.others[at];
        let preferred = self.current.as_ref().is_none_or(|current| match other.crosses(current) {
            true => !self.higher || other.terms.ours,
            false => other.terms.made >= current.terms.made,
        });
        if preferred {
            let session = self.others.remove(at);
            self.establish(now, session);
        }
        preferred
    }

    /// Takes a session for the current one.
    fn establish(&mut self, now: Now, session: Session) {
        self.trouble = None;
        if session.terms.route != self.route {
            (self.route, self.probed) = (session.terms.route, None);
        }
        let row = self.row.filter(|_| self.current.as_ref().is_some_and(|old| now < old.end()));
        let Row { since, handshakes } = row.unwrap_or(Row { since: now, handshakes: 0 });
        self.row = Some(Row { since, handshakes: handshakes + 1 });
        self.forget_pending();
        self.attempts = 0;
        self.begin_at = self.peer.wanted.then(|| session.rekey_at());
        let through = session.terms.translated || self.route().translated;
        self.alive_at = through.then_some(now + TRANSLATED);
        (self.deaf_at, self.repeat_at) = (None, None);
        if let Some(before) = self.current.replace(session) {
            self.keep(before);
        }
    }

    /// No more signs of life.
    fn still(&mut self) {
        (self.keepalive_at, self.repeat_at, self.alive_at) = (None, None, None);
        self.deaf_at = None;
    }

    /// Keeps a session to open with.
    fn keep(&mut self, session: Session) {
        self.others.insert(0, session);
        let room = OTHERS.min(self.others.len());
        self.retired.extend(self.others.drain(room..).map(|other| other.terms.index));
    }

    fn forget_pending(&mut self) {
        self.retired.extend(self.pending.take().map(|pending| pending.index));
    }

    /// Ends what is over.
    fn expire(&mut self, now: Now) {
        let over = |session: &mut Session| session.end() <= now;
        if let Some(session) = self.current.take_if(over) {
            self.retired.push(session.terms.index);
            self.still();
            self.row = None;
            self.hurry(now);
        }
        self.retired.extend(self.others.extract_if(.., over).map(|other| other.terms.index));
    }

    fn sign_of_life(&mut self, now: Now) -> Option<Vec<u8>> {
        self.keepalive_at = None;
        if self.alive_at.is_some() {
            self.alive_at = Some(now + TRANSLATED);
        }
        let datagram = self.current.as_mut()?.sender.sign_of_life().ok()?;
        self.sealed += 1;
        Some(datagram)
    }
}
