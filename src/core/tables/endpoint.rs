//! Endpoints: their names, addresses and MACs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Backing, Id, Network, Refusal, Tables, check_name, listed};
use crate::wire::mac::Mac;

/// The record of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Never changes.
    pub id: Id,
    /// The network that it is on.
    pub network: Id,
    /// Unique on its network.
    pub name: String,
    /// Its only MAC.
    pub mac: Mac,
    /// Its only addresses, at most one in each subnet.
    pub addresses: Vec<IpAddr>,
    /// Further names, not unique.
    pub aliases: Vec<String>,
    /// RFC 3339, UTC.
    pub created: String,
    /// The service that it belongs to.
    pub service: Option<Backing>,
    /// Who holds it.
    pub holder: Holder,
}

/// Who holds an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// This host.
    Here,
    /// The host with this VTEP.
    Vtep(IpAddr),
}

impl Endpoint {
    /// Its addresses with the prefix lengths of their subnets.
    pub fn prefixes(&self, network: &Network) -> Vec<IpNet> {
        let with_prefix = |ip: &IpAddr| {
            let pool = network.pool_of(*ip)?;
            IpNet::new(*ip, pool.net.prefix_len()).ok()
        };
        self.addresses.iter().filter_map(with_prefix).collect()
    }

    /// The gateway for each of its addresses; none on internal networks.
    pub fn gateways(&self, network: &Network) -> Vec<IpAddr> {
        if network.internal {
            return Vec::new();
        }
        self.addresses.iter().filter_map(|ip| Some(network.pool_of(*ip)?.gateway)).collect()
    }
}

/// An endpoint to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEndpoint {
    /// The user's choice; must be free.
    pub name: Option<String>,
    /// What it is called otherwise; made fit and free where it is not.
    pub default_name: String,
    /// At most one in each subnet.
    pub ips: Vec<IpAddr>,
    /// Docker's form of its first address if `None`.
    pub mac: Option<Mac>,
    /// Further names.
    pub aliases: Vec<String>,
    /// The service that it belongs to.
    pub service: Option<Backing>,
}

impl Tables {
    /// Checks a new endpoint of this host, gives it what was left out and takes
    /// it up. Its addresses were allocated before.
    pub fn add_endpoint(
        &mut self,
        network: &Id,
        new: NewEndpoint,
        id: Id,
        now: SystemTime,
    ) -> Result<Endpoint, Refusal> {
        let Some(net) = self.networks.get(network) else {
            return Err(Refusal::NotFound(format!("there is no network {}", network.short())));
        };
        for alias in &new.aliases {
            check_name("an alias", alias)?;
            self.check_not_a_services(net, alias, false)?;
        }
        let name = self.endpoint_name(net, &new, &id)?;
        self.check_addresses(net, &new.ips)?;
        let mut addresses = new.ips.clone();
        // IPv4 first: the MAC is made from it.
        addresses.sort_by_key(|ip| ip.is_ipv6());
        let mac = match new.mac {
            Some(mac) => self.check_mac(net, mac)?,
            None => self.derived_mac(net, &addresses, &id),
        };
        let endpoint = Endpoint {
            id: id.clone(),
            network: network.clone(),
            name,
            mac,
            addresses,
            aliases: new.aliases,
            created: rfc3339(now),
            service: new.service,
            holder: Holder::Here,
        };
        self.endpoints.insert(id.clone(), endpoint.clone());
        self.enlist(&id);
        self.touch(&id);
        Ok(endpoint)
    }

    fn endpoint_name(&self, net: &Network, new: &NewEndpoint, id: &Id) -> Result<String, Refusal> {
        let free = |name: &str| !self.endpoints_of(&net.id).any(|e| e.name == name);
        if let Some(name) = &new.name {
            check_name("an endpoint", name)?;
            self.check_not_a_services(net, name, true)?;
            if !free(name) {
                return Err(Refusal::Conflict(format!(
                    "endpoint {name} exists already on network {}: choose another name, or detach it first",
                    net.name
                )));
            }
            return Ok(name.clone());
        }
        let fit: String = new
            .default_name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' })
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take(50)
            .collect();
        match fit.as_str() {
            "" => Ok(id.short().to_owned()),
            fit if free(fit) && self.check_not_a_services(net, fit, true).is_ok() => {
                Ok(fit.to_owned())
            }
            fit => Ok(format!("{fit}-{}", id.short())),
        }
    }

    /// Whether an endpoint may have these addresses.
    pub fn check_addresses(&self, net: &Network, ips: &[IpAddr]) -> Result<(), Refusal> {
        let taken: BTreeSet<IpAddr> =
            self.endpoints_of(&net.id).flat_map(|e| e.addresses.iter().copied()).collect();
        let taken = &taken | &self.virtual_ips(&net.id);
        let mut each = ips.iter().enumerate();
        each.try_for_each(|(i, ip)| self.check_address(net, &taken, &ips[..i], *ip))
    }

    fn check_address(
        &self,
        net: &Network,
        taken: &BTreeSet<IpAddr>,
        before: &[IpAddr],
        ip: IpAddr,
    ) -> Result<(), Refusal> {
        let Some(pool) = net.pool_of(ip) else {
            let nets: Vec<String> = net.pools.iter().map(|p| p.net.to_string()).collect();
            return Err(Refusal::Invalid(format!(
                "address {ip} lies outside the subnets of network {} ({})",
                net.name,
                listed(nets.iter().map(String::as_str))
            )));
        };
        if let Some(what) = pool.reserved(ip) {
            return Err(Refusal::Invalid(format!(
                "address {ip} is {what} ({}): choose another, or leave it out",
                pool.net
            )));
        }
        if let Some(other) = before.iter().find(|b| pool.net.contains(*b)) {
            return Err(Refusal::Invalid(format!(
                "addresses {other} and {ip} are in one subnet ({}): an endpoint has one in each",
                pool.net
            )));
        }
        if taken.contains(&ip) {
            let endpoint = self.endpoints_of(&net.id).find(|e| e.addresses.contains(&ip));
            let service = || self.services().find(|s| s.has_vip(&net.id, ip));
            let holder = match endpoint {
                Some(endpoint) => format!("endpoint {}", endpoint.name),
                None => format!("service {}", service().map_or("", |s| &s.name)),
            };
            return Err(Refusal::Conflict(format!(
                "address {ip} is taken by {holder}: choose another, or leave it out"
            )));
        }
        Ok(())
    }

    fn check_mac(&self, net: &Network, mac: Mac) -> Result<Mac, Refusal> {
        if !mac.is_unicast() {
            let what = if mac.is_multicast() { "a group's address" } else { "all zero" };
            return Err(Refusal::Invalid(format!(
                "MAC {mac} is {what}: use one whose first byte is even, such as 02:42:0a:00:00:02"
            )));
        }
        match self.mac_holder(net, mac) {
            Some(holder) => Err(Refusal::Conflict(format!(
                "MAC {mac} is taken by {holder} of network {}: choose another, or leave it out",
                net.name
            ))),
            None => Ok(mac),
        }
    }

    fn mac_holder(&self, net: &Network, mac: Mac) -> Option<String> {
        if mac == net.router_mac() {
            return Some("the router".to_owned());
        }
        let holder = self.endpoints_of(&net.id).find(|e| e.mac == mac)?;
        Some(format!("endpoint {}", holder.name))
    }

    /// Docker's MAC for the first address; where another endpoint has that one
    /// already, four bytes of the id stand in for the address.
    fn derived_mac(&self, net: &Network, addresses: &[IpAddr], id: &Id) -> Mac {
        let from_id = (0..=56).filter_map(|start| {
            let word = u32::from_str_radix(id.as_str().get(start..start + 8)?, 16).ok()?;
            Some(Mac::for_ip(IpAddr::from(word.to_be_bytes())))
        });
        let mut candidates =
            addresses.first().map(|ip| Mac::for_ip(*ip)).into_iter().chain(from_id);
        let free = candidates.find(|mac| self.mac_holder(net, *mac).is_none());
        free.unwrap_or(Mac([0x02, 0x42, 0, 0, 0, 2]))
    }
}

/// The kernel's rule for interface names, and no `%`, which it would replace.
pub fn check_ifname(name: &str) -> Result<(), Refusal> {
    let bytes = name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b));
    if bytes && (1..=15).contains(&name.len()) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Refusal::Invalid(format!(
        "{name:?} cannot be an interface's name: use 1 to 15 letters, digits, \"_\", \".\" and \"-\""
    )))
}

/// As Docker writes times; a clock before 1970 counts as 1970.
pub(super) fn rfc3339(now: SystemTime) -> String {
    humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH)).to_string()
}
