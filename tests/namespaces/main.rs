//! The built program in real network namespaces: real daemons, real TAPs, real
//! containers' TCP/IP, real foreign VTEPs.
//!
//! | module | what it holds the program to |
//! | --- | --- |
//! | [`peers_kernel`] | the other VTEP is a Linux `vxlan` device |
//! | [`peers_ovs`] | the other VTEP is Open vSwitch's userspace datapath |
//! | [`two_hosts`] | two daemons: traffic, super-frames, fallbacks |
//! | [`router`] | the gateway: routing, ICMP errors, path MTU |
//! | [`separation`] | isolation, multicast |
//! | [`lifecycle`] | restart, kill -9, release, leaks |
//! | [`names`] | DNS in the containers, forwarding, resolv.conf |
//! | [`names_hostile`] | floods, slow clients, liars upstream |
//! | [`balance`] | traffic through virtual IPs |
//! | [`rolling`] | backends that come and go under load |
//! | [`services`] | services by name: on all hosts, in DNS, changed, refused |
//! | [`attach`] | where an interface may go, addresses, undoing |
//! | [`refusals`] | bad command lines and bad API requests |
//! | [`cluster`] | hosts that join: what they share, whom they refuse |
//! | [`cluster_faults`] | the underlay cut, frames lost, daemons killed |
//! | [`cluster_members`] | hosts that move, leave, or are removed |
//! | [`cluster_disk`] | a full disk, a damaged state file |
//! | [`cluster_strangers`] | strangers on the control port |
//! | [`cluster_scale`] | many daemons on one machine |
//! | [`encrypted`] | encrypted networks: what the underlay sees, what gets in |
//! | [`hostile_wire`] | bad datagrams from the underlay |
//! | [`hostile_member`] | members that send as others |
//! | [`hostile_container`] | bad frames from a container |
//!
//! All of it is one binary, so that the laboratory in [`common`] is compiled
//! once. A test that cannot run here says so with `need!` and is counted as
//! skipped by `tests/run`.

#![allow(clippy::unwrap_used, reason = "what a test cannot have it should stop at")]

#[macro_use]
mod common;

mod attach;
mod balance;
mod cluster;
mod cluster_disk;
mod cluster_faults;
mod cluster_members;
mod cluster_scale;
mod cluster_strangers;
mod encrypted;
mod hostile_container;
mod hostile_member;
mod hostile_wire;
mod lifecycle;
mod names;
mod names_hostile;
mod peers_kernel;
mod peers_ovs;
mod refusals;
mod rolling;
mod router;
mod separation;
mod services;
mod two_hosts;
