//! The protocol in a small simulated network, and against bytes that lie.

mod hostile;
mod life;
mod sim;
mod targets;
