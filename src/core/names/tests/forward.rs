//! Failover, quotas, and whose answers count.

use std::time::Duration;

use super::super::forward::*;
use super::*;

const ID: u16 = 0x7777;

fn forwarder(count: u8) -> Forwarder<u32> {
    let mut forwarder = Forwarder::new();
    forwarder.set_upstreams((1..=count).map(|n| at(IpAddr::from([192, 0, 2, n]))));
    forwarder
}

fn message() -> Vec<u8> {
    question("Www.Example.com.", RecordType::A).to_vec().unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The last byte of who is asked next.
fn asked(f: &mut Forwarder<u32>, now: Duration, question: &mut Question<u32>) -> Option<u8> {
    f.next(now, question, ID).map(|attempt| match attempt.upstream.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    })
}

fn reply(edit: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut reply = question("Www.Example.com.", RecordType::A);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.id = ID;
    edit(&mut reply);
    reply.to_vec().unwrap()
}

#[test]
fn an_answer_comes_back_under_the_clients_id_and_letters() {
    let mut f = forwarder(1);
    let mut question = f.begin(ms(0), 1, message()).unwrap();
    let attempt = f.next(ms(0), &mut question, ID).unwrap();
    assert_eq!(attempt.message[..2], ID.to_be_bytes());
    assert_eq!(attempt.message[2..], message()[2..]);
    assert_eq!(attempt.deadline, PATIENCE);
    let lower = reply(|r| {
        let name = r.queries[0].name.to_lowercase();
        r.queries[0].set_name(name);
    });
    let Heard::Answer(answer) = f.heard(&mut question, lower) else { panic!() };
    assert_eq!(answer[..2], message()[..2]);
    assert_eq!(answer[12..], message()[12..]);
    f.end(&question);
    assert_eq!(f.in_flight(), 0);
}

#[test]
fn only_answers_to_the_question_count() {
    let mut f = forwarder(1);
    let mut question = f.begin(ms(0), 1, message()).unwrap();
    f.next(ms(0), &mut question, ID).unwrap();
    let other = |name: &str| Name::from_ascii(name).unwrap();
    for noise in [
        reply(|r| r.metadata.id = ID + 1),
        reply(|r| r.metadata.message_type = MessageType::Query),
        reply(|r| r.metadata.op_code = OpCode::Status),
        reply(|r| r.queries[0] = Query::query(other("www.example.org."), RecordType::A)),
        reply(|r| r.queries[0].query_type = RecordType::AAAA),
        reply(|r| r.queries[0].query_class = DNSClass::CH),
        reply(|r| r.queries.clear()),
        reply(|r| r.queries.push(Query::query(other("x."), RecordType::A))),
        vec![0; 3],
        Vec::new(),
    ] {
        assert_eq!(f.heard(&mut question, noise.clone()), Heard::Noise, "{noise:?}");
    }
    assert!(matches!(f.heard(&mut question, reply(|_| {})), Heard::Answer(_)));
}

#[test]
fn the_next_one_is_asked_where_one_fails() {
    let mut f = forwarder(3);
    let mut question = f.begin(ms(0), 1, message()).unwrap();
    assert_eq!(asked(&mut f, ms(0), &mut question), Some(1));
    f.failed(ms(1500), &question);
    assert_eq!(asked(&mut f, ms(1500), &mut question), Some(2));
    let cannot = reply(|r| r.metadata.response_code = ResponseCode::ServFail);
    assert_eq!(f.heard(&mut question, cannot.clone()), Heard::Next);
    assert_eq!(asked(&mut f, ms(1600), &mut question), Some(3));
    f.failed(ms(3100), &question);
    // Who cannot do it is not asked again; who was silent is.
    assert_eq!(
        f.next(ms(3100), &mut question, ID).unwrap().deadline,
        BUDGET,
        "no longer than that"
    );
    assert_eq!(asked(&mut f, ms(3200), &mut question), Some(3));
    assert_eq!(asked(&mut f, ms(3300), &mut question), None);
    let answer = question.give_up();
    assert_eq!((&answer[..2], &answer[2..]), (&message()[..2], &cannot[2..]), "the poor answer");
}

#[test]
fn a_complaint_without_the_question_is_heard() {
    let mut f = forwarder(2);
    let mut question = f.begin(ms(0), 1, message()).unwrap();
    assert_eq!(asked(&mut f, ms(0), &mut question), Some(1));
    let complaint = reply(|r| {
        r.queries.clear();
        r.metadata.response_code = ResponseCode::FormErr;
    });
    assert_eq!(f.heard(&mut question, complaint), Heard::Next);
    assert_eq!(asked(&mut f, ms(0), &mut question), Some(2));
}

/// One whole question to which nobody answers.
fn fail(f: &mut Forwarder<u32>, now: Duration) -> usize {
    let mut question = f.begin(now, 1, message()).unwrap();
    let mut attempts = 0;
    while f.next(now, &mut question, ID).is_some() {
        f.failed(now, &question);
        attempts += 1;
    }
    let answer = Message::from_vec(&question.give_up()).unwrap();
    assert_eq!(answer.response_code, ResponseCode::ServFail);
    f.end(&question);
    attempts
}

#[test]
fn where_nobody_can_be_reached_it_is_said_at_once() {
    let mut f = forwarder(2);
    assert_eq!(fail(&mut f, ms(0)), 4);
    fail(&mut f, ms(10));
    assert_eq!(fail(&mut f, ms(20)), 0, "nobody is tried");
    let mut stranger = f.begin(ms(20), 2, message()).unwrap();
    assert_eq!(asked(&mut f, ms(20), &mut stranger), Some(1), "for who has not failed");
    let later = ms(20) + REST;
    let mut probe = f.begin(later, 1, message()).unwrap();
    assert_eq!(asked(&mut f, later, &mut probe), Some(1), "one question tries again");
    let mut other = f.begin(later, 1, message()).unwrap();
    assert_eq!(asked(&mut f, later, &mut other), Some(2), "another not the same");
    assert!(matches!(f.heard(&mut probe, reply(|_| {})), Heard::Answer(_)));
    let mut third = f.begin(later, 1, message()).unwrap();
    assert_eq!(asked(&mut f, later, &mut third), Some(1), "it is back");
}

#[test]
fn a_dead_first_one_is_passed_over() {
    let mut f = forwarder(2);
    for _ in 0..3 {
        let mut question = f.begin(ms(0), 1, message()).unwrap();
        assert_eq!(asked(&mut f, ms(0), &mut question), Some(1));
        f.failed(ms(1500), &question);
        assert_eq!(asked(&mut f, ms(1500), &mut question), Some(2));
        assert!(matches!(f.heard(&mut question, reply(|_| {})), Heard::Answer(_)));
        f.end(&question);
    }
    let mut question = f.begin(ms(1600), 1, message()).unwrap();
    assert_eq!(asked(&mut f, ms(1600), &mut question), Some(2));
    let mut stranger = f.begin(ms(1600), 2, message()).unwrap();
    assert_eq!(asked(&mut f, ms(1600), &mut stranger), Some(2), "others learn of it");
}

#[test]
fn new_resolvers_keep_what_is_known_of_the_old() {
    let mut f = forwarder(1);
    fail(&mut f, ms(0));
    fail(&mut f, ms(0));
    f.set_upstreams([1, 1, 2].map(|n| at(IpAddr::from([192, 0, 2, n]))));
    let mut question = f.begin(ms(1), 1, message()).unwrap();
    assert_eq!(asked(&mut f, ms(1), &mut question), Some(2), "the first one rests");
    f.set_upstreams([]);
    assert_eq!(fail(&mut f, ms(2)), 0);
}

#[test]
fn quotas_hold() {
    let mut f = forwarder(1);
    let begin = |f: &mut Forwarder<u32>, client| f.begin(ms(0), client, message());
    let mut open: Vec<_> = (0..MOST_OF_ONE).map(|_| begin(&mut f, 0).unwrap()).collect();
    let refused = Message::from_vec(&begin(&mut f, 0).unwrap_err()).unwrap();
    assert_eq!((refused.id, refused.response_code), (0x1234, ResponseCode::ServFail));
    for client in 100.. {
        let Ok(question) = begin(&mut f, client / 100) else { break };
        open.push(question);
    }
    assert_eq!((open.len(), f.in_flight()), (MOST_IN_FLIGHT, MOST_IN_FLIGHT));
    open.iter().for_each(|question| f.end(question));
    assert_eq!(f.in_flight(), 0);
    assert!(begin(&mut f, 0).is_ok());
}

proptest! {
    /// Whatever a resolver sends, it is judged, and an answer has the client's id.
    #[test]
    fn any_answer(bytes in proptest::collection::vec(0u8..=255, 0..200), at in 0usize..33, value: u8) {
        let mut f = forwarder(1);
        let mut question = f.begin(ms(0), 1, message()).unwrap();
        f.next(ms(0), &mut question, ID).unwrap();
        let _ = f.heard(&mut question, bytes);
        let mut near = reply(|_| {});
        near[at] = value;
        if let Heard::Answer(answer) = f.heard(&mut question, near) {
            prop_assert_eq!(&answer[..2], &message()[..2]);
        }
    }
}
