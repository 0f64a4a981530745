//! Which VTEPs may send frames of a network at all, and in which dress.

use std::net::IpAddr;

use super::Switch;
use crate::core::drops::Reason;
use crate::core::plan::{Network, Plan};
use crate::wire::vxlan::Vni;

/// A VTEP that may send frames of a network, and what the plan says of it. All
/// datagrams of one VTEP and VNI that are handled with one plan share it.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    pub(super) network: &'a Network,
    pub(super) vtep: IpAddr,
    /// It was added by hand and is learned from.
    pub(super) foreign: bool,
    /// The largest IP packet inside that reaches it.
    pub(super) mtu: u16,
}

/// How a frame came, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    /// In plain VXLAN.
    Clear,
    /// Sealed, and known to be from that VTEP's host.
    Sealed,
}

impl<'a> Admission<'a> {
    /// The network.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// Whether it is for this VTEP and network as well.
    pub fn covers(&self, vtep: IpAddr, vni: Vni, dress: Dress) -> bool {
        self.vtep == vtep && self.network.vni == vni && self.network.dress() == dress
    }
}

impl Network {
    /// How its frames cross the underlay.
    pub fn dress(&self) -> Dress {
        if self.encrypted.is_some() { Dress::Sealed } else { Dress::Clear }
    }
}

impl Switch {
    /// Whether datagrams of `vni` from `vtep` are taken at all: asked before
    /// the inner frame is looked at.
    pub fn admit(
        plan: &Plan,
        vtep: IpAddr,
        vni: Vni,
        dress: Dress,
    ) -> Result<Admission<'_>, Reason> {
        if vtep == plan.vtep {
            return Err(Reason::OwnAddress);
        }
        let network = plan.network(vni).ok_or(Reason::UnknownVni)?;
        match (dress, network.dress()) {
            (Dress::Clear, Dress::Sealed) => return Err(Reason::ClearOnEncrypted),
            (Dress::Sealed, Dress::Clear) => return Err(Reason::SealedOnPlain),
            _ => {}
        }
        let foreign = network.is_foreign(vtep);
        if !foreign && !network.is_member(vtep) {
            return Err(Reason::Stranger);
        }
        Ok(Admission { network, vtep, foreign, mtu: network.mtu_to(vtep) })
    }
}
