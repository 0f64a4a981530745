//! A laboratory: hosts and containers as network namespaces of one machine,
//! joined by veth, with nothing but this program needed to build them.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`namespace`] | network namespaces that vanish with the process |
//! | [`link`] | veth pairs, a bridge, addresses, routes |
//! | [`ping`] | echo requests, IPv4 and IPv6 |
//! | [`bulk`] | TCP transfers whose every byte is checked |

pub mod bulk;
pub mod link;
pub mod namespace;
pub mod ping;
