//! `vxmesh demo`: the main job shown on one machine, with real daemons.
//!
//! | module | what it has |
//! | --- | --- |
//! | `cast` | who appears |
//! | `world` | hosts and containers while they exist |
//! | `story` | what happens, step by step |
//! | `service` | the step with a service; `calls` has its servers and their caller |
//! | `report` | how it is told |

mod calls;
mod cast;
mod report;
mod service;
mod story;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::anyhow;

use super::custody::Custody;
use super::interrupt::Interrupt;
use super::privilege::{self, Standing};
use report::Report;
use world::World;

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Plays the demo. With `keep` the lab stays up afterwards until Ctrl-C. To be
/// called from the main thread, before there is any other. An error if a check
/// failed, or if there can be no lab at all.
///
/// SIGINT, SIGTERM and SIGHUP take the lab down and end the process.
pub fn run(keep: bool) -> anyhow::Result<()> {
    let standing = privilege::obtain()?;
    let interrupt = Interrupt::hold()?;
    let custody = Custody::new()?;
    let mut report = Report::new();

    let exit_code = Arc::new(AtomicI32::new(INTERRUPTED));
    interrupt.on_arrival({
        let (custody, code, silent) = (custody.clone(), exit_code.clone(), report.silencer());
        move || {
            silent.store(true, Ordering::Relaxed);
            custody.clean_and_exit(code.load(Ordering::Relaxed))
        }
    });

    if standing == Standing::UserNamespace {
        report.remark("not root: the lab is in a user namespace of its own");
    }
    let outcome = perform(&custody, &mut report, standing, keep, &exit_code);
    custody.clean();
    outcome?;
    let left = custody.directory();
    let saw = if left.exists() { Err(anyhow!("{} is left", left.display())) } else { Ok("gone") };
    report.check("the lab's directory and processes", saw);
    report.summary();
    report.verdict()
}

/// The demo between making the lab and taking it down; with `keep` it does not
/// return.
fn perform(
    custody: &Custody,
    report: &mut Report,
    standing: Standing,
    keep: bool,
    exit_code: &AtomicI32,
) -> anyhow::Result<()> {
    let mut world = World::new(custody)?;
    if let Err(error) = story::play(&mut world, report, keep) {
        report.check("the story goes on to its end", Err::<&str, _>(error));
        show_logs(&world, report);
    }
    if keep {
        report.summary();
        // Before anybody is told to press Ctrl-C.
        exit_code.store(i32::from(report.verdict().is_err()), Ordering::Relaxed);
        story::explore(&world, report, standing);
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

fn show_logs(world: &World, report: &Report) {
    for host in &world.hosts {
        report.remark(format_args!("the end of {}'s log:", host.name));
        for line in host.log_tail(15) {
            report.text(format_args!("     {line}"));
        }
    }
}
