//! Cold I/O: everything that is not a frame.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`daemon`] | start, restore, run, end |
//! | [`config`] | flags over the configuration file over defaults |
//! | [`server`] | the API on its unix socket |
//! | [`state`] | the one owner of the tables; networks, VTEPs, status |
//! | `cluster` | the cluster's machine: its port, its state, its verbs |
//! | `seal` | encrypted networks: who has which keys, and how the sessions are |
//! | `service` | services: created, changed, shown |
//! | [`attach`] | endpoints of this host: made, restored, released |
//! | `names` | DNS in the sandboxes, resolv.conf, upstream resolvers |
//! | `health`, `drain` | backends of services: tested where they are, and gone without a loss |
//! | [`watch`] | sandboxes that vanish |
//! | `flows` | connections to services that outlive the process |
//! | [`store`] | what outlives the process |
//! | [`netns`], [`netlink`], [`underlay`] | the kernel's side |
//!
//! The tables are behind one lock that is held for moments; what blocks (name
//! spaces, netlink, TAPs) happens outside it, on blocking threads.

pub mod attach;
mod cluster;
pub mod config;
pub mod daemon;
mod drain;
pub mod error;
mod extract;
mod flows;
mod health;
mod names;
pub mod netlink;
pub mod netns;
mod seal;
pub mod server;
mod service;
pub mod state;
pub mod store;
#[cfg(test)]
mod tests;
pub mod underlay;
mod verify;
mod view;
pub mod watch;

pub use error::Error;
