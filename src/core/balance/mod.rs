//! Services in the data path: which backend a flow goes to, and how its packets
//! are rewritten. The source's host decides, so that a client's address is kept.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`vip`] | a virtual IP and its backends, as the plan has them |

pub mod vip;

pub use vip::{Backend, Scheduler, Standing, Vip};
