//! Where a frame goes.

use std::net::IpAddr;

use super::Now;
use super::drops::Reason;
use super::plan::{Plan, PortId, Target};
use crate::wire::frame::View;
use crate::wire::vnet::Offload;
use crate::wire::vxlan::Vni;

/// What to do with the frame that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more; count the reason.
    Drop(Reason),
    /// Nothing more; the frame was for the router, which has no answer to it.
    Consumed,
    /// Send it there. Its headers may have been rewritten in place (routing).
    To(Target),
    /// Send a copy to each of [`Switch::targets`].
    Flood,
    /// Send [`Switch::reply`] back to where the frame came from; the frame
    /// itself is done with, and counted if there is a reason.
    Reply(Option<Reason>),
}

/// The forwarding state machine of one worker.
#[derive(Debug)]
pub struct Switch {}

impl Switch {
    /// A switch that has learned nothing. `seed` keys its look-ups.
    pub fn new(seed: u64) -> Switch {
        let _ = seed;
        Switch {}
    }

    /// A frame that a container sent through its TAP. `view` and `offload`
    /// describe `frame`, which may be a super-frame.
    pub fn from_port(
        &mut self,
        plan: &Plan,
        now: Now,
        port: PortId,
        frame: &mut [u8],
        view: &View,
        offload: &Offload,
    ) -> Verdict {
        let _ = (plan, now, port, frame, view, offload);
        Verdict::Consumed
    }

    /// A frame that came out of VXLAN from `vtep`.
    pub fn from_vtep(
        &mut self,
        plan: &Plan,
        now: Now,
        vtep: IpAddr,
        vni: Vni,
        frame: &mut [u8],
        view: &View,
    ) -> Verdict {
        let _ = (plan, now, vtep, vni, frame, view);
        Verdict::Consumed
    }

    /// Whether datagrams of `vni` from `vtep` are taken at all: asked before
    /// the inner frame is looked at.
    pub fn admit(plan: &Plan, vtep: IpAddr, vni: Vni) -> Result<(), Reason> {
        let _ = (plan, vtep, vni);
        Ok(())
    }

    /// A frame that answers the last one, after [`Verdict::Reply`].
    pub fn reply(&self) -> &[u8] {
        &[]
    }

    /// An ICMP "packet too big" for a frame of `port` that the underlay
    /// refused; `mtu` is the largest inner IP packet that fits. `true` if
    /// [`Switch::reply`] holds one (it is rate-limited like all ICMP errors).
    pub fn too_big(
        &mut self,
        plan: &Plan,
        now: Now,
        port: PortId,
        frame: &[u8],
        view: &View,
        mtu: u16,
    ) -> bool {
        let _ = (plan, now, port, frame, view, mtu);
        false
    }

    /// Where copies go, after [`Verdict::Flood`].
    pub fn targets(&self) -> &[Target] {
        &[]
    }
}
