//! A service: balanced, drained, and one container short.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::ensure;

use super::calls::{self, Server};
use super::cast::{CALLER, GREEN, HOSTS, PAGE_1, PAGE_2, PAGE_3};
use super::report::Report;
use super::story::create;
use super::world::World;

/// How often a service is called.
const CALLS: usize = 60;

/// The step of the demo.
pub(super) fn play(world: &World, report: &mut Report) -> anyhow::Result<()> {
    create(world, report, &GREEN, "A service: one name, one address, three containers behind it")?;
    let pages = [&PAGE_1, &PAGE_2, &PAGE_3];
    let _servers = pages
        .iter()
        .map(|page| Ok(Server::start(world.sandbox(page)?, page.ips[0], page.name)?))
        .collect::<anyhow::Result<Vec<Server>>>()?;
    let (name, caller) = (GREEN.service.unwrap_or_default(), world.sandbox(&CALLER)?);
    report.command(CALLER.name, format_args!("dig +short {name}"));
    let vip = calls::resolve(caller, name)?;
    report.check(format_args!("caller asks for {name}"), anyhow::Ok(vip));

    let answers = calls::calls(caller, vip, times(CALLS));
    report.check(
        format_args!("caller calls {vip}"),
        reached(answers, &["page-1", "page-2", "page-3"]),
    );

    report.command(HOSTS[PAGE_2.host], format_args!("vxmesh detach {}", PAGE_2.name));
    let stop = AtomicBool::new(false);
    let (gone, under_load) = thread::scope(|scope| {
        let calling = scope.spawn(|| calls::calls(caller, vip, || !stop.load(Ordering::Relaxed)));
        let gone = world.detach(&PAGE_2);
        stop.store(true, Ordering::Relaxed);
        (gone, calling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    report.check("page-2 is drained and detached", gone.map(|()| "its flows have ended"));
    report.check("meanwhile no call fails", reached(under_load, &[]));
    let answers = calls::calls(caller, vip, times(CALLS));
    report.check("the other two do its work", reached(answers, &["page-1", "page-3"]));
    world.attach(&PAGE_2)?;
    world.await_known(&PAGE_2)?;
    Ok(())
}

/// Says yes so often.
fn times(count: usize) -> impl FnMut() -> bool {
    let mut left = 0..count;
    move || left.next().is_some()
}

/// Who answered, if these did; any are right where none is named.
fn reached(answers: io::Result<BTreeMap<String, usize>>, who: &[&str]) -> anyhow::Result<String> {
    let answers = answers?;
    let text: Vec<String> = answers.iter().map(|(name, n)| format!("{n} by {name}")).collect();
    let right = who.is_empty() || answers.keys().map(String::as_str).eq(who.iter().copied());
    ensure!(right && !answers.is_empty(), "answered: {}", text.join(", "));
    Ok(text.join(", "))
}
