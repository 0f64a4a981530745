//! What comes of a handshake's message.

use std::net::SocketAddr;

use super::Seal;
use super::gate::Verdict;
use super::noise::{
    Hello, INITIATION, Initiator, MAC, Message, NONCE, RESPONSE, Reply, Responder, SEALED, Stamp,
    choose,
};
use super::peer::{ANSWERS, Pending};
use super::session::{Session, Terms};
use super::trouble::Trouble;
use crate::core::Now;
use crate::core::drops::Reason;

/// Why a message is dropped, and whose it is, if that is known.
type Refusal = (Reason, Option<usize>);

/// Where mac1 is.
const INITIATION_MAC1: usize = INITIATION - 2 * MAC;
const RESPONSE_MAC1: usize = RESPONSE - MAC;

impl Seal {
    /// Takes a handshake's message; what follows from it is in [`Seal::output`].
    ///
    /// # Errors
    /// The reason why it is dropped. With [`Reason::HandshakeFlood`] and
    /// [`Reason::HandshakeCipher`] there may be an answer nevertheless.
    pub fn handshake(
        &mut self,
        now: Now,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Reason> {
        let taken = match Message::parse(datagram) {
            None => Err((Reason::SealedMalformed, None)),
            Some(Message::Initiation { ring, index, noise }) => {
                self.initiation(now, source, (ring, index, noise), datagram)
            }
            Some(Message::Response { receiver, index, noise }) => {
                self.response(now, source, (receiver, index, noise), datagram)
            }
            Some(Message::Cookie { receiver, nonce, sealed }) => {
                self.cookie(now, receiver, (nonce, sealed))
            }
        };
        taken.map_err(|(reason, whose)| self.refuse(source, whose, reason))
    }

    fn initiation(
        &mut self,
        now: Now,
        source: SocketAddr,
        (ring, index, noise): (u32, u32, &[u8]),
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        let forged = (Reason::HandshakeForged, None);
        let shared = self.shared.as_ref().ok_or(forged)?;
        let Some(key) = shared.keys.get(&ring) else {
            self.suspect(now, source, Trouble::UnknownKey(ring));
            return Err(forged);
        };
        if !key.verify(&shared.pair.public, datagram, INITIATION_MAC1) {
            return Err(forged);
        }
        if self.gate.is_old(now) {
            self.gate.renew(now, self.seeds.draw());
        }
        match self.gate.admit(now, source, key, datagram, &self.seeds.draw()) {
            Verdict::Admit => {}
            Verdict::Refuse => return Err((Reason::HandshakeFlood, None)),
            Verdict::Prove(cookie) => {
                self.send(source, cookie);
                return Err((Reason::HandshakeFlood, None));
            }
        }
        self.exchanges += 1;
        let seed = self.seeds.draw();
        let responder = Responder::read(&shared.pair, &key.psk, &seed, noise).ok_or(forged)?;
        let Some(at) = self.by_public.get(&responder.peer).copied() else {
            self.suspect(now, source, Trouble::Identity);
            return Err((Reason::HandshakeStranger, None));
        };
        self.meet(now, at, source, responder.hello.stamp)?;
        self.answer(now, at, source, (ring, index), responder)
    }

    /// Whether an authentic initiation of a peer is new.
    fn meet(
        &mut self,
        now: Now,
        at: usize,
        source: SocketAddr,
        stamp: Stamp,
    ) -> Result<(), Refusal> {
        let link = &mut self.links[at];
        if link.contested {
            return Err((Reason::HandshakeStranger, Some(at)));
        }
        if link.stamp.is_none_or(|(newest, _)| newest < stamp) {
            link.stamp = Some((stamp, now));
            return Ok(());
        }
        // Played back, or of a host that was set back to an earlier state and counts
        // again what it has counted before. It would take it an answer to an initiation
        // of ours to show that it is alive.
        if link.is_stale(now) {
            self.begin(now, at, Some(source));
        }
        Err((Reason::HandshakeReplay, Some(at)))
    }

    fn answer(
        &mut self,
        now: Now,
        at: usize,
        source: SocketAddr,
        (ring, theirs): (u32, u32),
        responder: Responder,
    ) -> Result<(), Refusal> {
        let forged = (Reason::HandshakeForged, Some(at));
        let offered = responder.hello.suites.clone();
        let suite = choose(&self.offer.suites, &offered);
        let translated = source != self.links[at].home;
        let reply = Reply { suite, translated, suites: self.offer.suites.clone() };
        let index = self.number();
        self.exchanges += 1;
        let peer = responder.peer;
        let (mut message, split) = responder.answer(theirs, index, &reply).ok_or(forged)?;
        let key = self.shared.as_ref().and_then(|shared| shared.keys.get(&ring)).ok_or(forged)?;
        key.sign(&peer, &mut message, RESPONSE_MAC1);
        self.send(source, message);
        let terms = Terms {
            index,
            theirs,
            ring,
            ours: false,
            began: now,
            made: now,
            route: source,
            translated: false,
        };
        let session = suite.and_then(|suite| Session::new(&self.kind, suite, terms, &split));
        let link = &mut self.links[at];
        let Some(session) = session else {
            link.trouble = Some((Trouble::Cipher(offered), now));
            return Err((Reason::HandshakeCipher, Some(at)));
        };
        link.responded(now, session);
        self.by_index.insert(index, at);
        self.settle(at);
        Ok(())
    }

    fn response(
        &mut self,
        now: Now,
        source: SocketAddr,
        (receiver, theirs, noise): (u32, u32, &[u8]),
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        let unasked = (Reason::HandshakeReplay, None);
        let at = *self.by_index.get(&receiver).ok_or(unasked)?;
        let link = &mut self.links[at];
        let pending = link.pending.as_mut().filter(|pending| pending.index == receiver);
        let pending = pending.ok_or(unasked)?;
        let forged = (Reason::HandshakeForged, Some(at));
        let shared = self.shared.as_ref().ok_or(forged)?;
        let key = shared.keys.get(&pending.ring).ok_or(forged)?;
        if !key.verify(&shared.pair.public, datagram, RESPONSE_MAC1) {
            return Err(forged);
        }
        if pending.forged >= ANSWERS {
            return Err((Reason::HandshakeFlood, Some(at)));
        }
        self.exchanges += 1;
        let Some((reply, split)) = pending.initiator.read(noise) else {
            pending.forged += 1;
            link.trouble = Some((Trouble::Identity, now));
            return Err(forged);
        };
        let terms = Terms {
            index: receiver,
            theirs,
            ring: pending.ring,
            ours: true,
            began: pending.sent,
            made: now,
            route: source,
            translated: reply.translated,
        };
        link.pending = None;
        let suite = reply.suite.filter(|suite| self.offer.suites.contains(suite));
        let session = suite.and_then(|suite| Session::new(&self.kind, suite, terms, &split));
        let Some(session) = session else {
            link.trouble = Some((Trouble::Cipher(reply.suites), now));
            self.by_index.remove(&receiver);
            return Err((Reason::HandshakeCipher, Some(at)));
        };
        let sign = link.initiated(now, session);
        let to = link.route;
        if let Some(bytes) = sign {
            self.send(to, bytes);
        }
        self.settle(at);
        Ok(())
    }

    fn cookie(
        &mut self,
        now: Now,
        receiver: u32,
        (nonce, sealed): (&[u8; NONCE], &[u8; SEALED]),
    ) -> Result<(), Refusal> {
        let unasked = (Reason::HandshakeReplay, None);
        let at = *self.by_index.get(&receiver).ok_or(unasked)?;
        let link = &mut self.links[at];
        let pending = link.pending.as_ref().filter(|pending| pending.index == receiver);
        let pending = pending.ok_or(unasked)?;
        let key = self.shared.as_ref().and_then(|shared| shared.keys.get(&pending.ring));
        let cookie = key.and_then(|key| key.open(nonce, &pending.mac1, sealed));
        link.take_cookie(now, cookie.ok_or((Reason::HandshakeForged, Some(at)))?);
        self.settle(at);
        Ok(())
    }

    /// Begins a handshake with a peer, where it is known to be or at another address.
    pub(super) fn begin(&mut self, now: Now, at: usize, to: Option<SocketAddr>) {
        let (seed, index) = (self.seeds.draw(), self.number());
        let Some(shared) = &self.shared else { return };
        let link = &mut self.links[at];
        let to = to.unwrap_or_else(|| link.target());
        let pending = shared.keys.get(&shared.primary).ok_or(Trouble::NoKey(shared.primary));
        let pending = pending.and_then(|key| {
            self.count += 1;
            self.exchanges += 1;
            let stamp = Stamp { generation: self.generation, count: self.count };
            let hello = Hello { stamp, suites: self.offer.suites.clone() };
            let (pair, peer) = (&shared.pair, &link.peer.public);
            let numbers = (shared.primary, index);
            let made = Initiator::new(pair, peer, &key.psk, &seed, numbers, &hello);
            let (initiator, mut message) = made.ok_or(Trouble::BadKey)?;
            key.sign(peer, &mut message, INITIATION_MAC1);
            if let Some(cookie) = link.cookie(now) {
                cookie.sign(&mut message);
            }
            let mut mac1 = [0; MAC];
            mac1.copy_from_slice(&message[INITIATION_MAC1..][..MAC]);
            let ring = shared.primary;
            Ok((Pending { initiator, index, ring, mac1, sent: now, forged: 0 }, message))
        });
        match pending {
            Ok((pending, message)) => {
                link.begun(now, Some(pending));
                self.by_index.insert(index, at);
                self.send(to, message);
            }
            Err(trouble) => {
                link.trouble = Some((trouble, now));
                link.begun(now, None);
            }
        }
        self.settle(at);
    }

    /// A number that no session has.
    fn number(&mut self) -> u32 {
        loop {
            let number = self.seeds.number() as u32;
            if !self.by_index.contains_key(&number) {
                return number;
            }
        }
    }

    /// What a message says that is not authentic, or not a member's, is held against who
    /// has its address, unless there is a session: then it is not that one's trouble.
    fn suspect(&mut self, now: Now, source: SocketAddr, trouble: Trouble) {
        if let Some(at) = self.by_vtep.get(&source.ip())
            && self.links[*at].current.is_none()
        {
            self.links[*at].trouble = Some((trouble, now));
        }
    }
}
