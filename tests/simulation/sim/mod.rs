//! The cluster's production core on many hosts, with a virtual clock, a virtual
//! network and virtual disks.
//!
//! | file | what it is |
//! | --- | --- |
//! | `world` | the queue of events, and what happens at each |
//! | `host` | one host: its machine, its disk, its clock |
//! | `network` | the underlay, and all chance |
//! | `calls` | requests between hosts; joining and leaving |
//! | `work` | what people do: networks and endpoints come and go |
//! | `services` | and services |
//! | `faults` | what goes wrong |
//! | `truth` | what must never happen |
//! | `scenario` | a whole run of one seed |
//! | `measure` | how long things take, and what they cost |

mod calls;
mod faults;
mod host;
pub(crate) mod measure;

mod network;
pub(crate) mod scenario;
mod services;
mod truth;
mod work;
pub(crate) mod world;
