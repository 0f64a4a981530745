//! DNS as a container sees it: what to answer, and what to ask others.
//!
//! [`answer`] is the decision. It is given what the asker may know of the cluster
//! (a [`View`]) and a message as it came; it gives back the answer's bytes, or
//! says that the question is for an upstream resolver. [`forward`] then chooses
//! the resolver. hickory-proto knows the protocol; no I/O is done here.
//!
//! Rules, in the order in which they are tried:
//!
//! | question | answer |
//! | --- | --- |
//! | a response, or less than a header | none: two servers must not talk in circles |
//! | another opcode; not one question; another class; a zone transfer | NOTIMP; FORMERR; REFUSED; REFUSED |
//! | a name, an alias, or either with `.network` behind it, of an endpoint or a service on a network that the asker is on | its addresses, shuffled; NOERROR without data for other types; HINFO for ANY (RFC 8482) |
//! | `tasks.` and a service's name or alias | the addresses of the endpoints that take new flows |
//! | `_port._proto.` and a name of a service that serves there | SRV (RFC 2782) to `service.network`, or to each endpoint for `tasks.` and DNS round robin |
//! | an address, reversed, of such an endpoint or service | PTR to `name.network` |
//! | below a private reverse zone or a subnet of the cluster | NXDOMAIN; it never leaves |
//! | a single label | NXDOMAIN; it never leaves |
//! | anything else, from an asker that is on internal networks only | REFUSED |
//! | anything else | forwarded |
//!
//! Work is bounded: a question is a few kilobytes with one name, an answer has
//! at most as many records as fit.

pub mod forward;
pub mod gateway;
mod message;
mod reverse;
mod service;
#[cfg(test)]
mod tests;
mod zone;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, HINFO, PTR};
use hickory_proto::rr::{Name, RData, RecordType};
use message::Request;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use reverse::Reverse;
use zone::Target;
pub use zone::{Entry, Service, Task, View, Zone};

/// The largest message that is read as a question, in bytes. Real ones are below
/// 512; what is longer than this is no question.
pub const LARGEST_QUESTION: usize = 4096;

/// What is sent over UDP at most where it stays within the container, so that there is
/// no path to be too narrow.
pub const LARGEST_DATAGRAM: u16 = 4096;

/// How long an answer about the cluster may be kept, in seconds. Docker says 600,
/// and then clients talk to addresses of containers that are long gone. Five
/// seconds still save the questions of one page of work.
pub const TTL: u32 = 5;

/// How a question came, and how its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The answer has at most so many bytes, and may be cut short (TC), to be asked for
    /// again over TCP.
    Datagram(u16),
    /// Answers up to 65535 bytes.
    Tcp,
}

/// What is to be done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send these bytes back.
    Answer(Vec<u8>),
    /// Ask an upstream resolver this; see [`forward::Forwarder`]. The client's id
    /// is in its place.
    Forward(Vec<u8>),
    /// Say nothing.
    Drop,
}

/// Decides about one message of a client that has this view. `seed` shuffles.
pub fn answer(view: &View, transport: Transport, message: &[u8], seed: u64) -> Verdict {
    let Some(request) = Request::read(message) else { return Verdict::Drop };
    let (name, kind) = match request.question() {
        Ok(question) => question,
        Err(code) => return Verdict::Answer(request.refuse(code)),
    };
    if let Some(found) = lookup(view, name, kind) {
        return Verdict::Answer(match found {
            Found::Addresses(addresses) => {
                let data = if addresses.iter().any(IpAddr::is_ipv6) { 16 } else { 4 };
                let room = request.room(transport, data);
                match chosen(addresses, room, transport, seed) {
                    Some(addresses) => {
                        request.reply(transport, addresses.into_iter().map(of_address).collect())
                    }
                    None => request.truncated(),
                }
            }
            Found::Targets(port, targets) => {
                service::reply(&request, transport, port, targets, seed)
            }
            Found::Record(record) => request.reply(transport, vec![record]),
            Found::NoData => request.reply(transport, Vec::new()),
            Found::NoName => request.refuse(ResponseCode::NXDomain),
        });
    }
    if view.is_internal() {
        return Verdict::Answer(request.refuse(ResponseCode::Refused));
    }
    Verdict::Forward(request.forwarded())
}

/// What is known here of a name.
enum Found<'a> {
    /// Of one family.
    Addresses(Vec<IpAddr>),
    /// Where a port is served.
    Targets(u16, Vec<&'a Target>),
    Record(RData),
    /// The name exists, and has nothing of this type.
    NoData,
    /// The name would be ours, and does not exist.
    NoName,
}

/// `None`: the name is not ours to speak of.
fn lookup<'a>(view: &'a View, name: &Name, kind: RecordType) -> Option<Found<'a>> {
    let key = key(name);
    if let Some(named) = key.as_ref().and_then(|key| view.find(key)) {
        let of = |v4: bool| {
            let family: Vec<IpAddr> =
                named.addresses.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect();
            if family.is_empty() { Found::NoData } else { Found::Addresses(family) }
        };
        return Some(match kind {
            RecordType::A => of(true),
            RecordType::AAAA => of(false),
            RecordType::ANY => any(),
            _ => Found::NoData,
        });
    }
    if let Some(found) = key.and_then(|key| service::lookup(view, &key, kind)) {
        return Some(found);
    }
    match Reverse::read(name) {
        Some(reverse) if view.keeps(&reverse.net) => Some(pointer(view, &reverse, kind)),
        _ if name.iter().count() == 1 => Some(Found::NoName),
        _ => None,
    }
}

/// What a reversed address of ours stands for.
fn pointer(view: &View, reverse: &Reverse, kind: RecordType) -> Found<'static> {
    let Some(ip) = reverse.address() else {
        // Above an address there may be addresses: only below there is nothing.
        return if reverse.below { Found::NoName } else { Found::NoData };
    };
    match (view.name_of(ip), kind) {
        (None, _) => Found::NoName,
        (Some(name), RecordType::PTR) => {
            to_name(name).map_or(Found::NoData, |name| Found::Record(RData::PTR(PTR(name))))
        }
        (Some(_), RecordType::ANY) => any(),
        (Some(_), _) => Found::NoData,
    }
}

/// `None`: a name with two dots in a row is none of DNS.
fn to_name(name: &str) -> Option<Name> {
    Name::from_labels(name.split('.').map(str::as_bytes)).ok()
}

/// RFC 8482, section 4.2: a record of no consequence in place of all there are.
fn any() -> Found<'static> {
    Found::Record(RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new())))
}

/// The name as the tables would have it, in lower case. `None` if it has a byte
/// that no name of ours has, such as a dot inside a label.
fn key(name: &Name) -> Option<String> {
    let mut key = String::with_capacity(name.len());
    for label in name.iter() {
        if !key.is_empty() {
            key.push('.');
        }
        for byte in label {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => key.push(char::from(*byte)),
                b'A'..=b'Z' => key.push(char::from(byte.to_ascii_lowercase())),
                _ => return None,
            }
        }
    }
    Some(key)
}

/// In random order, as many as there is room for. Over UDP it is all or `None`; a
/// client that sees a part would go on with that part.
fn chosen<T>(mut all: Vec<T>, room: usize, transport: Transport, seed: u64) -> Option<Vec<T>> {
    if all.len() > room && transport != Transport::Tcp {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let count = all.len();
    let taken = count.min(room);
    for i in 0..taken {
        let other = i + ((u64::from(random.next_u32()) * (count - i) as u64) >> 32) as usize;
        all.swap(i, other);
    }
    all.truncate(taken);
    Some(all)
}

fn of_address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}
