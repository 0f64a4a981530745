//! What the API asks of the cluster.

use std::net::{SocketAddr, ToSocketAddrs};

use super::{Cluster, Person, stream, view};
use crate::api;
use crate::control::error::Error;
use crate::control::seal::view::Sessions;
use crate::control::state::{Control, State};
use crate::core::cluster::entry::{Entry, Key, NodeId, Pools};
use crate::core::cluster::rpc::{Request, Response};
use crate::core::cluster::secret::token::Token;
use crate::core::tables::{Holder, Refusal};

/// Where members hear control traffic unless said otherwise.
pub(in crate::control) const DEFAULT_PORT: u16 = 7946;

impl Control {
    /// The cluster as it is.
    pub fn cluster(&self) -> Result<api::Cluster, Error> {
        Ok(view::cluster(self, &self.lock()))
    }

    /// Chooses the default address pools of a cluster that has no networks yet.
    pub fn cluster_init(&self, request: api::ClusterInit) -> Result<api::Cluster, Error> {
        let mut state = self.lock();
        let Some(mut pools) = state.cluster.machine.pools().cloned() else {
            return Err(Error::Failed("this host's cluster has no address pools".to_owned()));
        };
        if state.cluster.machine.replica().members().count() > 1 {
            return Err(Error::conflict(
                "this host is a member of a cluster already: see `vxmesh cluster inspect`, or leave first with `vxmesh cluster leave`",
            ));
        }
        if !request.default_addr_pool.is_empty() {
            pools.pools = request.default_addr_pool;
        }
        pools.length = request.default_addr_pool_mask_length.unwrap_or(pools.length);
        check_pools(&pools)?;
        state.cluster.machine.set_pools(self.now(), pools);
        self.settle_cluster(&mut state)?;
        Ok(view::cluster(self, &state))
    }

    /// What hosts join with.
    pub fn cluster_token(&self, rotate: bool) -> Result<api::Token, Error> {
        let mut state = self.lock();
        check_belongs(&state)?;
        if rotate {
            state.cluster.machine.rotate_token(self.now());
            self.settle_cluster(&mut state)?;
            self.wake.notify_one();
        }
        let Some(secret) = state.cluster.machine.token() else {
            return Err(Error::Failed("this host's cluster has no token: rotate it".to_owned()));
        };
        let token = Token::new(secret.0, state.cluster.tag).reveal().to_string();
        Ok(api::Token { token, address: self.myself().control })
    }

    /// Gives the cluster a new key for its control traffic.
    pub fn cluster_rotate_key(&self) -> Result<api::Cluster, Error> {
        let mut state = self.lock();
        check_belongs(&state)?;
        state.cluster.machine.rotate_key(self.now());
        self.settle_cluster(&mut state)?;
        self.wake.notify_one();
        Ok(view::cluster(self, &state))
    }

    /// Joins a cluster. Networks of this host's own stand against it.
    pub fn cluster_join(&self, request: api::ClusterJoin) -> Result<api::Cluster, Error> {
        let token =
            Token::parse(request.token.trim()).map_err(|e| Error::invalid(e.to_string()))?;
        if request.hosts.is_empty() {
            return Err(Error::invalid("no member is named to join by: give a HOST"));
        }
        let question = {
            let state = self.lock();
            check_alone(&state)?;
            let me = state.cluster.machine.me();
            let node = state.cluster.machine.replica().entry(&Key::Node(me)).cloned();
            Request::Join {
                exchange: state.cluster.identity.exchange_public(),
                entries: node.into_iter().collect(),
            }
        };
        let mut problems = Vec::new();
        for host in &request.hosts {
            match self.join_by(host, &token, &question) {
                Ok(entries) => return self.become_member(&token, entries),
                Err(Joining::Refused(why)) => {
                    return Err(Error::conflict(format!("{host} did not admit this host: {why}")));
                }
                Err(Joining::Unreached(why)) => problems.push(format!("{host}: {why}")),
            }
        }
        Err(Error::Failed(format!("no cluster was joined: {}", problems.join("; "))))
    }

    fn join_by(
        &self,
        host: &str,
        token: &Token,
        question: &Request,
    ) -> Result<Vec<Entry>, Joining> {
        let identity = self.identity();
        let mut last = None;
        for at in resolve(host).map_err(Joining::Unreached)? {
            match self.runtime.block_on(stream::join(&identity, token, at, question)) {
                Ok(Response::Entries(entries)) => return Ok(entries),
                Ok(Response::Refused(why)) => return Err(Joining::Refused(why)),
                Ok(_) => last = Some("it answered something else".to_owned()),
                // It hangs up on whoever has not the token, without a word.
                Err(e) if is_hang_up(&e) => {
                    last = Some(format!(
                        "{at} did not accept the token: it is wrong or was rotated; `vxmesh cluster token` on a member prints the one that counts"
                    ));
                }
                Err(e) => {
                    last = Some(format!(
                        "{at} cannot be reached ({e}): is its daemon running, and is TCP port {} open?",
                        at.port()
                    ))
                }
            }
        }
        Err(Joining::Unreached(last.unwrap_or_else(|| "it has no address".to_owned())))
    }

    fn become_member(&self, token: &Token, entries: Vec<Entry>) -> Result<api::Cluster, Error> {
        let mut state = self.lock();
        check_alone(&state)?;
        let mut person = self.person()?;
        person.tag = token.tag().0;
        self.start_anew(&mut state, person, entries)?;
        tracing::info!("joined a cluster");
        drop(state);
        // What comes next may be a network, for which others must give a VNI.
        Ok(view::cluster(self, &self.lock_knowing_owners()))
    }

    fn person(&self) -> Result<Person, Error> {
        let stored = self.store.all(crate::control::store::NODE)?.pop();
        stored.map(|(_, p)| p).ok_or_else(|| {
            Error::Failed("the state does not say who this host is: restart the daemon".to_owned())
        })
    }

    /// A machine of the given entries in the place of the one there is.
    fn start_anew(
        &self,
        state: &mut State,
        mut person: Person,
        entries: Vec<Entry>,
    ) -> Result<(), Error> {
        person.generation += 1;
        state.cluster = Cluster::start(&self.store, &person, entries, self.myself(), self.now())?;
        self.apply_all(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Leaves the cluster: a cluster of one again, under a new identity.
    pub fn cluster_leave(&self, request: &api::ClusterLeave) -> Result<(), Error> {
        let (farewell, contacts, removed) = {
            let state = self.lock();
            check_idle(&state)?;
            let machine = &state.cluster.machine;
            let removed = machine.removed_by().is_some();
            if machine.replica().members().count() < 2 {
                return Err(Error::conflict("this host is a member of no cluster but its own"));
            }
            let up = machine.up();
            let contacts: Vec<_> =
                up.into_iter().filter_map(|id| Some((id, machine.contact(&id)?))).collect();
            (machine.farewell(), contacts, removed)
        };
        let mut why = "no member is up that could take over its address ranges".to_owned();
        // Who was removed has nothing left that others could take over.
        let mut agreed = removed;
        let farewell = farewell.inspect_err(|mute| why.clone_from(mute)).ok();
        for (id, (exchange, at)) in contacts {
            let Some(farewell) = &farewell else { break };
            match self.runtime.block_on(self.ask(&exchange, at, farewell)) {
                Ok(Response::Done) => {
                    agreed = true;
                    break;
                }
                Ok(Response::Refused(reason)) => why = reason,
                Ok(response) => {
                    let mut state = self.lock();
                    let _ = state.cluster.machine.absorb(self.now(), id, response);
                    if state.cluster.machine.removed_by().is_some() {
                        agreed = true;
                        break;
                    }
                }
                Err(e) => {
                    why =
                        format!("{} did not answer: {e}", self.lock().cluster.machine.name_of(&id))
                }
            }
        }
        if !agreed && !request.force {
            return Err(Error::conflict(format!(
                "this host cannot leave in good order: {why}; --force leaves all the same, and its ranges are lost until `vxmesh node rm` on a member"
            )));
        }
        let mut state = self.lock();
        check_idle(&state)?;
        state.cluster.machine.leave(self.now());
        let person = Person::new()?;
        self.start_anew(&mut state, person, Vec::new())?;
        tracing::info!("left the cluster");
        Ok(())
    }

    /// All members, this host first.
    pub fn nodes(&self) -> Result<Vec<api::Node>, Error> {
        Ok(view::nodes(self, &self.lock()))
    }

    /// One member.
    pub fn node(&self, reference: &str) -> Result<api::Node, Error> {
        let state = self.lock();
        let id = find_node(&state, reference)?;
        Ok(view::node(self, &state, &Sessions::ask(self, &state), id))
    }

    /// Removes members for good; several are divided by commas.
    pub fn remove_nodes(&self, references: &str) -> Result<(), Error> {
        let ended = {
            let mut state = self.lock();
            check_belongs(&state)?;
            let dead = references
                .split(',')
                .map(|reference| find_node(&state, reference))
                .collect::<Result<Vec<_>, _>>()?;
            let up = dead.iter().find(|id| state.cluster.machine.is_up(id));
            if let Some(up) = up {
                let name = state.cluster.machine.name_of(up);
                return Err(Error::conflict(format!(
                    "node {name} is up: let it leave with `vxmesh cluster leave` there, or stop its daemon first"
                )));
            }
            let begun = state.cluster.machine.remove(self.now(), dead);
            begun.map_err(|why| Error::conflict(format!("nothing was removed: {why}")))?;
            let ended = state.cluster.await_removal();
            self.settle_cluster(&mut state)?;
            ended
        };
        self.wake.notify_one();
        let waited =
            self.runtime.block_on(async { tokio::time::timeout(stream::AGREEMENT, ended).await });
        match waited {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(Error::conflict(format!("nothing was removed: {why}"))),
            _ => Err(Error::Failed("the members did not agree in time: try again".to_owned())),
        }
    }
}

/// Why a host could not be joined by.
enum Joining {
    /// It understood, and said no.
    Refused(String),
    /// Another host may do.
    Unreached(String),
}

fn is_hang_up(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(e.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// `HOST[:PORT]`, `IPv6` or `[IPv6]:PORT`.
fn resolve(host: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, DEFAULT_PORT)]);
    }
    let with_port = match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:{DEFAULT_PORT}"),
    };
    with_port
        .to_socket_addrs()
        .map(Iterator::collect)
        .map_err(|e| format!("it has no address ({e}): give its underlay address"))
}

fn check_pools(pools: &Pools) -> Result<(), Error> {
    for pool in &pools.pools {
        if *pool != pool.trunc() {
            return Err(Error::invalid(format!(
                "the address pool {pool} has host bits set: did you mean {}?",
                pool.trunc()
            )));
        }
        if pool.prefix_len() > pools.length {
            return Err(Error::invalid(format!(
                "the address pool {pool} has no room for a /{}: use a larger pool, or a longer mask length",
                pools.length
            )));
        }
    }
    if !(8..=29).contains(&pools.length) {
        return Err(Error::invalid(format!(
            "subnets of /{} are too large or too small: use a mask length from 8 to 29",
            pools.length
        )));
    }
    if pools.pools.len() > 64 {
        return Err(Error::invalid("more than 64 address pools: use larger ones"));
    }
    Ok(())
}

/// Nothing can be done for a cluster by a host that was removed from it.
pub(in crate::control) fn check_belongs(state: &State) -> Result<(), Error> {
    match view::removed_by(state) {
        Some(by) => Err(Error::conflict(api::removal_notice(&by))),
        None => Ok(()),
    }
}

/// Joining would lose what this host has, and it is said what.
fn check_alone(state: &State) -> Result<(), Error> {
    check_belongs(state)?;
    let members = state.cluster.machine.replica().members().count();
    if members > 1 {
        return Err(Error::conflict(format!(
            "this host is a member of a cluster of {members} already: leave it first with `vxmesh cluster leave`"
        )));
    }
    let names: Vec<&str> = state.tables.networks().map(|n| n.name.as_str()).collect();
    match names.len() {
        0 => Ok(()),
        n => Err(Error::conflict(format!(
            "joining would take this host's own {} from it: {}; remove what is not needed with `vxmesh network rm`, and create on the cluster what is",
            if n == 1 { "network".to_owned() } else { format!("{n} networks") },
            names[..n.min(5)].join(", ")
        ))),
    }
}

/// A host that leaves must not take containers with it.
fn check_idle(state: &State) -> Result<(), Error> {
    let here = state.tables.endpoints().filter(|e| e.holder == Holder::Here).count();
    match here {
        0 => Ok(()),
        n => Err(Error::conflict(format!(
            "this host holds {n} endpoint{}, which would lose {} network: detach first",
            if n == 1 { "" } else { "s" },
            if n == 1 { "its" } else { "their" }
        ))),
    }
}

/// The member with this name, id or unambiguous beginning of an id.
pub(in crate::control) fn find_node(state: &State, reference: &str) -> Result<NodeId, Error> {
    let machine = &state.cluster.machine;
    let members: Vec<NodeId> = machine.replica().members().map(|(id, _)| id).collect();
    let named: Vec<NodeId> =
        members.iter().copied().filter(|id| machine.name_of(id) == reference).collect();
    let found = match named.len() {
        0 if reference.is_empty() => Vec::new(),
        0 => members.into_iter().filter(|id| id.to_string().starts_with(reference)).collect(),
        _ => named,
    };
    match *found {
        [one] => Ok(one),
        [] => Err(Refusal::NotFound(format!(
            "there is no node {reference:?}: `vxmesh node ls` shows those there are"
        ))
        .into()),
        _ => Err(Error::conflict(format!(
            "several nodes are meant by {reference:?}: use the beginning of an id from `vxmesh node ls`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_with_and_without_ports() {
        let at = |host: &str| resolve(host).map(|all| all[0].to_string());
        assert_eq!(at("192.0.2.1").as_deref(), Ok("192.0.2.1:7946"));
        assert_eq!(at("192.0.2.1:1234").as_deref(), Ok("192.0.2.1:1234"));
        assert_eq!(at("fd00::1").as_deref(), Ok("[fd00::1]:7946"));
        assert_eq!(at("[fd00::1]:99").as_deref(), Ok("[fd00::1]:99"));
        assert!(at("no.such.host.invalid").is_err());
    }

    #[test]
    fn pools_must_hold_a_subnet() {
        let pools = |pool: &str, length| Pools { pools: vec![pool.parse().unwrap()], length };
        assert!(check_pools(&pools("10.0.0.0/8", 24)).is_ok());
        assert!(check_pools(&pools("10.0.0.1/8", 24)).is_err());
        assert!(check_pools(&pools("10.0.0.0/25", 24)).is_err());
        assert!(check_pools(&pools("10.0.0.0/8", 30)).is_err());
    }
}
