//! What is answered, what is forwarded, and what is let lie.

mod forward;
mod service;

use std::collections::BTreeSet;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Record};
use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What a test says of an endpoint.
type Spec<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

fn zone(network: &str, internal: bool, endpoints: &[Spec<'_>]) -> std::sync::Arc<Zone> {
    let owned: Vec<(String, Vec<String>, Vec<IpAddr>)> = endpoints
        .iter()
        .map(|(name, aliases, ips)| {
            let aliases = aliases.iter().map(|a| (*a).to_owned()).collect();
            ((*name).to_owned(), aliases, ips.iter().map(|i| ip(i)).collect())
        })
        .collect();
    let entries = owned.iter().map(|(name, aliases, addresses)| Entry { name, aliases, addresses });
    Zone::new(network, internal, entries, []).into()
}

/// An asker on `web` and on `db`; there is a third network in the cluster.
fn view() -> View {
    let web = zone(
        "web",
        false,
        &[
            ("Box1", &["api"], &["10.1.0.2", "fd01::2"]),
            ("box2", &["api", "box2"], &["10.1.0.3"]),
            ("shared", &[], &["10.1.0.9"]),
            ("web.1", &[], &["10.1.0.11"]),
        ],
    );
    let db = zone("db", true, &[("store", &[], &["198.18.0.2"]), ("shared", &[], &["198.18.0.9"])]);
    let subnets = ["10.1.0.0/24", "198.18.0.0/24", "198.19.0.0/24", "fd01::/64"];
    View::new(vec![web, db], subnets.iter().map(|s| s.parse().unwrap()).collect())
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn verdict(view: &View, message: &Message) -> Verdict {
    answer(view, Transport::Datagram(4096), &message.to_vec().unwrap(), 7)
}

fn answered(view: &View, message: &Message) -> Message {
    match verdict(view, message) {
        Verdict::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The answer to one question: its code, and its data as text.
fn ask(name: &str, kind: RecordType) -> (ResponseCode, BTreeSet<String>) {
    let message = answered(&view(), &question(name, kind));
    assert_eq!((message.id, message.message_type), (0x1234, MessageType::Response));
    assert!(message.recursion_desired && message.recursion_available && message.authoritative);
    assert!(message.answers.iter().all(|r| r.ttl == TTL));
    (message.response_code, message.answers.iter().map(|r| r.data.to_string()).collect())
}

fn found(name: &str, kind: RecordType) -> Vec<String> {
    let (code, data) = ask(name, kind);
    assert_eq!(code, ResponseCode::NoError, "{name}");
    data.into_iter().collect()
}

#[test]
fn names_and_aliases_have_their_addresses() {
    assert_eq!(found("box1.", RecordType::A), ["10.1.0.2"]);
    assert_eq!(found("box1.", RecordType::AAAA), ["fd01::2"]);
    assert_eq!(found("BOX2.", RecordType::A), ["10.1.0.3"]);
    assert_eq!(found("api.", RecordType::A), ["10.1.0.2", "10.1.0.3"]);
    assert_eq!(found("web.1.", RecordType::A), ["10.1.0.11"]);
    assert_eq!(found("store.", RecordType::A), ["198.18.0.2"]);
}

#[test]
fn a_network_behind_the_name_says_which_is_meant() {
    assert_eq!(found("shared.web.", RecordType::A), ["10.1.0.9"]);
    assert_eq!(found("shared.db.", RecordType::A), ["198.18.0.9"]);
    assert_eq!(found("Web.1.WEB.", RecordType::A), ["10.1.0.11"]);
    assert_eq!(found("shared.", RecordType::A), ["198.18.0.9"], "db comes before web");
}

#[test]
fn a_name_without_such_data_is_still_a_name() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::SRV, RecordType::TXT] {
        assert_eq!(found("box2.", kind), [""; 0], "{kind}");
    }
}

#[test]
fn any_is_answered_with_little() {
    assert_eq!(found("box1.", RecordType::ANY), ["RFC8482 "]);
    assert_eq!(found("2.0.1.10.in-addr.arpa.", RecordType::ANY), ["RFC8482 "]);
}

#[test]
fn addresses_point_back() {
    assert_eq!(found("2.0.1.10.in-addr.arpa.", RecordType::PTR), ["Box1.web."]);
    assert_eq!(found("2.0.18.198.in-addr.arpa.", RecordType::PTR), ["store.db."]);
    assert_eq!(found("11.0.1.10.in-addr.arpa.", RecordType::PTR), ["web.1.web."]);
    let v6 = format!("2.{}1.0.d.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(found(&v6, RecordType::PTR), ["Box1.web."]);
    assert_eq!(found("2.0.1.10.in-addr.arpa.", RecordType::A), [""; 0]);
    // Above an address there is nothing, but something below.
    assert_eq!(found("1.10.in-addr.arpa.", RecordType::PTR), [""; 0]);
}

#[test]
fn what_can_only_be_ours_never_leaves() {
    for name in [
        "77.0.1.10.in-addr.arpa.",
        "1.0.168.192.in-addr.arpa.",
        "2.0.19.198.in-addr.arpa.", // of a network that the asker is not on
        "x.2.0.1.10.in-addr.arpa.",
        "nobody.",
        "com.",
    ] {
        assert_eq!(ask(name, RecordType::PTR).0, ResponseCode::NXDomain, "{name}");
        assert_eq!(ask(name, RecordType::A).0, ResponseCode::NXDomain, "{name}");
    }
}

#[test]
fn the_rest_is_forwarded_as_it_was_asked_and_without_what_is_between_neighbours() {
    for name in ["www.Example.com.", "nobody.web.", "8.8.8.8.in-addr.arpa.", "a\\.b.c."] {
        let mut asked = question(name, RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096).set_dnssec_ok(true);
        edns.options_mut()
            .insert(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(10, vec![1; 8]));
        asked.set_edns(edns);
        let Verdict::Forward(bytes) = verdict(&view(), &asked) else { panic!("{name}") };
        let sent = Message::from_vec(&bytes).unwrap();
        assert!(sent.queries[0].name.eq_case(&asked.queries[0].name), "{name}");
        assert_eq!((sent.queries.len(), sent.recursion_desired), (1, true));
        let edns = sent.edns.unwrap();
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, true));
        assert!(edns.options().as_ref().is_empty());
    }
}

#[test]
fn who_is_on_internal_networks_only_asks_nobody_outside() {
    let inside = View::new(vec![zone("db", true, &[("store", &[], &["10.2.0.2"])])], [].into());
    let outside = question("www.example.com.", RecordType::A);
    assert_eq!(answered(&inside, &outside).response_code, ResponseCode::Refused);
    let own = question("store.", RecordType::A);
    assert_eq!(answered(&inside, &own).answers.len(), 1);
    assert_eq!(answered(&View::default(), &outside).response_code, ResponseCode::Refused);
}

#[test]
fn the_letters_of_the_question_come_back() {
    let reply = answered(&view(), &question("bOx1.WeB.", RecordType::A));
    assert_eq!(reply.queries[0].name.to_ascii(), "bOx1.WeB.");
    assert_eq!(reply.answers[0].name.to_ascii(), "bOx1.WeB.");
}

#[test]
fn edns_is_answered_with_edns() {
    let mut asked = question("box1.", RecordType::A);
    assert_eq!(answered(&view(), &asked).edns, None);
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    asked.set_edns(edns.clone());
    let reply = answered(&view(), &asked).edns.unwrap();
    assert_eq!((reply.version(), reply.flags().dnssec_ok), (0, true));
    edns.set_version(1);
    asked.set_edns(edns);
    assert_eq!(u16::from(answered(&view(), &asked).response_code), 16, "BADVERS");
}

#[test]
fn questions_that_are_none_are_refused() {
    let code = |message: &Message| answered(&view(), message).response_code;
    let mut status = question("box1.", RecordType::A);
    status.metadata.op_code = OpCode::Status;
    assert_eq!(code(&status), ResponseCode::NotImp);
    let mut two = question("box1.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    assert_eq!(code(&Message::new(1, MessageType::Query, OpCode::Query)), ResponseCode::FormErr);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    assert_eq!(code(&question("web.", RecordType::AXFR)), ResponseCode::Refused);
    let mut answer = question("box1.", RecordType::A);
    answer.add_answer(Record::from_rdata(Name::root(), 1, RData::A(A([1; 4].into()))));
    assert_eq!(code(&answer), ResponseCode::FormErr);
}

#[test]
fn what_deserves_no_answer_gets_none() {
    let mut response = question("box1.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(verdict(&view(), &response), Verdict::Drop);
    assert_eq!(answer(&view(), Transport::Datagram(4096), &[0; 11], 1), Verdict::Drop);
    assert_eq!(answer(&view(), Transport::Datagram(4096), &[], 1), Verdict::Drop);
}

/// A name that points at itself; 65535 questions; a message without an end.
#[test]
fn hostile_messages_are_form_errors() {
    let head = |questions: u16| [&[0, 7, 1, 0][..], &questions.to_be_bytes(), &[0; 6]].concat();
    let looped = [&head(1)[..], &[0xc0, 12, 0, 1, 0, 1]].concat();
    let many = [&head(0xffff)[..], &[0, 0, 1, 0, 1]].concat();
    let long = [&head(1)[..], &[63; 300], &[0, 0, 1, 0, 1]].concat();
    let large = question("box1.", RecordType::A).to_vec().unwrap();
    let large = [&large[..], &[0; LARGEST_QUESTION]].concat();
    for message in [looped, many, long, head(1), large] {
        let Verdict::Answer(reply) = answer(&view(), Transport::Tcp, &message, 1) else { panic!() };
        assert_eq!((&reply[..2], reply[3] & 0xf), (&message[..2], 1), "{message:?}");
    }
}

/// Many endpoints behind one alias.
fn crowd(count: u32) -> View {
    let ips: Vec<String> =
        (0..count).map(|n| std::net::Ipv4Addr::from(0x0a01_0002 + n).to_string()).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    View::new(vec![zone("web", false, &[("all", &[], &ips)])], [].into())
}

#[test]
fn what_does_not_fit_a_datagram_is_asked_for_again_over_tcp() {
    let view = crowd(100);
    let mut asked = question("all.", RecordType::A);
    let short = answered(&view, &asked);
    assert!(short.truncation && short.answers.is_empty());
    let bytes = asked.to_vec().unwrap();
    let Verdict::Answer(whole) = answer(&view, Transport::Tcp, &bytes, 1) else { panic!() };
    let whole = Message::from_vec(&whole).unwrap();
    assert!(!whole.truncation);
    assert_eq!(whole.answers.len(), 100);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    assert_eq!(answered(&view, &asked).answers.len(), 100);
}

/// The most that fits is sent, and no more: the limits are exact.
#[test]
fn limits_are_exact() {
    for (count, fits) in [(29, true), (30, true), (31, false)] {
        // 12 of the header, 9 of the question, 16 for each record.
        let reply = answered(&crowd(count), &question("all.", RecordType::A));
        assert_eq!(!reply.truncation, fits, "{count}");
    }
    let bytes = question("all.", RecordType::A).to_vec().unwrap();
    let Verdict::Answer(most) = answer(&crowd(10_000), Transport::Tcp, &bytes, 1) else { panic!() };
    assert!((65_000..=65_535).contains(&most.len()), "{}", most.len());
    assert!(!Message::from_vec(&most).unwrap().truncation, "there is nowhere else to ask");
}

#[test]
fn the_order_is_shuffled_and_nothing_is_lost() {
    let (view, bytes) = (crowd(6), question("all.", RecordType::A).to_vec().unwrap());
    let mut firsts = BTreeSet::new();
    for seed in 0..200 {
        let Verdict::Answer(reply) = answer(&view, Transport::Datagram(4096), &bytes, seed) else {
            panic!()
        };
        let reply = Message::from_vec(&reply).unwrap();
        let data: Vec<String> = reply.answers.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(data.iter().collect::<BTreeSet<_>>().len(), 6);
        firsts.insert(data[0].clone());
    }
    assert_eq!(firsts.len(), 6, "each comes first at times");
}

proptest! {
    /// Nothing that comes makes it panic, and every answer is one to the question.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(0u8..=255, 0..600), tcp: bool) {
        check(&bytes, tcp)?;
    }

    #[test]
    fn damaged_questions(
        name in "[a-zA-Z0-9._-]{0,40}", kind: u16, at in 0usize..60, value: u8, tcp: bool,
    ) {
        let Ok(name) = Name::from_ascii(&name) else { return Ok(()) };
        let mut message = question("x.", kind.into());
        message.queries[0].set_name(name);
        message.set_edns(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        check(&bytes, tcp)?;
    }
}

fn check(bytes: &[u8], tcp: bool) -> Result<(), TestCaseError> {
    let transport = if tcp { Transport::Tcp } else { Transport::Datagram(4096) };
    match answer(&view(), transport, bytes, 3) {
        Verdict::Answer(reply) => {
            let read = Message::from_vec(&reply).unwrap();
            prop_assert_eq!(read.message_type, MessageType::Response);
            prop_assert_eq!(&reply[..2], &bytes[..2]);
            prop_assert!(tcp || reply.len() <= 4096);
        }
        Verdict::Forward(sent) => {
            let read = Message::from_vec(&sent).unwrap();
            prop_assert_eq!((read.message_type, read.queries.len()), (MessageType::Query, 1));
            prop_assert_eq!(&sent[..2], &bytes[..2]);
        }
        Verdict::Drop => prop_assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
    }
    Ok(())
}
