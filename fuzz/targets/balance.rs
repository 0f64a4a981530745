//! Packets, time and changes to services: the switch does what a naive model does.
//!
//! Input: the scheduler (1 byte), then steps of three bytes; see the model.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| vxmesh_fuzz::balance::run(input));
