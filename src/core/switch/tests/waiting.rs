//! Questions that come before their answer is known.

use super::*;
use crate::core::balance::Notice;

/// The cluster before word of this endpoint on another host has come.
fn without_remote() -> Spec {
    Spec { remotes: Vec::new(), ..spec() }
}

/// Both kinds of question of A for the remote endpoint.
fn questions() -> [Vec<u8>; 2] {
    [
        arp(REQUEST, (a().mac, a().v4), Mac::BROADCAST, remote().v4),
        solicit((a().mac, a().v6), remote().v6),
    ]
}

/// What a switch that knows the endpoint answers at once.
fn prompt_answer(question: &[u8]) -> Notice {
    let mut lab = Lab::closed();
    assert_eq!(lab.port(A, &mut question.to_vec()), Verdict::Reply(None));
    Notice { vni: vni(VNI), target: Target::Port(A), frame: lab.switch.reply().to_vec() }
}

/// What is said when this plan comes so much later.
fn said_after(lab: &mut Lab, later: Duration, spec: Spec) -> Vec<Notice> {
    lab.now += later;
    lab.plan = plan(spec);
    lab.switch.replan(&lab.plan, lab.now);
    lab.switch.notices()
}

const SOON: Duration = Duration::from_millis(900);

#[test]
fn a_question_is_answered_once_by_the_first_plan_that_can() {
    for question in questions() {
        let mut lab = Lab::new(without_remote());
        let verdict = lab.port(A, &mut question.clone());
        assert_eq!(verdict, Verdict::Drop(Reason::UnknownNeighbour));
        assert_eq!(said_after(&mut lab, SOON / 2, without_remote()), []);
        assert_eq!(said_after(&mut lab, SOON / 2, spec()), [prompt_answer(&question)]);
        assert_eq!(said_after(&mut lab, Duration::ZERO, spec()), []);
    }
}

#[test]
fn a_question_to_foreign_vteps_is_answered_too() {
    let open = |spec| Spec { foreign: vec![foreign()], ..spec };
    for question in questions() {
        let mut lab = Lab::new(open(without_remote()));
        assert_eq!(lab.port(A, &mut question.clone()), Verdict::Flood);
        assert_eq!(said_after(&mut lab, SOON, open(spec())), [prompt_answer(&question)]);
    }
}

#[test]
fn after_a_second_the_container_asks_again_itself() {
    for question in questions() {
        let mut lab = Lab::new(without_remote());
        lab.port(A, &mut question.clone());
        assert_eq!(said_after(&mut lab, Duration::from_secs(1), spec()), []);
        assert_eq!(said_after(&mut lab, Duration::ZERO, spec()), []);
    }
}

#[test]
fn the_answer_is_for_who_asked_and_nobody_else() {
    let [question, _] = questions();
    let mut lab = Lab::new(without_remote());
    lab.port(A, &mut question.clone());
    // The same number is another container's by now.
    let mut later = spec();
    later.ports.retain(|port| port.id != A);
    later.ports[0].id = A;
    assert_eq!(said_after(&mut lab, SOON, later), []);
    assert_eq!(said_after(&mut lab, Duration::ZERO, spec()), [], "it is forgotten");

    // The same container is on another network by now, which knows the address.
    let mut lab = Lab::new(without_remote());
    lab.port(A, &mut question.clone());
    let other = Network::new(1, vni(OTHER), spec());
    lab.plan = Plan::new(1, own_vtep(), [Arc::new(other)]);
    lab.switch.replan(&lab.plan, lab.now);
    assert_eq!(lab.switch.notices(), []);
}

#[test]
fn a_container_that_asks_for_everybody_loses_only_its_own_questions() {
    let mut lab = Lab::new(without_remote());
    let asks = |host: Host, n| {
        arp(REQUEST, (host.mac, host.v4), Mac::BROADCAST, ip(&format!("10.0.1.{n}")))
    };
    lab.port(B, &mut asks(b(), 100));
    for n in (100..200).chain([199, 199, 199]) {
        lab.port(A, &mut asks(a(), n));
    }
    let far = |n| {
        let Host { mac, v4, .. } = host(1, n);
        Remote { mac, addresses: vec![v4], vtep: member() }
    };
    let all = Spec { remotes: (100..200).map(far).collect(), ..spec() };
    let said = said_after(&mut lab, SOON, all);
    let answered = |to| {
        let frames = said.iter().filter(|n| n.target == Target::Port(to)).map(|n| &n.frame);
        // The sender of an ARP answer.
        let mut hosts: Vec<u8> = frames.map(|frame| frame[31]).collect();
        hosts.sort_unstable();
        hosts
    };
    assert_eq!(answered(A), (192..200).collect::<Vec<_>>());
    assert_eq!(answered(B), [100]);
}
