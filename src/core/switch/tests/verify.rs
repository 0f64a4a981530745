use super::*;
use crate::wire::verify::{Kind, frame, parse};

fn hand_in(lab: &mut Lab, mut bytes: Vec<u8>) -> Verdict {
    let view = View::parse(&bytes).unwrap();
    let dress = lab.plan.network(vni(VNI)).unwrap().dress();
    let admission = Switch::admit(&lab.plan, member(), vni(VNI), dress).unwrap();
    lab.switch.from_vtep(&lab.plan, lab.now, admission, &mut bytes, &view)
}

#[test]
fn a_question_over_an_encrypted_network_is_answered() {
    let mut lab = Lab::new(Spec { encrypted: Some(Arc::default()), ..spec() });
    let router = lab.plan.network(vni(VNI)).unwrap().router_mac;
    assert_eq!(hand_in(&mut lab, frame(router, Kind::Ask, b"mark")), Verdict::Reply(None));
    let reply = lab.switch.reply().to_vec();
    let view = View::parse(&reply).unwrap();
    assert_eq!(parse(router, &view, &reply), Some((Kind::Answer, &b"mark"[..])));
    assert_eq!(hand_in(&mut lab, reply), Verdict::Verified);
    // Not without end.
    let verdicts: Vec<Verdict> =
        (0..200).map(|_| hand_in(&mut lab, frame(router, Kind::Ask, b""))).collect();
    assert!(verdicts.contains(&Verdict::Drop(Reason::VerifyRate)));
}

#[test]
fn elsewhere_and_from_containers_it_is_a_frame_like_any_other() {
    let mut lab = Lab::closed();
    let router = lab.plan.network(vni(VNI)).unwrap().router_mac;
    let question = frame(router, Kind::Ask, b"mark");
    assert!(matches!(hand_in(&mut lab, question.clone()), Verdict::Drop(_)));
    let mut lab = Lab::new(Spec { encrypted: Some(Arc::default()), ..spec() });
    let (mut bytes, view) = (question.clone(), View::parse(&question).unwrap());
    let Lab { plan, switch, now } = &mut lab;
    let verdict = switch.from_port(plan, *now, A, &mut bytes, &view, &Offload::NONE);
    assert_eq!(verdict, Verdict::Drop(Reason::GuardMac));
}
