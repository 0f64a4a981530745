//! Where a service is served: `_port._proto.name` (RFC 2782).

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::message::Request;
use super::zone::{Named, Offer, Target, View};
use super::{Found, TTL, Transport, any, chosen, of_address, to_name};

/// Before the target in an SRV record: priority, weight, port.
const NUMBERS: usize = 6;

/// What is known of a name that begins with underscores; `None`: it is not ours.
pub(super) fn lookup<'a>(view: &'a View, key: &str, kind: RecordType) -> Option<Found<'a>> {
    let (mut labels, mut rest) = (Vec::new(), key);
    while rest.starts_with('_') {
        let (label, behind) = rest.split_once('.')?;
        labels.push(&label[1..]);
        rest = behind;
    }
    if labels.is_empty() {
        return None;
    }
    let Some(named) = view.find(rest) else {
        // Single labels never leave, whatever stands before them.
        return (!rest.contains('.')).then_some(Found::NoName);
    };
    Some(match labels[..] {
        [port, protocol] => at_port(named, port, protocol, kind),
        // Above names there are names.
        [protocol] if ports(named).any(|(_, p)| p == protocol) => Found::NoData,
        _ => Found::NoName,
    })
}

fn ports(named: &Named) -> impl Iterator<Item = (u16, String)> {
    named.offers.iter().flat_map(|o| &o.ports).map(|(port, p)| (*port, p.to_string()))
}

fn at_port<'a>(named: &'a Named, port: &str, protocol: &str, kind: RecordType) -> Found<'a> {
    // Without leading zeros or signs: those would be other names.
    let serves = |offer: &&Offer| {
        let mut ports = offer.ports.iter();
        ports.any(|(n, p)| n.to_string() == port && p.to_string() == protocol)
    };
    let offers: Vec<&Offer> = named.offers.iter().map(|o| &**o).filter(serves).collect();
    let (Ok(port), [_, ..]) = (port.parse(), &offers[..]) else { return Found::NoName };
    let targets: Vec<&Target> = offers.into_iter().flat_map(|o| &o.targets).collect();
    match kind {
        RecordType::SRV if !targets.is_empty() => Found::Targets(port, targets),
        RecordType::ANY => any(),
        _ => Found::NoData,
    }
}

/// The targets as records in random order, and their addresses if there is room.
pub(super) fn reply(
    request: &Request,
    transport: Transport,
    port: u16,
    targets: Vec<&Target>,
    seed: u64,
) -> Vec<u8> {
    let named = |t: &Target| Some((to_name(&t.name)?, t.weight, t.addresses.clone()));
    let targets: Vec<_> = targets.into_iter().filter_map(named).collect();
    let size = |(name, ..): &(Name, _, _)| NUMBERS + name.len() + 1;
    let room = request.room(transport, targets.iter().map(size).max().unwrap_or(NUMBERS));
    let Some(targets) = chosen(targets, room, transport, seed) else { return request.truncated() };
    let (mut records, mut extras) = (Vec::new(), Vec::new());
    for (name, weight, addresses) in targets {
        let of_name = |ip| Record::from_rdata(name.clone(), TTL, of_address(ip));
        extras.extend(addresses.into_iter().map(of_name));
        records.push(RData::SRV(SRV::new(0, weight, port, name)));
    }
    request.reply_with(transport, records, extras)
}
