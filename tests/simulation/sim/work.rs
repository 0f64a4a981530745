//! What people do: networks are created and deleted, endpoints attached,
//! detached and moved. Allocation goes the way that the daemon's goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use vxmesh::core::Now;
use vxmesh::core::cluster::allocate::Found;
use vxmesh::core::cluster::entry::{EndpointBody, NodeId, Space};
use vxmesh::core::cluster::holding::{Range, Want};
use vxmesh::core::cluster::machine::Machine;
use vxmesh::core::cluster::rpc::Response;
use vxmesh::core::ipam::{self, Pool};
use vxmesh::core::tables::{Id, Network};
use vxmesh::wire::mac::Mac;
use vxmesh::wire::vxlan::Vni;

use super::calls::Caller;
use super::world::{What, World};

/// Shares asked for until one choice is made, as in the daemon.
const ATTEMPTS: usize = 8;
/// How often somebody repeats a command that was refused.
const PATIENCE: usize = 6;

/// A command.
#[derive(Clone)]
pub(crate) enum Command {
    /// With this VNI, or any; in a /24, or this subnet.
    Create(Option<Vni>, Option<IpNet>),
    /// An endpoint on this network, with this address or any.
    Attach([u8; 32], Option<IpAddr>),
    /// A service, new or this one, on this network.
    Serve(Option<[u8; 32]>, [u8; 32]),
}

/// A command under way.
struct Job {
    host: usize,
    command: Command,
    /// Shares asked for.
    attempts: usize,
    /// Times that it was given up and begun anew.
    retries: usize,
    space: Space,
    want: Option<Want>,
    asking: Option<NodeId>,
    to_ask: VecDeque<NodeId>,
}

/// What must be asked before a choice can be made.
pub(super) enum Missing {
    Ask(Space, Vec<NodeId>, Want),
    Refused,
}

/// All commands under way.
#[derive(Default)]
pub(crate) struct Jobs {
    under_way: BTreeMap<u64, Job>,
    last: u64,
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// Shares that were asked for.
    pub(crate) shares: u64,
}

impl Jobs {
    pub(crate) fn forget(&mut self, host: usize) {
        self.under_way.retain(|_, job| job.host != host);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }
}

impl World {
    /// Somebody gives a host a command.
    pub(crate) fn command(&mut self, host: usize, command: Command) {
        self.jobs.last += 1;
        let job = Job {
            host,
            command,
            attempts: 0,
            retries: 0,
            space: Space::Vni,
            want: None,
            asking: None,
            to_ask: VecDeque::new(),
        };
        self.jobs.under_way.insert(self.jobs.last, job);
        self.retry(self.jobs.last);
    }

    /// Makes the choice, or finds out whom to ask.
    pub(crate) fn retry(&mut self, number: u64) {
        let Some(job) = self.jobs.under_way.get(&number) else { return };
        let (host, command) = (job.host, job.command.clone());
        // As the daemon does: what cannot be stored is undone.
        if self.hosts[host].disk_full {
            return self.give_up(number);
        }
        let clock = self.hosts[host].clock(self.now);
        let Some(machine) = &self.hosts[host].machine else { return };
        let made = match &command {
            Command::Create(vni, subnet) => self.create(host, machine, clock, *vni, *subnet),
            Command::Attach(network, ip) => self.attach(host, machine, clock, network, *ip),
            Command::Serve(service, network) => {
                self.serve(host, machine, clock, *service, *network)
            }
        };
        match made {
            Ok(act) => {
                self.jobs.under_way.remove(&number);
                self.jobs.done += 1;
                act(self);
            }
            Err(Missing::Refused) => self.give_up(number),
            Err(Missing::Ask(space, nodes, want)) => {
                let Some(job) = self.jobs.under_way.get_mut(&number) else { return };
                job.attempts += 1;
                if job.attempts > ATTEMPTS {
                    return self.give_up(number);
                }
                (job.space, job.want, job.to_ask) = (space, Some(want), nodes.into());
                self.ask_next(number);
            }
        }
    }

    /// It was refused, and somebody tries again a little later.
    fn give_up(&mut self, number: u64) {
        let Some(job) = self.jobs.under_way.get_mut(&number) else { return };
        job.attempts = 0;
        job.retries += 1;
        if job.retries > PATIENCE {
            self.jobs.under_way.remove(&number);
            self.jobs.refused += 1;
        } else {
            let host = job.host;
            self.after(host, Duration::from_millis(500), What::Retry(number));
        }
    }

    fn ask_next(&mut self, number: u64) {
        let Some(job) = self.jobs.under_way.get_mut(&number) else { return };
        let (Some(node), Some(want)) = (job.to_ask.pop_front(), job.want) else {
            return self.give_up(number);
        };
        job.asking = Some(node);
        let (host, space) = (job.host, job.space);
        let question = self.hosts[host].machine.as_ref().and_then(|machine| {
            let (exchange, at) = machine.contact(&node)?;
            Some((exchange, at, machine.ask_for_share(space, want).ok()?))
        });
        match question {
            Some((exchange, at, request)) => {
                self.jobs.shares += 1;
                self.call(host, Caller::Job(number), exchange, at, request);
            }
            None => self.ask_next(number),
        }
    }

    /// A host has answered a request for a share.
    pub(crate) fn shared(&mut self, number: u64, response: Option<Response>) {
        let Some(job) = self.jobs.under_way.get(&number) else { return };
        let (host, asking) = (job.host, job.asking);
        let (Some(response), Some(node)) = (response, asking) else {
            return self.ask_next(number);
        };
        let mut absorbed = false;
        self.with(host, |machine, clock| {
            absorbed = machine.absorb(clock, node, response).is_ok();
        });
        if absorbed { self.retry(number) } else { self.ask_next(number) }
    }

    fn create(
        &self,
        host: usize,
        machine: &Machine,
        clock: Now,
        vni: Option<Vni>,
        subnet: Option<IpNet>,
    ) -> Result<Act, Missing> {
        let vnis = machine.knowledge(clock, Space::Vni);
        let vni = match vni {
            Some(vni) => {
                let n = u128::from(vni.get());
                found(Space::Vni, vnis.view().exactly(Range { first: n, last: n }, "it"))?;
                vni
            }
            None => found(Space::Vni, vnis.view().vni())?,
        };
        let known = machine.knowledge(clock, Space::Ipv4);
        let net = match subnet {
            Some(net) => {
                found(Space::Ipv4, known.view().exactly(net.into(), "it"))?;
                net
            }
            None => {
                let pools = machine.pools().ok_or(Missing::Refused)?;
                let nets: Vec<IpNet> = pools.pools.iter().map(|p| (*p).into()).collect();
                found(Space::Ipv4, known.view().subnet(&nets, pools.length, &[]))?
            }
        };
        let me = machine.me();
        Ok(Box::new(move |world: &mut World| {
            let id = Id::of_network(world.dice.bytes(), false);
            let bytes = id.bytes().expect("it was made of bytes");
            let network = Network {
                name: format!("net-{}", id.short()),
                id,
                created: "2026-01-01T00:00:00Z".to_owned(),
                vni,
                mtu: None,
                pools: vec![Pool { net, gateway: ipam::default_gateway(net), range: None }],
                internal: false,
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            world.with(host, |machine, clock| machine.publish_network(clock, &network));
            world.truth.create(me, bytes, vni.get(), net);
        }))
    }

    fn attach(
        &self,
        host: usize,
        machine: &Machine,
        clock: Now,
        network: &[u8; 32],
        asked: Option<IpAddr>,
    ) -> Result<Act, Missing> {
        let id = Id::new(*network);
        let known = machine.networks().find(|n| n.id == id).ok_or(Missing::Refused)?;
        let pool = known.pools.first().ok_or(Missing::Refused)?;
        let space = Space::Pool(*network, 0);
        let knowledge = machine.knowledge(clock, space);
        let ip = match asked {
            Some(ip) => {
                let exact = knowledge.view().exactly(IpNet::from(ip).into(), "it");
                found(space, exact).map(|_| ip)?
            }
            None => found(space, knowledge.view().address(pool))?,
        };
        let (me, network) = (machine.me(), *network);
        Ok(Box::new(move |world: &mut World| {
            let endpoint: [u8; 32] = world.dice.bytes();
            let body = EndpointBody {
                name: format!("ep-{}", Id::new(endpoint).short()),
                mac: Mac::for_ip(ip),
                addresses: vec![ip],
                aliases: Vec::new(),
                service: None,
                created: "2026-01-01T00:00:00Z".to_owned(),
            };
            world.with(host, |machine, clock| {
                machine.publish_endpoint(clock, &Id::new(network), &Id::new(endpoint), body);
            });
            world.truth.attach(me, network, endpoint, ip);
        }))
    }

    /// Deletes a network of which the host knows no endpoint.
    pub(crate) fn delete_network(&mut self, host: usize) {
        if self.hosts[host].disk_full {
            return;
        }
        let Some(machine) = &self.hosts[host].machine else { return };
        let mut used: BTreeSet<[u8; 32]> = machine.endpoints().map(|(_, n, ..)| n).collect();
        let joined = machine.services().flat_map(|s| s.active());
        used.extend(joined.filter_map(|joined| joined.network.bytes()));
        let unused: Vec<[u8; 32]> = machine
            .networks()
            .filter_map(|n| n.id.bytes())
            .filter(|id| !used.contains(id))
            .collect();
        let Some(id) = self.dice.pick(&unused) else { return };
        self.truth.delete_network(host, id);
        self.with(host, |machine, clock| machine.withdraw_network(clock, &Id::new(id)));
    }

    /// Detaches some endpoint of the host, and says where it was.
    pub(crate) fn detach(&mut self, host: usize) -> Option<([u8; 32], IpAddr)> {
        let machine = self.hosts[host].machine.as_ref().filter(|_| !self.hosts[host].disk_full)?;
        let me = machine.me();
        let own: Vec<([u8; 32], [u8; 32], IpAddr)> = machine
            .endpoints()
            .filter(|(node, ..)| *node == me)
            .map(|(_, network, id, body)| (network, id, body.addresses[0]))
            .collect();
        let (network, id, ip) = self.dice.pick(&own)?;
        self.truth.detach(host, me, network, id);
        self.with(host, |machine, clock| {
            machine.withdraw_endpoint(clock, &Id::new(network), &Id::new(id));
        });
        Some((network, ip))
    }

    /// Some network that a host knows.
    pub(crate) fn some_network(&mut self, host: usize) -> Option<[u8; 32]> {
        let machine = self.hosts[host].machine.as_ref()?;
        let all: Vec<[u8; 32]> = machine.networks().filter_map(|n| n.id.bytes()).collect();
        self.dice.pick(&all)
    }
}

/// What is done once the choice is made. It counts when it is on the disk: with it may
/// have come there what it rests on, such as a removal that the disk was too full for.
pub(super) type Act = Box<dyn FnOnce(&mut World)>;

pub(super) fn found<T>(space: Space, found: Found<T>) -> Result<T, Missing> {
    match found {
        Found::Here(made) => Ok(made),
        Found::Ask(nodes, want) => Err(Missing::Ask(space, nodes, want)),
        Found::Exhausted(_) => Err(Missing::Refused),
    }
}
