//! How large a packet may be: what a network was created with, what the underlay
//! leaves, and what the ways to other hosts were found to take.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Endpoint, Holder, Id, Network, Tables};

impl Tables {
    /// Says how large an underlay packet reaches another VTEP, in bytes of IP
    /// packet; `None`: no longer known. It changes the networks on which that
    /// VTEP is, from the next [`Tables::plan`] on.
    pub fn set_path_mtu(&mut self, vtep: IpAddr, mtu: Option<u16>) {
        let before = match mtu {
            Some(mtu) => self.paths.insert(vtep, mtu),
            None => self.paths.remove(&vtep),
        };
        if before == mtu {
            return;
        }
        let there = |e: &&Endpoint| e.holder == Holder::Vtep(vtep);
        let holding = self.endpoints.values().filter(there).map(|e| &e.network);
        let foreign = self.foreign.iter().filter(|(_, vteps)| vteps.contains(&vtep));
        for network in holding.chain(foreign.map(|(id, _)| id)) {
            self.built.remove(network);
        }
    }

    /// Nothing is known of any path any more: they were another cluster's.
    pub fn forget_paths(&mut self) {
        let known: Vec<IpAddr> = self.paths.keys().copied().collect();
        known.into_iter().for_each(|vtep| self.set_path_mtu(vtep, None));
    }

    /// The largest IP packet inside a network that reaches all its hosts: what
    /// was asked for at its creation, else what the underlay leaves; less, if a
    /// path to a VTEP that holds an endpoint of the network (or was added to it by
    /// hand) is known to take less. A new container's interface is given this.
    ///
    /// It never falls below what IP itself needs: 1280 with an IPv6 subnet (RFC
    /// 8200 section 5), else 576.
    pub fn mtu(&self, network: &Network) -> u16 {
        let widest = self.widest_mtu(network);
        let narrowest = self.narrow(network).into_iter().map(|(_, inside)| inside).min();
        narrowest.map_or(widest, |mtu| mtu.max(network.smallest_mtu()).min(widest))
    }

    /// The same before any path is looked at: what containers of before may send.
    pub(super) fn widest_mtu(&self, network: &Network) -> u16 {
        network.mtu.unwrap_or_else(|| self.underlay.largest_mtu(network.encrypted()))
    }

    /// VTEPs of a network whose path takes less than the network's widest
    /// packets, and how much each takes inside the tunnel.
    pub(super) fn narrow(&self, network: &Network) -> Vec<(IpAddr, u16)> {
        let widest = self.widest_mtu(network);
        let inside = |mtu| self.underlay.inside(mtu, network.encrypted());
        let paths = self.paths.iter().map(|(vtep, mtu)| (*vtep, inside(*mtu)));
        let mut narrow: Vec<_> = paths.filter(|(_, inside)| *inside < widest).collect();
        if !narrow.is_empty() {
            let here = self.vteps_of(&network.id);
            narrow.retain(|(vtep, _)| here.contains(vtep));
        }
        narrow
    }

    /// Where a network's endpoints of other hosts are, and its foreign VTEPs.
    fn vteps_of(&self, network: &Id) -> BTreeSet<IpAddr> {
        let holders = self.endpoints_of(network).filter_map(|e| match e.holder {
            Holder::Vtep(vtep) => Some(vtep),
            Holder::Here => None,
        });
        holders.chain(self.foreign(network)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::core::plan::PortId;
    use crate::core::tables::{NewEndpoint, NewNetwork, Underlay};
    use crate::wire::vxlan::Vni;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn id(n: u8) -> Id {
        Id::new([n; 32])
    }

    /// Networks 1 (IPv4) and 2 (IPv6 too) with an endpoint each here and at
    /// 192.0.2.2, of which network 1 has one at 192.0.2.3 as well.
    fn tables() -> Tables {
        let mut tables = Tables::new(7, Underlay { vtep: ip("192.0.2.1"), mtu: 1500 });
        for (n, subnets) in [(1, &["10.1.0.0/24"][..]), (2, &["10.2.0.0/24", "fd00::/64"])] {
            let subnets = subnets.iter().map(|s| s.parse().unwrap()).collect();
            let new = NewNetwork { name: format!("n{n}"), subnets, ..NewNetwork::default() };
            let vni = Vni::new(4095 + u32::from(n)).unwrap();
            tables.create_network(new, vni, [n; 32], SystemTime::UNIX_EPOCH, &[]).unwrap();
            add(&mut tables, n, 10 + n, None);
            tables.bind(&id(10 + n), PortId(n.into()));
            add(&mut tables, n, 20 + n, Some("192.0.2.2"));
        }
        add(&mut tables, 1, 31, Some("192.0.2.3"));
        tables
    }

    fn add(tables: &mut Tables, network: u8, n: u8, vtep: Option<&str>) {
        let new = NewEndpoint {
            name: Some(format!("c{n}")),
            default_name: String::new(),
            ips: vec![ip(&format!("10.{network}.0.{n}"))],
            mac: None,
            aliases: Vec::new(),
            service: None,
        };
        let made = tables.add_endpoint(&id(network), new, id(n), SystemTime::UNIX_EPOCH).unwrap();
        if let Some(vtep) = vtep {
            tables.put_endpoint(Endpoint { holder: Holder::Vtep(ip(vtep)), ..made });
        }
    }

    fn mtus(tables: &Tables) -> [u16; 2] {
        [1, 2].map(|n| tables.mtu(&tables.networks[&id(n)]))
    }

    /// The MTU of network 1 in the plan, and those to 192.0.2.2 and 192.0.2.3.
    fn planned(tables: &mut Tables) -> (u16, u16, u16) {
        let plan = tables.plan();
        let network = plan.port(PortId(1)).unwrap().0;
        (network.mtu, network.mtu_to(ip("192.0.2.2")), network.mtu_to(ip("192.0.2.3")))
    }

    #[test]
    fn the_narrowest_path_of_a_network_counts() {
        let mut tables = tables();
        assert_eq!((mtus(&tables), planned(&mut tables)), ([1450; 2], (1450, 1450, 1450)));
        tables.set_path_mtu(ip("192.0.2.3"), Some(1400));
        assert_eq!(mtus(&tables), [1350, 1450], "no endpoint of network 2 is there");
        // Containers of before keep what they have, and may send it to the others.
        assert_eq!(planned(&mut tables), (1450, 1450, 1350));
        tables.set_path_mtu(ip("192.0.2.2"), Some(1380));
        assert_eq!((mtus(&tables), planned(&mut tables)), ([1330; 2], (1450, 1330, 1350)));
        tables.set_path_mtu(ip("192.0.2.2"), Some(9000));
        tables.set_path_mtu(ip("192.0.2.3"), None);
        assert_eq!((mtus(&tables), planned(&mut tables)), ([1450; 2], (1450, 1450, 1450)));
        tables.set_path_mtu(ip("192.0.2.2"), Some(1380));
        tables.forget_paths();
        assert_eq!((mtus(&tables), planned(&mut tables)), ([1450; 2], (1450, 1450, 1450)));
    }

    #[test]
    fn foreign_vteps_count_too() {
        let mut tables = tables();
        tables.set_path_mtu(ip("192.0.2.9"), Some(1300));
        assert_eq!(mtus(&tables), [1450; 2]);
        tables.add_foreign(&id(2), ip("192.0.2.9")).unwrap();
        assert_eq!(mtus(&tables), [1450, 1280], "IPv6 needs as much");
        tables.set_path_mtu(ip("192.0.2.9"), Some(300));
        tables.add_foreign(&id(1), ip("192.0.2.9")).unwrap();
        assert_eq!(mtus(&tables), [576, 1280]);
    }

    #[test]
    fn what_was_asked_for_is_lowered_and_never_raised() {
        let mut tables = tables();
        tables.networks.get_mut(&id(1)).unwrap().mtu = Some(1300);
        tables.set_path_mtu(ip("192.0.2.2"), Some(1400));
        assert_eq!((mtus(&tables), planned(&mut tables)), ([1300, 1350], (1300, 1300, 1300)));
        tables.set_path_mtu(ip("192.0.2.2"), Some(1200));
        assert_eq!((mtus(&tables), planned(&mut tables)), ([1150, 1280], (1300, 1150, 1300)));
    }

    #[test]
    fn only_networks_that_a_path_concerns_are_built_anew() {
        let mut tables = tables();
        let before = tables.plan();
        tables.set_path_mtu(ip("192.0.2.3"), Some(1400));
        let after = tables.plan();
        let same = |port| {
            std::ptr::eq(before.port(PortId(port)).unwrap().0, after.port(PortId(port)).unwrap().0)
        };
        assert_eq!((same(1), same(2)), (false, true));
        tables.set_path_mtu(ip("192.0.2.3"), Some(1400));
        let again = tables.plan();
        let shared = [1, 2]
            .map(PortId)
            .map(|p| std::ptr::eq(after.port(p).unwrap().0, again.port(p).unwrap().0));
        assert_eq!(shared, [true; 2], "nothing has changed");
    }
}
