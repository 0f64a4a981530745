//! The direction of imports, as ARCHITECTURE.md draws it: which room of the
//! house may use which, what the pure rooms may not touch, and where `unsafe`
//! may stand.

#![allow(clippy::unwrap_used)] // a helper's failed unwrap fails the test, as it should

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use source::Source;

/// Every room, and the rooms that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("core", &["wire"]),
    ("dataplane", &["core", "wire"]),
    ("api", &["core", "wire"]),
    ("client", &["api"]),
    ("control", &["api", "core", "dataplane", "wire"]),
    ("lab", &["api", "client", "core", "wire"]),
    ("cli", &["api", "client", "control", "core", "dataplane", "lab", "wire"]),
];

/// The rooms that a simulator must be able to run: no I/O, no clock, no threads,
/// no randomness of their own. Their tests may.
const PURE: &[&str] = &["wire", "core"];

/// What the pure rooms may not name.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime::now", // as a value it may come in
    "Instant::now",
    "SystemTime::now",
    // Seeded by the operating system: another order in every run.
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "HashMap::new",
    "HashSet::new",
    "getrandom",
    "libc",
    "mio",
    "nix",
    "socket2",
    "tokio",
];

/// The files that face the operating system, and the one that overwrites a foreign
/// type's keys, which safe code cannot: it must read a value out of memory that it
/// is allowed to fill with zeros. Nothing else holds `unsafe`.
const UNSAFE: &[&str] = &[
    "src/control/netns.rs",
    "src/core/seal/cipher/wiped.rs",
    "src/dataplane/mmsg.rs",
    "src/dataplane/tap.rs",
    "src/dataplane/udp.rs",
    "src/lab/custody.rs",
    "src/lab/ethtool.rs",
];

/// What a file does that it may not, a sentence each. `file` is its path from
/// the package's root; `test`: only tests see it.
fn offences(file: &str, text: &str, test: bool) -> Vec<String> {
    let module = module_of(file);
    let source = Source::parse(text);
    let mut offences = Vec::new();
    if !UNSAFE.contains(&file) {
        let lines = source.lines_with("unsafe");
        offences.extend(lines.iter().map(|line| format!("{file}:{line} holds unsafe")));
    }
    let Some(room) = module.first() else { return offences };
    let allowed = ROOMS.iter().find(|(name, _)| name == room).map_or(&[][..], |(_, may)| may);
    let pure = PURE.contains(&room.as_str()) && !test;
    for path in source.paths(&module) {
        let at = format!("{file}:{}", path.line);
        if let [root, other, ..] = &path.segments[..]
            && root == "crate"
            && other != room
            && !allowed.contains(&other.as_str())
        {
            offences.push(format!("{at} imports {other} into {room}"));
        }
        let name = path.segments.join("::");
        let named = |bad: &&&str| name == **bad || name.starts_with(&format!("{bad}::"));
        if let Some(bad) = IMPURE.iter().find(named)
            && pure
            && !path.test
        {
            offences.push(format!("{at} names {bad} in {room}"));
        }
    }
    offences.dedup();
    offences
}

/// `src/core/switch/mod.rs` is `core::switch`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|s| !["lib", "main"].contains(s)).map(String::from).collect()
}

/// Every source file: its path from the package's root, and its text.
fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let file = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
            found.push((file.to_str().unwrap().into(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn house() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    assert!(found.iter().any(|(file, _)| file == "src/lib.rs"));
    found
}

#[test]
fn the_house_keeps_its_rules() {
    let house = house();
    let mut for_tests = BTreeSet::new();
    for (file, text) in &house {
        let module = module_of(file);
        let children = Source::parse(text).test_modules();
        for_tests.extend(children.into_iter().map(|child| [&module[..], &[child]].concat()));
    }
    let offences: Vec<String> = house
        .iter()
        .flat_map(|(file, text)| offences(file, text, for_tests.contains(&module_of(file))))
        .collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_room_is_in_the_plan() {
    let rooms: BTreeSet<String> =
        house().iter().filter_map(|(file, _)| module_of(file).into_iter().next()).collect();
    let planned: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).into()).collect();
    assert_eq!(rooms, planned);
}

#[test]
fn imports_against_the_direction_are_found() {
    let cases = [
        ("src/wire/mac.rs", "use crate::core::plan;", "core"),
        ("src/core/plan.rs", "use crate::{wire::mac, dataplane::tap::{self, Tap}};", "dataplane"),
        ("src/core/switch/mod.rs", "fn f() { super::super::control::g() }", "control"),
        ("src/core/plan.rs", "use super::super::{wire, api as other};", "api"),
        ("src/core/plan.rs", "mod inner { use super::super::super::cli; }", "cli"),
        ("src/core/plan.rs", "use super::{super::lab, ipam};", "lab"),
        ("src/core/mod.rs", "use super::*;", "*"),
        ("src/core/mod.rs", "#[cfg(test)] mod tests { use crate::control; }", "control"),
        ("src/dataplane/udp.rs", "macro_rules! m { () => { $crate::control::x } }", "control"),
        ("src/api.rs", "/* crate::cli */ fn f(a: crate::control::A) {}", "control"),
        ("src/control/mod.rs", "use crate::lab;", "lab"),
    ];
    for (file, text, other) in cases {
        let room = module_of(file).remove(0);
        let expected = format!("{file}:1 imports {other} into {room}");
        assert_eq!(offences(file, text, false), [expected], "{text}");
    }
}

#[test]
fn imports_along_the_direction_are_not() {
    let text = r##"
        //! See [`crate::cli`] and [`super::super::control`].
        /// Like [`crate::control::daemon`], /* crate::cli */ not.
        use crate::wire::{mac::Mac, vxlan};
        use crate::core::plan::{self, Plan};
        use super::counters;
        pub(crate) fn f<'a>(x: &'a str) -> char {
            let _ = ("crate::cli", r#"use "crate::lab";"#, b"crate::api", '"', '\'', '{');
            'c'
        }
        mod inner { use super::super::tap; use super::f; }
        /* /* crate::cli */ crate::lab */
    "##;
    assert_eq!(offences("src/dataplane/udp.rs", text, false), [""; 0]);
}

#[test]
fn impurity_is_found_outside_tests_only() {
    let impure = [
        ("use std::net::{IpAddr, UdpSocket};", "std::net::UdpSocket"),
        ("use std::{fmt, fs::File};", "std::fs"),
        ("fn f() { ::std::thread::spawn(g); }", "std::thread"),
        ("fn f() -> u64 { std::time::Instant::now() }", "std::time::Instant"),
        ("fn f() { std::time::SystemTime::now(); }", "std::time::SystemTime::now"),
        ("use std::time::SystemTime; fn f() { SystemTime::now(); }", "SystemTime::now"),
        ("fn f() { getrandom::fill(&mut x); }", "getrandom"),
        ("#[cfg(not(test))] fn f() { libc::close(1); }", "libc"),
        ("#[cfg(test)] use std::fs; fn f() { tokio::spawn(g); }", "tokio"),
        ("#[cfg(test)] fn g() -> [u8; 2] { [1; 2] } fn f() { mio::Poll::new(); }", "mio"),
    ];
    for (text, bad) in impure {
        let expected = format!("src/core/plan.rs:1 names {bad} in core");
        assert_eq!(offences("src/core/plan.rs", text, false), [expected], "{text}");
        assert_eq!(offences("src/control/mod.rs", text, false), [""; 0], "{text}");
        assert_eq!(offences("src/core/plan/tests.rs", text, true), [""; 0], "{text}");
    }
    let tested =
        "#[cfg(test)] #[allow(unused)] mod tests { use std::fs; fn f() { libc::close(1); } }";
    assert_eq!(offences("src/core/plan.rs", tested, false), [""; 0]);
    let allowed = "use std::net::IpAddr; use std::time::Duration; let libc_free = 1;";
    assert_eq!(offences("src/wire/mac.rs", allowed, false), [""; 0]);
}

#[test]
fn unsafe_is_found_outside_its_files() {
    let text = "// unsafe\n#![deny(unsafe_code)]\nfn f() { unsafe { g() } }";
    assert_eq!(offences("src/core/plan.rs", text, false), ["src/core/plan.rs:3 holds unsafe"]);
    assert_eq!(offences("src/main.rs", text, false), ["src/main.rs:3 holds unsafe"]);
    assert_eq!(offences("src/dataplane/tap.rs", text, false), [""; 0]);
}

#[test]
fn files_under_cfg_test_are_known() {
    let source = Source::parse("mod a; #[cfg(test)] mod tests; #[cfg(test)] mod b { mod c; }");
    assert!(source.test_modules().contains("tests"));
    assert!(!source.test_modules().contains("a"));
}
