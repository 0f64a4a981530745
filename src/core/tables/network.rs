//! Networks: what may be created, and what follows when it is left out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Id, Refusal, Tables, check_name, listed};
use crate::core::ipam::{Pool, default_gateway, overlap};
use crate::core::plan::{self, Subnet};
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

/// VNIs are chosen from here upwards, as Docker does.
pub(in crate::core) const FIRST_VNI: u32 = 4096;
/// Docker's name for the MTU among the options.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// Docker's name for what makes a network encrypted.
const ENCRYPTED_OPTION: &str = "encrypted";

/// The record of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Never changes.
    pub id: Id,
    /// Unique, but for networks that two parts of a cluster created while they
    /// did not see each other.
    pub name: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// Its identifier on the wire.
    pub vni: Vni,
    /// As asked for; `None` is what the underlay leaves.
    pub mtu: Option<u16>,
    /// Its subnets; at least one.
    pub pools: Vec<Pool>,
    /// Whether containers get no default route.
    pub internal: bool,
    /// As given.
    pub options: BTreeMap<String, String>,
    /// As given.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// The pool that an address lies in.
    pub fn pool_of(&self, ip: IpAddr) -> Option<&Pool> {
        self.pools.iter().find(|p| p.net.contains(&ip))
    }

    /// Its subnets as the data plane wants them.
    pub fn subnets(&self) -> Vec<Subnet> {
        self.pools.iter().map(|p| Subnet { net: p.net, gateway: p.gateway }).collect()
    }

    /// The MAC at which its router answers.
    pub fn router_mac(&self) -> Mac {
        plan::router_mac(&self.subnets())
    }

    /// Whether it has an IPv6 subnet.
    pub fn has_ipv6(&self) -> bool {
        self.pools.iter().any(|p| p.gateway.is_ipv6())
    }

    /// The smallest MTU that its IP versions can do with.
    pub(super) fn smallest_mtu(&self) -> u16 {
        smallest_mtu(self.has_ipv6())
    }

    /// Whether broadcast and multicast are replicated.
    pub fn multicast(&self) -> bool {
        is_on(&self.options, "multicast")
    }

    /// Whether its frames leave a host sealed, or not at all. Its id says the same.
    pub fn encrypted(&self) -> bool {
        is_on(&self.options, ENCRYPTED_OPTION)
    }
}

/// Whether an option was given, and not as false.
fn is_on(options: &BTreeMap<String, String>, option: &str) -> bool {
    matches!(options.get(option).map(String::as_str), Some("" | "true"))
}

/// A network to create. Everything but the name may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// One of the cluster's default pools if empty.
    pub subnets: Vec<IpNet>,
    /// At most one in each subnet.
    pub gateways: Vec<IpAddr>,
    /// Part of one of the subnets.
    pub ip_range: Option<IpNet>,
    /// The lowest free one of this host's share if `None`.
    pub vni: Option<Vni>,
    /// What the underlay leaves if `None`.
    pub mtu: Option<u16>,
    /// No default route.
    pub internal: bool,
    /// `encrypted`, `multicast`, Docker's MTU option.
    pub options: BTreeMap<String, String>,
    /// Free text.
    pub labels: BTreeMap<String, String>,
}

impl NewNetwork {
    /// Whether it is to be encrypted.
    pub fn encrypted(&self) -> bool {
        is_on(&self.options, ENCRYPTED_OPTION)
    }
}

impl Tables {
    /// What can be said of a new network before anything is allocated for it.
    /// `host_routes` are the destinations that this host reaches otherwise,
    /// without default routes.
    pub fn check_network(&self, new: &NewNetwork, host_routes: &[IpNet]) -> Result<(), Refusal> {
        check_name("a network", &new.name)?;
        if let Some(old) = self.networks.values().find(|n| n.name == new.name) {
            return Err(Refusal::Conflict(format!(
                "network {} exists already ({}): choose another name, or remove it first",
                old.name,
                old.id.short()
            )));
        }
        check_options(&new.options)?;
        if new.subnets.is_empty() && (!new.gateways.is_empty() || new.ip_range.is_some()) {
            return Err(Refusal::Invalid(
                "a gateway or an address range needs its subnet: give --subnet too".to_owned(),
            ));
        }
        if let Some(vni) = new.vni {
            self.check_vni(vni)?;
        }
        self.pools(new, host_routes)?;
        self.requested_mtu(new, new.subnets.iter().any(|s| s.addr().is_ipv6()))?;
        Ok(())
    }

    /// Creates a network with a VNI and at least one subnet. Its id is made of
    /// `random`, and says whether it is encrypted.
    pub fn create_network(
        &mut self,
        new: NewNetwork,
        vni: Vni,
        random: [u8; 32],
        now: SystemTime,
        host_routes: &[IpNet],
    ) -> Result<Network, Refusal> {
        let id = Id::of_network(random, new.encrypted());
        self.check_network(&new, host_routes)?;
        self.check_vni(vni)?;
        let pools = self.pools(&new, host_routes)?;
        let mtu = self.requested_mtu(&new, pools.iter().any(|p| p.gateway.is_ipv6()))?;
        let network = Network {
            vni,
            created: super::endpoint::rfc3339(now),
            id: id.clone(),
            name: new.name,
            mtu,
            pools,
            internal: new.internal,
            options: new.options,
            labels: new.labels,
        };
        self.networks.insert(id, network.clone());
        Ok(network)
    }

    /// Whether nothing stands against [`Tables::remove_network`].
    pub fn check_unused(&self, network: &Network) -> Result<(), Refusal> {
        let held: Vec<&str> = self.endpoints_of(&network.id).map(|e| e.name.as_str()).collect();
        if held.is_empty() {
            return self.check_no_service(&network.id, &network.name);
        }
        Err(Refusal::Conflict(format!(
            "network {} is in use by {}: detach them first",
            network.name,
            listed(held)
        )))
    }

    /// Removes a network that is [not in use](Tables::check_unused), and its
    /// foreign VTEPs with it.
    pub fn remove_network(&mut self, id: &Id) {
        self.foreign.remove(id);
        self.built.remove(id);
        self.zones.remove(id);
        self.ledgers.remove(id);
        self.networks.remove(id);
    }

    fn check_vni(&self, vni: Vni) -> Result<(), Refusal> {
        if vni.get() == 0 {
            return Err(Refusal::Invalid(format!(
                "VNI 0 is no network's: choose one from 1 to {}",
                Vni::MAX
            )));
        }
        match self.networks.values().find(|n| n.vni == vni) {
            Some(other) => Err(Refusal::Conflict(format!(
                "VNI {vni} is taken by network {}: choose another, or leave it out",
                other.name
            ))),
            None => Ok(()),
        }
    }

    fn requested_mtu(&self, new: &NewNetwork, ipv6: bool) -> Result<Option<u16>, Refusal> {
        let option = match new.options.get(MTU_OPTION) {
            None => None,
            Some(text) => Some(text.parse::<u16>().map_err(|_| {
                Refusal::Invalid(format!("{MTU_OPTION}={text} is no MTU: give a number of bytes"))
            })?),
        };
        if let (Some(a), Some(b)) = (new.mtu, option)
            && a != b
        {
            return Err(Refusal::Invalid(format!(
                "the MTU is given twice, as {a} and as {MTU_OPTION}={b}: leave one out"
            )));
        }
        let mtu = new.mtu.or(option);
        let largest = self.underlay.largest_mtu(new.encrypted());
        let taker = if new.encrypted() { "the encrypted tunnel" } else { "the tunnel" };
        let (smallest, family) = (smallest_mtu(ipv6), if ipv6 { "IPv6" } else { "IPv4" });
        match mtu {
            Some(mtu) if mtu < smallest => Err(Refusal::Invalid(format!(
                "MTU {mtu} is too small: {family} needs at least {smallest}"
            ))),
            Some(mtu) if mtu > largest => Err(Refusal::Invalid(format!(
                "MTU {mtu} does not fit the underlay: the largest possible is {largest}, because {} has an MTU of {} and {taker} takes {}",
                self.underlay.vtep,
                self.underlay.mtu,
                self.underlay.mtu.saturating_sub(largest)
            ))),
            None if largest < smallest => Err(Refusal::Conflict(format!(
                "the underlay's MTU of {} leaves {largest} bytes, and {family} needs at least {smallest}: raise the underlay's MTU",
                self.underlay.mtu
            ))),
            mtu => Ok(mtu),
        }
    }

    fn pools(&self, new: &NewNetwork, host_routes: &[IpNet]) -> Result<Vec<Pool>, Refusal> {
        let mut pools: Vec<Pool> = Vec::new();
        for &net in &new.subnets {
            check_subnet(net)?;
            if let Some(other) = pools.iter().find(|p| overlap(p.net, net)) {
                return Err(Refusal::Invalid(format!(
                    "subnets {} and {net} overlap: give each network distinct subnets",
                    other.net
                )));
            }
            self.check_overlap(net, host_routes)?;
            pools.push(Pool { net, gateway: default_gateway(net), range: None });
        }
        place_gateways(&mut pools, &new.gateways)?;
        place_range(&mut pools, new.ip_range)?;
        Ok(pools)
    }

    /// Refuses a subnet that this host reaches in another way.
    fn check_overlap(&self, net: IpNet, host_routes: &[IpNet]) -> Result<(), Refusal> {
        for other in self.networks.values() {
            if let Some(pool) = other.pools.iter().find(|p| overlap(p.net, net)) {
                return Err(Refusal::Conflict(format!(
                    "subnet {net} overlaps {} of network {}: choose another subnet",
                    pool.net, other.name
                )));
            }
        }
        match host_routes.iter().find(|r| overlap(**r, net)) {
            Some(route) => Err(Refusal::Conflict(format!(
                "subnet {net} overlaps this host's route to {route}: choose another subnet"
            ))),
            None => Ok(()),
        }
    }
}

/// What a host must be able to take in one piece (RFC 8200, RFC 791).
fn smallest_mtu(ipv6: bool) -> u16 {
    if ipv6 { 1280 } else { 576 }
}

fn check_subnet(net: IpNet) -> Result<(), Refusal> {
    if net != net.trunc() {
        return Err(Refusal::Invalid(format!(
            "subnet {net} has host bits set: did you mean {}?",
            net.trunc()
        )));
    }
    if net.max_prefix_len() - net.prefix_len() < 2 {
        return Err(Refusal::Invalid(format!(
            "subnet {net} has no room for a gateway and an endpoint: use /{} or larger",
            net.max_prefix_len() - 2
        )));
    }
    // "This network", loopback, link-local and multicast and above: RFC 6890, RFC 4291.
    let special = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"]
        .into_iter()
        .chain(["::/127", "fe80::/10", "ff00::/8"])
        .filter_map(|s| s.parse::<IpNet>().ok())
        .find(|s| overlap(*s, net));
    match special {
        Some(special) => Err(Refusal::Invalid(format!(
            "subnet {net} overlaps {special}, which has a meaning of its own: use a private range such as 10.0.0.0/24 or fd00::/64"
        ))),
        None => Ok(()),
    }
}

fn place_gateways(pools: &mut [Pool], gateways: &[IpAddr]) -> Result<(), Refusal> {
    let mut placed: Vec<IpAddr> = Vec::new();
    for &gateway in gateways {
        let Some(pool) = pools.iter_mut().find(|p| p.net.contains(&gateway)) else {
            let nets: Vec<String> = pools.iter().map(|p| p.net.to_string()).collect();
            return Err(Refusal::Invalid(format!(
                "gateway {gateway} lies outside the network's subnets ({})",
                listed(nets.iter().map(String::as_str))
            )));
        };
        if placed.iter().any(|g| pool.net.contains(g)) {
            return Err(Refusal::Invalid(format!(
                "subnet {} is given two gateways: leave one out",
                pool.net
            )));
        }
        pool.gateway = default_gateway(pool.net);
        if gateway != pool.gateway
            && let Some(what) = pool.reserved(gateway)
        {
            return Err(Refusal::Invalid(format!(
                "gateway {gateway} is {what} ({}): choose another",
                pool.net
            )));
        }
        pool.gateway = gateway;
        placed.push(gateway);
    }
    Ok(())
}

fn place_range(pools: &mut [Pool], range: Option<IpNet>) -> Result<(), Refusal> {
    let Some(range) = range else { return Ok(()) };
    if range != range.trunc() {
        return Err(Refusal::Invalid(format!(
            "address range {range} has host bits set: did you mean {}?",
            range.trunc()
        )));
    }
    match pools.iter_mut().find(|p| p.net.contains(&range)) {
        Some(pool) => {
            pool.range = Some(range);
            Ok(())
        }
        None => Err(Refusal::Invalid(format!(
            "address range {range} lies outside the network's subnets: give a part of one of them"
        ))),
    }
}

fn check_options(options: &BTreeMap<String, String>) -> Result<(), Refusal> {
    for (key, value) in options {
        match (key.as_str(), value.as_str()) {
            (MTU_OPTION, _) | ("multicast" | ENCRYPTED_OPTION, "" | "true" | "false") => {}
            ("multicast" | ENCRYPTED_OPTION, _) => {
                return Err(Refusal::Invalid(format!(
                    "option {key}={value} is neither true nor false"
                )));
            }
            _ => {
                return Err(Refusal::Invalid(format!(
                    "there is no option {key:?}: known are encrypted, multicast and {MTU_OPTION}"
                )));
            }
        }
    }
    Ok(())
}
