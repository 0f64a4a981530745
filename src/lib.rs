//! vxmesh carries the container networks of a cluster between hosts, in user
//! space: TAP devices on one side, UDP sockets on the other, and nothing else
//! from the kernel. This page is the map of the house.
//!
//! # One frame, from one container to another
//!
//! ```text
//!  container                                                     container
//!     |                                                              ^
//!  [kernel: TAP]                                               [kernel: TAP]
//!     | super-frame + virtio header                     super-frame  |
//!     v                                                              |
//!  dataplane::tap ----+                              +----> dataplane::tap
//!     | read          |                              |         ^ one write
//!     v               |                              |         |
//!  wire::frame        | same host: the super-frame   |      wire::coalesce
//!  wire::vnet         | goes over whole, nothing     |         ^ joined again
//!     | parsed once   | is split or summed           |         |
//!     v               |                              |      core::switch
//!  core::switch ------+------------------------------+         ^ admitted
//!     | verdict                                                |
//!     v                                                     wire::vxlan
//!  wire::gso     cut into segments, checksums finished         ^
//!     |                                                        | recvmmsg, UDP_GRO
//!     v                                                        |
//!  dataplane::udp ------------- UDP 4789, VXLAN ---------> dataplane::udp
//!                 one sendmsg, UDP_SEGMENT
//! ```
//!
//! # The rooms
//!
//! * [`wire`]: bytes to meaning and back. Total functions, no state.
//! * [`core`]: state machines without I/O; `(now, input) -> outputs`. The
//!   [`core::switch`] decides where a frame goes, the [`core::tables`] what may
//!   be created, and the [`core::plan`] is what the second tells the first.
//! * [`dataplane`]: hot I/O. One worker thread reads TAPs and sockets in batches.
//! * [`control`]: cold I/O. The daemon's loop, its API, its state on disk,
//!   namespaces and netlink.
//! * [`api`]: the types of the HTTP API between the daemon and its clients.
//! * [`client`]: that API from the other side.
//! * [`lab`]: hosts and containers made of namespaces, for `vxmesh demo` and
//!   `vxmesh bench`.
//! * [`cli`]: one file for each verb; a thin client of the API.
//!
//! Imports run one way: `wire` <- `core` <- `dataplane` <- `control` <- `cli`.
//! `control` and the worker meet only in the plan (published with `arc-swap`,
//! read once per batch) and in two bounded channels: commands down, events up.
//! `tests/imports/` holds this direction.
//!
//! # What is promised
//!
//! * No panic, whatever a container or the underlay sends; every parser in
//!   [`wire`] has a fuzz target.
//! * Every frame that is dropped raises one counter of [`core::drops::Reason`].
//! * `unsafe` stands only in the few files that talk to the kernel, and in the one
//!   that wipes keys.

pub mod api;
pub mod cli;
pub mod client;
pub mod control;
pub mod core;
pub mod dataplane;
pub mod lab;
pub mod wire;
