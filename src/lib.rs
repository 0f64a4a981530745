//! The map of the house.

pub mod api;
pub mod cli;
pub mod control;
pub mod core;
pub mod dataplane;
pub mod lab;
pub mod wire;
