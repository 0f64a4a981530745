use super::*;

/// What both sides of [`connect`]'s connection are told when it is broken off.
fn assert_reset(lab: &mut Lab, family: Family, backend: Option<Host>) {
    let said = lab.settle();
    assert_eq!(said.len(), 1 + usize::from(backend.is_some()));
    assert_eq!(said[0].target, Target::Port(A));
    assert_eq!(addressed(&said[0].frame), (vip(lab, family), client(family)));
    let want = Read { ports: (80, 40_000), flags: RST_ACK, sequence: 5000, ack: 1008 };
    assert_eq!(read(&said[0].frame), want, "what the client takes as the next");
    if let Some(backend) = backend {
        assert_eq!(said[1].target, home(backend));
        let server = (backend.mac, family.of(backend));
        assert_eq!(addressed(&said[1].frame), (client(family), server));
        let want = Read { ports: (40_000, 80), flags: RST_ACK, sequence: 1000, ack: 5000 };
        assert_eq!(read(&said[1].frame), want);
    }
    let stats = lab.switch.flow_stats();
    assert_eq!((stats.active, stats.reset), (0, 1));
}

#[test]
fn an_idle_connection_is_reset_when_its_backend_goes() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        connect(&mut lab, family, 40_000, remote());
        // The endpoint is gone altogether.
        let mut spec = Service { version: 2, ..Service::of(&[b()]) }.spec();
        spec.remotes.remove(0);
        lab.replan(spec);
        assert_reset(&mut lab, family, None);

        // It has only left the service.
        for vips in [Service { version: 2, ..Service::of(&[b()]) }.vips(), Vec::new()] {
            let mut lab = Service::of(&[remote()]).lab();
            connect(&mut lab, family, 40_000, remote());
            lab.replan(Spec { vips, ..spec_of() });
            assert_reset(&mut lab, family, Some(remote()));
        }
    }
}

fn spec_of() -> Spec {
    super::super::spec()
}

#[test]
fn the_next_packet_is_answered_before_the_sweep_comes() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        connect(&mut lab, family, 40_000, remote());
        lab.plan = plan(Service { version: 2, ..Service::of(&[b()]) }.spec());
        assert_eq!(send(&mut lab, family, 40_000, DATA).0, Verdict::Drop(Reason::BackendGone));
        assert_reset(&mut lab, family, Some(remote()));
        let verdict = send(&mut lab, family, 40_000, DATA).0;
        assert_eq!(
            verdict,
            Verdict::Reply(Some(Reason::NoFlow)),
            "and whoever missed it hears again"
        );
    }
}

#[test]
fn connections_outlive_the_health_of_their_backend() {
    for family in FAMILIES {
        for standing in [Standing::Unhealthy, Standing::Draining, Standing::Starting] {
            let both = Service::of(&[remote()]);
            let mut lab = both.lab();
            connect(&mut lab, family, 40_000, remote());
            lab.replan(both.standing(remote(), standing).spec());
            assert!(lab.settle().is_empty());
            assert_eq!(send(&mut lab, family, 40_000, DATA).0, Verdict::To(home(remote())));
            let verdict = send(&mut lab, family, 40_001, SYN).0;
            assert_eq!(verdict, Verdict::Reply(Some(Reason::NoBackend)), "no new ones");
        }
    }
}

#[test]
fn datagrams_go_to_another_backend_unless_theirs_drains() {
    for family in FAMILIES {
        for swept in [false, true] {
            for (standing, stays) in [
                (Some(Standing::Draining), true),
                (Some(Standing::Starting), true),
                (Some(Standing::Unhealthy), false),
                (None, false),
            ] {
                let mut lab = Service::of(&[remote()]).lab();
                assert_eq!(ask(&mut lab, family, 40_000).0, Verdict::To(home(remote())));
                let after = match standing {
                    Some(standing) => Service::of(&[remote(), b()]).standing(remote(), standing),
                    None => Service { version: 2, ..Service::of(&[b()]) },
                };
                lab.replan(after.spec());
                if swept {
                    assert!(lab.settle().is_empty());
                }
                let want = if stays { remote() } else { b() };
                let verdict = ask(&mut lab, family, 40_000).0;
                assert_eq!(verdict, Verdict::To(home(want)), "{standing:?}");
            }
        }
    }
}

#[test]
fn an_unanswered_syn_is_tried_elsewhere() {
    for family in FAMILIES {
        for after in [
            Service::of(&[remote(), b()]).standing(remote(), Standing::Unhealthy),
            Service::of(&[remote(), b()]).standing(remote(), Standing::Draining),
            Service { version: 2, ..Service::of(&[b()]) },
        ] {
            let mut lab = Service::of(&[remote()]).lab();
            assert_eq!(send(&mut lab, family, 40_000, SYN).0, Verdict::To(home(remote())));
            assert_eq!(send(&mut lab, family, 40_000, SYN).0, Verdict::To(home(remote())));
            lab.replan(after.spec());
            assert!(lab.settle().is_empty());
            assert_eq!(send(&mut lab, family, 40_000, SYN).0, Verdict::To(home(b())));
        }
        // With nowhere else to go the client is refused.
        let mut lab = Service::of(&[remote()]).lab();
        send(&mut lab, family, 40_000, SYN);
        lab.replan(Service { version: 2, ..Service::of(&[]) }.spec());
        let said = lab.settle();
        let want = Read { ports: (80, 40_000), flags: RST_ACK, sequence: 0, ack: 1000 };
        assert_eq!(read(&said[0].frame), want);
    }
}

#[test]
fn flows_to_a_backend_are_counted_and_reset() {
    for family in FAMILIES {
        let mut lab = Service::of(&[remote()]).lab();
        let backend = family.of(remote());
        let count = |lab: &mut Lab| lab.switch.flows(vni(VNI), &[backend, family.of(b())]);
        connect(&mut lab, family, 40_000, remote());
        ask(&mut lab, family, 40_000);
        connect(&mut lab, family, 40_002, remote());
        assert_eq!(count(&mut lab), 3);
        assert_eq!(lab.switch.flows(vni(OTHER), &[backend]), 0);
        let fin = Seg { flags: flag::FIN | flag::ACK, ..DATA };
        send(&mut lab, family, 40_002, fin);
        assert_eq!(count(&mut lab), 3, "half closed");
        answer(&mut lab, family, 40_002, remote(), Seg { flags: flag::FIN | flag::ACK, ..ANSWER });
        assert_eq!(count(&mut lab), 2);
        lab.switch.reset_flows(vni(VNI), &[backend]);
        assert_reset(&mut lab, family, Some(remote()));
        assert_eq!(count(&mut lab), 0);
        assert_eq!(ask(&mut lab, family, 40_000).0, Verdict::To(home(remote())), "only those");
        assert!(lab.settle().is_empty());
        assert_eq!(count(&mut lab), 1);
    }
}

#[test]
fn flows_of_a_container_that_is_gone_are_forgotten() {
    let mut lab = Service::of(&[remote()]).lab();
    connect(&mut lab, Family::V4, 40_000, remote());
    let mut spec = Service::of(&[remote()]).spec();
    spec.ports.remove(0);
    lab.replan(spec);
    assert!(lab.settle().is_empty());
    assert_eq!(lab.switch.flow_stats().active, 0);
}
