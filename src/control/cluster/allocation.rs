//! Addresses, virtual IPs, subnets and VNIs: from what this host owns, or else from others.
//!
//! The choice is the core's ([`allocate`]); here it is repeated until it is made
//! of what this host owns, asking for a share in between. Nothing is held over
//! a question to another host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::MutexGuard;
use std::time::SystemTime;

use ipnet::IpNet;

use super::random;
use super::verbs::check_belongs;
use crate::control::error::Error;
use crate::control::state::{Control, State};
use crate::core::cluster::allocate::Found;
use crate::core::cluster::entry::{NodeId, Space};
use crate::core::cluster::holding::{Range, Ranges, Want};
use crate::core::cluster::machine::Knowledge;
use crate::core::tables::{Joined, Mode, Network, NewEndpoint, NewNetwork, Refusal, Service};
use crate::wire::vxlan::Vni;

/// Shares of one space asked for until a choice is made: more would be a fault.
const ATTEMPTS: usize = 8;

/// What must be asked of others before a choice can be made.
struct Question {
    space: Space,
    nodes: Vec<NodeId>,
    want: Want,
}

type Choice<T> = Result<T, Missing>;

enum Missing {
    Ask(Question),
    Refused(Error),
}

impl From<Refusal> for Missing {
    fn from(refusal: Refusal) -> Missing {
        Missing::Refused(refusal.into())
    }
}

impl Control {
    /// A network with a VNI and subnets that are this host's to give, in the
    /// tables, not yet published; and the lock under which it was made.
    pub(in crate::control) fn allocate_network(
        &self,
        new: &NewNetwork,
        routes: &[IpNet],
    ) -> Result<(MutexGuard<'_, State>, Network), Error> {
        self.repeat(|state| {
            state.tables.check_network(new, routes)?;
            let (new, vni) = self.choose_for_network(state, new, routes)?;
            let random = random().map_err(Missing::Refused)?;
            Ok(state.tables.create_network(new, vni, random, SystemTime::now(), routes)?)
        })
    }

    /// Addresses for an endpoint of a network: those asked for, and the lowest
    /// free one for each family that was not.
    pub(in crate::control) fn allocate_addresses<T>(
        &self,
        network: &str,
        new: &NewEndpoint,
        mut then: impl FnMut(&mut State, &Network, NewEndpoint) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let id = self.find_network(network)?.1.id;
        let (state, made) = self.repeat(|state| {
            let network = state.tables.network(id.as_str())?.clone();
            state.tables.check_addresses(&network, &new.ips)?;
            let ips = self.choose_addresses(state, &network, &new.ips)?;
            let new = NewEndpoint { ips, ..new.clone() };
            then(state, &network, new).map_err(Missing::Refused)
        })?;
        drop(state);
        Ok(made)
    }

    /// A service as `make` has it, with the virtual IPs that it lacks, not yet
    /// published; and the lock under which they were chosen.
    pub(in crate::control) fn allocate_vips(
        &self,
        mut make: impl FnMut(&State) -> Result<Service, Error>,
    ) -> Result<(MutexGuard<'_, State>, Service), Error> {
        self.repeat(|state| {
            let mut service = make(state).map_err(Missing::Refused)?;
            if service.mode == Mode::Vip {
                for joined in service.networks.iter_mut().filter(|joined| joined.active) {
                    self.choose_vips(state, joined)?;
                }
            }
            Ok(service)
        })
    }

    /// What is asked of others is asked for one space after the other, and each time
    /// all is chosen anew.
    fn repeat<T>(
        &self,
        mut choose: impl FnMut(&mut State) -> Choice<T>,
    ) -> Result<(MutexGuard<'_, State>, T), Error> {
        let mut asked: BTreeMap<Space, usize> = BTreeMap::new();
        loop {
            let mut state = self.lock();
            check_belongs(&state)?;
            match choose(&mut state) {
                Ok(made) => return Ok((state, made)),
                Err(Missing::Refused(e)) => return Err(e),
                Err(Missing::Ask(question)) => {
                    drop(state);
                    let attempts = asked.entry(question.space).or_default();
                    *attempts += 1;
                    if *attempts > ATTEMPTS {
                        return Err(Error::conflict("others were faster each time: try again"));
                    }
                    self.ask_for_share(&question)?;
                }
            }
        }
    }

    /// Asks one host after another until one gives. Fails if none did, with what
    /// they said.
    fn ask_for_share(&self, question: &Question) -> Result<(), Error> {
        let mut answers = Vec::new();
        for node in &question.nodes {
            let (name, contact, request) = {
                let state = self.lock();
                let machine = &state.cluster.machine;
                let request = machine.ask_for_share(question.space, question.want);
                let request = request.map_err(Error::Failed)?;
                (machine.name_of(node), machine.contact(node), request)
            };
            let Some((exchange, at)) = contact else { continue };
            match self.runtime.block_on(self.ask(&exchange, at, &request)) {
                Ok(response) => {
                    let mut state = self.lock();
                    let absorbed = state.cluster.machine.absorb(self.now(), *node, response);
                    self.settle_cluster(&mut state)?;
                    self.wake.notify_one();
                    match absorbed {
                        Ok(()) => return Ok(()),
                        Err(why) => answers.push(format!("{name}: {why}")),
                    }
                }
                Err(e) => answers.push(format!("{name} does not answer: {e}")),
            }
        }
        Err(Error::conflict(format!(
            "this host owns nothing free of what is asked for, and no other gave a share ({}): try again when they can be reached, or remove dead hosts with `vxmesh node rm`",
            if answers.is_empty() { "none could be asked".to_owned() } else { answers.join("; ") }
        )))
    }

    fn choose_for_network(
        &self,
        state: &State,
        new: &NewNetwork,
        routes: &[IpNet],
    ) -> Choice<(NewNetwork, Vni)> {
        let mut new = new.clone();
        let vnis = self.knowledge(state, Space::Vni);
        let vni = match new.vni {
            Some(vni) => {
                let number = u128::from(vni.get());
                let wanted = Range { first: number, last: number };
                let exact = vnis.view().exactly(wanted, &format!("VNI {vni}"));
                found(Space::Vni, exact).map(|_| vni)?
            }
            None => found(Space::Vni, vnis.view().vni())?,
        };
        for net in &new.subnets {
            let space = if net.addr().is_ipv4() { Space::Ipv4 } else { Space::Ipv6 };
            let known = self.knowledge(state, space);
            found(space, known.view().exactly((*net).into(), &format!("subnet {net}")))?;
        }
        if new.subnets.is_empty() {
            let Some(pools) = state.cluster.machine.pools() else {
                let why = "the cluster has no address pools: see `vxmesh cluster init`";
                return Err(Missing::Refused(Error::Failed(why.to_owned())));
            };
            let nets: Vec<IpNet> = pools.pools.iter().map(|p| (*p).into()).collect();
            let known = self.knowledge(state, Space::Ipv4);
            let subnet = known.view().subnet(&nets, pools.length, routes);
            new.subnets = vec![found(Space::Ipv4, subnet)?];
        }
        Ok((new, vni))
    }

    fn choose_addresses(
        &self,
        state: &State,
        network: &Network,
        asked: &[IpAddr],
    ) -> Choice<Vec<IpAddr>> {
        let Some(id) = network.id.bytes() else { return Ok(asked.to_vec()) };
        let mut ips = asked.to_vec();
        for ip in asked {
            let Some(index) = network.pools.iter().position(|p| p.net.contains(ip)) else {
                continue;
            };
            let space = Space::Pool(id, index as u8);
            let known = self.of_pool(state, network, space);
            let wanted = Range::from(IpNet::from(*ip));
            found(space, known.view().exactly(wanted, &format!("address {ip}")))?;
        }
        for ipv4 in [true, false] {
            if !ips.iter().any(|ip| ip.is_ipv4() == ipv4) {
                ips.extend(self.choose_lowest(state, network, id, ipv4)?);
            }
        }
        Ok(ips)
    }

    /// A virtual IP for each family of a network of which a service has none there.
    fn choose_vips(&self, state: &State, joined: &mut Joined) -> Choice<()> {
        let network = state.tables.get_network(&joined.network);
        let (Some(network), Some(id)) = (network, joined.network.bytes()) else { return Ok(()) };
        for ipv4 in [true, false] {
            if !joined.vips.iter().any(|ip| ip.is_ipv4() == ipv4) {
                joined.vips.extend(self.choose_lowest(state, network, id, ipv4)?);
            }
        }
        Ok(())
    }

    /// The lowest free address of the network's first pool of a family that has one;
    /// `None` if it has no pool of the family.
    fn choose_lowest(
        &self,
        state: &State,
        network: &Network,
        id: [u8; 32],
        ipv4: bool,
    ) -> Choice<Option<IpAddr>> {
        let mut full = Ok(None);
        for (index, pool) in network.pools.iter().enumerate() {
            if pool.net.addr().is_ipv4() != ipv4 {
                continue;
            }
            let space = Space::Pool(id, index as u8);
            let known = self.of_pool(state, network, space);
            match found(space, known.view().address(pool)) {
                Ok(ip) => return Ok(Some(ip)),
                // A question is worth asking before the next pool is used.
                Err(Missing::Ask(question)) => return Err(Missing::Ask(question)),
                Err(refused) => full = full.and(Err(refused)),
            }
        }
        full
    }

    fn knowledge(&self, state: &State, space: Space) -> Knowledge {
        state.cluster.machine.knowledge(self.now(), space)
    }

    /// What is known of a pool, with what endpoints use that are being attached
    /// just now.
    fn of_pool(&self, state: &State, network: &Network, space: Space) -> Knowledge {
        let mut known = self.knowledge(state, space);
        let Space::Pool(_, index) = space else { return known };
        let Some(pool) = network.pools.get(usize::from(index)) else { return known };
        let of_network = state.tables.endpoints_of(&network.id);
        let taken = of_network.flat_map(|e| e.addresses.iter().copied());
        let taken: Ranges =
            taken.filter(|ip| pool.net.contains(ip)).map(|ip| IpNet::from(ip).into()).collect();
        known.used = known.used.union(&taken);
        known
    }
}

fn found<T>(space: Space, found: Found<T>) -> Choice<T> {
    match found {
        Found::Here(made) => Ok(made),
        Found::Ask(nodes, want) => Err(Missing::Ask(Question { space, nodes, want })),
        Found::Exhausted(sentence) => Err(Missing::Refused(Error::conflict(sentence))),
    }
}
