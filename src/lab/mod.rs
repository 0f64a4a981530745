//! A laboratory: hosts and containers as network namespaces of one machine,
//! joined by veth, with nothing but this program needed to build them.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`privilege`] | the right to make all this, or a sentence about what is missing |
//! | [`namespace`] | network namespaces that vanish with the process |
//! | [`link`] | veth pairs, a bridge, a VXLAN device, addresses, routes |
//! | [`ethtool`] | offload features of interfaces |
//! | [`underlay`] | the hosts' namespaces and what joins them |
//! | [`custody`] | child processes and files, and that none is left behind |
//! | [`host`] | a daemon on each host |
//! | [`ping`] | echo requests, IPv4 and IPv6 |
//! | [`bulk`] | TCP transfers whose every byte is checked |
//! | [`interrupt`] | Ctrl-C, so that all this is taken down first |
//! | [`demo`] | `vxmesh demo` |
//! | [`mod@bench`] | `vxmesh bench` |

pub mod bench;
pub mod bulk;
pub mod custody;
pub mod demo;
pub mod ethtool;
pub mod host;
pub mod interrupt;
pub mod link;
pub mod namespace;
pub mod ping;
pub mod privilege;
pub mod underlay;
