//! How many instructions the hot functions take, against committed limits.
//!
//! Unlike time, counts are the same in every run, also on a busy machine. This
//! program runs itself under valgrind once for each subject of `bench/`.

#![allow(clippy::unwrap_used)] // a helper's failed unwrap fails the test, as it should

#[path = "../bench/subjects.rs"]
mod subjects;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::{env, fs};

use subjects::{SUBJECTS, Subject, Work};

const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/instructions.toml");
/// Names the subject to the program inside valgrind.
const INSIDE: &str = "VXMESH_INSTRUCTIONS_OF";
/// A count may be this much over its limit, in percent: compilers differ a little.
const HEADROOM: u64 = 10;
/// Calls that a count is the mean of.
const CALLS: u64 = 16;

#[test]
fn hot_functions_stay_within_their_limits() {
    if let Ok(name) = env::var(INSIDE) {
        let subject = SUBJECTS.iter().find(|s| s.name == name).unwrap();
        let mut work = (subject.prepare)();
        work(); // what happens once only, such as symbol resolution
        return instructions_counted(&mut work);
    }
    if let Err(why) = able() {
        return skip(why);
    }
    let limits: BTreeMap<String, u64> =
        toml::from_str(&fs::read_to_string(LIMITS).unwrap()).unwrap();
    let names: Vec<&str> = SUBJECTS.iter().map(|s| s.name).collect();
    for name in limits.keys() {
        assert!(names.contains(&name.as_str()), "{LIMITS} has a limit for {name}, which is gone");
    }
    let over: Vec<&str> = SUBJECTS
        .iter()
        .filter(|s| !within(count(s), *limits.get(s.name).unwrap_or(&0), s))
        .map(|s| s.name)
        .collect();
    assert!(
        over.is_empty(),
        "too many instructions in {over:?}: make them cheaper again or, if what they do now is \
         worth it, write the new counts into {LIMITS}"
    );
}

/// Prints a line of the table; whether the count is within the limit.
fn within(count: u64, limit: u64, subject: &Subject) -> bool {
    let per = |n: u64| if n == 0 { "-".into() } else { format!("{:.2}", count as f64 / n as f64) };
    println!(
        "{:20} {count:>7} instructions of {limit:>7}, {:>7} a frame, {:>5} a byte",
        subject.name,
        per(subject.frames),
        per(subject.bytes),
    );
    count * 100 <= limit * (100 + HEADROOM)
}

/// Valgrind counts between entry to and exit from this function.
#[inline(never)]
fn instructions_counted(work: &mut Work) {
    for _ in 0..CALLS {
        work();
    }
}

/// Instructions of one call.
fn count(subject: &Subject) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*::instructions_counted*")
        .arg(env::current_exe().unwrap())
        .args(["--exact", "hot_functions_stay_within_their_limits"])
        .env(INSIDE, subject.name)
        // memcpy as on any x86-64, whatever this CPU has.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", subject.name);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).unwrap().1;
    match collected.trim().parse::<u64>().unwrap() / CALLS {
        0 => panic!("{}: valgrind counted nothing: {said}", subject.name),
        count => count,
    }
}

/// Whether counts here can be compared with the limits.
fn able() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("its limits are for the release profile: `cargo test --release`");
    }
    if !cfg!(target_arch = "x86_64") {
        return Err("its limits are for x86-64");
    }
    let valgrind = Command::new("valgrind").arg("--version").output();
    valgrind.map(drop).map_err(|_| "it needs valgrind: `apt-get install valgrind`")
}

/// Says why the test cannot run: on the terminal, and in the file that
/// `tests/run` reads its number of skipped tests from.
fn skip(why: &str) {
    let line = format!("SKIPPED: hot_functions_stay_within_their_limits: {why}\n");
    // Not eprint!, which the test harness keeps to itself.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(file) = env::var_os("VXMESH_SKIP_FILE") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
