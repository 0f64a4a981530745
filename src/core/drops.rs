//! Every reason for which a frame is dropped, each with its own counter.

/// Declares the enum, its names and its explanations in one place, so that a
/// reason cannot be without them.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)+];

            /// The name that counters and `vxmesh status` show.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)+ }
            }

            /// One line for people who see the counter rise.
            pub fn explain(self) -> &'static str {
                match self { $(Reason::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    // From a container.
    /// A frame whose headers or lengths contradict each other.
    Malformed = "malformed",
    /// A VLAN-tagged or IEEE 802.3 frame.
    EtherType = "ethertype",
    /// A virtio header that disagrees with its frame.
    BadOffload = "bad-offload",
    /// A source MAC that is not the endpoint's.
    GuardMac = "guard-mac",
    /// A source address that is not the endpoint's.
    GuardIp = "guard-ip",
    /// An ARP packet that speaks for another's address.
    GuardArp = "guard-arp",
    /// A neighbour advertisement or solicitation that speaks for another's address.
    GuardNd = "guard-nd",
    /// A router advertisement or redirect from a container.
    GuardRa = "guard-ra",
    /// A TAP whose endpoint is already gone.
    NoEndpoint = "no-endpoint",
    /// An ARP or ND question about an address that no endpoint has.
    UnknownNeighbour = "unknown-neighbour",
    /// A unicast frame to a MAC that no endpoint has.
    UnknownUnicast = "unknown-unicast",
    /// Broadcast or multicast on a network without `--opt multicast`.
    Multicast = "multicast",
    /// Broadcast or multicast over the network's rate cap.
    MulticastRate = "multicast-rate",
    /// TTL or hop limit used up at the gateway; answered by ICMP.
    TimeExceeded = "time-exceeded",
    /// A destination outside the network's subnets; answered by ICMP.
    NoRoute = "no-route",
    /// A routed packet to an address of the network that no endpoint has; answered by ICMP.
    HostUnreachable = "host-unreachable",
    /// A packet to the gateway's own address that is no ping; answered by ICMP.
    GatewayClosed = "gateway-closed",
    /// Questions for DNS to the gateway over a container's rate.
    QuestionRate = "question-rate",
    /// A packet larger than the path; answered by ICMP.
    TooBig = "too-big",
    // To a virtual IP.
    /// A packet from or to port 0 at a virtual IP.
    PortZero = "port-zero",
    /// A TCP segment to a virtual IP that is of no connection; answered by a reset.
    NoFlow = "no-flow",
    /// A packet to a virtual IP without a usable backend; answered by a reset or ICMP.
    NoBackend = "no-backend",
    /// A packet of a connection whose backend is gone; TCP is answered by a reset.
    BackendGone = "backend-gone",
    /// A packet to a virtual IP that is neither TCP, UDP, SCTP nor ICMP; answered by ICMP.
    VipTransport = "vip-transport",
    /// A fragment to a virtual IP that came without, or before, the first of its packet.
    LostFragment = "lost-fragment",
    /// An ICMP error to a virtual IP about a packet that it never sent.
    StrayError = "stray-error",
    /// A new flow whose replies could not be told from another's: same client, port and backend.
    FlowClash = "flow-clash",
    /// A new flow from a container that holds its share of the table of flows, which is full.
    FlowTableFull = "flow-table-full",
    // From the underlay.
    /// A datagram on the VXLAN port with fewer than eight bytes.
    VxlanTruncated = "vxlan-truncated",
    /// A VXLAN header without the I flag.
    VxlanFlags = "vxlan-flags",
    /// A VNI that no network on this host has.
    UnknownVni = "unknown-vni",
    /// VXLAN from an address that is no VTEP of the network.
    Stranger = "stranger",
    /// VXLAN that claims to come from this host's own VTEP.
    OwnAddress = "own-address",
    /// A malformed frame inside VXLAN.
    InnerMalformed = "inner-malformed",
    /// A source MAC that no endpoint at the sending VTEP has.
    SpoofedMac = "spoofed-mac",
    /// A source address that no endpoint at the sending VTEP has, or not with that MAC.
    SpoofedIp = "spoofed-ip",
    /// A unicast frame from a VTEP for a MAC that has no endpoint here.
    NotHere = "not-here",
    /// A congestion mark on a packet whose transport cannot read it (RFC 6040).
    Congestion = "congestion",
    /// Questions of `network verify` over their rate.
    VerifyRate = "verify-rate",
    // Out of a sealed datagram, or instead of one.
    /// A plain frame of an encrypted network.
    ClearOnEncrypted = "clear-on-encrypted",
    /// A sealed frame of a network that is not encrypted.
    SealedOnPlain = "sealed-on-plain",
    /// A datagram that is neither VXLAN nor sealed nor a handshake, by its type or length.
    SealedMalformed = "sealed-malformed",
    /// Sealed with a key that this host does not have (any more).
    SealedUnknownKey = "sealed-unknown-key",
    /// Sealed in a lane that does not exist.
    SealedLane = "sealed-lane",
    /// Sealed with another key, or changed on the way.
    SealedForged = "sealed-forged",
    /// A sealed datagram that came before, or too late to tell.
    SealedReplay = "sealed-replay",
    /// Sealed with a key whose time is over.
    SealedExpired = "sealed-expired",
    /// A handshake that nobody of this cluster wrote, or not to this host.
    HandshakeForged = "handshake-forged",
    /// A handshake of a host that is no member.
    HandshakeStranger = "handshake-stranger",
    /// A handshake that came before, or that answers nothing.
    HandshakeReplay = "handshake-replay",
    /// A handshake beyond what this host takes at once; its sender is told how to show its address.
    HandshakeFlood = "handshake-flood",
    /// A handshake between hosts that have no cipher in common.
    HandshakeCipher = "handshake-cipher",
    // On the way out.
    /// A frame of an encrypted network for a host with which there is no session.
    NoSession = "no-session",
    /// A frame of an encrypted network that was about to leave in clear.
    ClearLeaving = "clear-leaving",
    /// The underlay socket's buffer was full.
    UnderlayFull = "underlay-full",
    /// The underlay refused the destination (no route, or the link is down).
    UnderlayUnreachable = "underlay-unreachable",
    /// The kernel refused a write to a TAP (the interface is down or gone).
    TapRefused = "tap-refused",
}
