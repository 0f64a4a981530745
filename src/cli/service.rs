//! `vxmesh service`: create, update, ls, inspect, rm.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::output::{self, Format, FormatArg, JsonFormatArg};
use super::parse;
use super::service_text::{
    self as text, Affinity, EndpointMode, HealthCheck, Scheduler, affinity, health, off, port,
    ports,
};
use crate::api;
use crate::client::{Client, path};

/// Give sets of endpoints a name, and a virtual IP on each network
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  vxmesh service create shop --network web --health http:8080/ready
  vxmesh attach web --netns box1 --service shop
  vxmesh service ls
  vxmesh service update shop --network-add backend --weight box1=3
  vxmesh service rm shop")]
pub(super) enum Service {
    Create(Create),
    Update(Update),
    #[command(alias = "list")]
    Ls(Ls),
    Inspect(Inspect),
    #[command(alias = "remove")]
    Rm(Rm),
}

/// Create a service
///
/// All hosts of the cluster know it, and any of them can change it. Endpoints join it
/// with `vxmesh attach --service`. Its name stands for a virtual IP on each of its
/// networks, over which traffic is balanced, or for the addresses of all its endpoints
/// that take traffic; `tasks.NAME` always for the latter. Prints the new service's id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh service create shop --network web
  vxmesh service create shop --network web --health http:8080/ready,interval=2s,retries=2
  vxmesh service create cache --network web --network backend --scheduler maglev
  vxmesh service create login --network web --affinity client-ip:600 --drain 30
  vxmesh service create peers --network web --endpoint-mode dnsrr --alias seeds
  vxmesh service create dns --network web --publish 5353:53/udp --publish 53/tcp")]
pub(super) struct Create {
    /// Its name: letters, digits, `_` and `-`, the first and last a letter or digit; at most 63
    name: String,
    /// A network that it is on, by name or id; repeat for more
    #[arg(long, value_name = "NETWORK", required = true)]
    network: Vec<String>,
    /// What its name stands for: a virtual IP on each network, or its endpoints' addresses
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    endpoint_mode: EndpointMode,
    /// How an endpoint is chosen for a new connection: in turn, by the flow's hash, or by the
    /// fewest connections
    #[arg(long, value_enum, value_name = "SCHEDULER", default_value_t)]
    scheduler: Scheduler,
    /// Let a client keep its endpoint for so long after its last new connection [default:
    /// 10800 seconds, if no number is given]
    #[arg(long, value_name = "client-ip[:SECONDS]", value_parser = affinity)]
    affinity: Option<Affinity>,
    #[arg(long, value_name = HEALTH, value_parser = health, help = HEALTH_HELP)]
    health: Option<HealthCheck>,
    /// For how long connections of an endpoint that goes may go on
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u32,
    /// A further name, which others may share; repeat for more
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    #[arg(long, value_name = PORTS, value_parser = ports, help = PUBLISH_HELP)]
    publish: Vec<api::Published>,
    #[command(flatten)]
    output: FormatArg,
}

const HEALTH: &str = "tcp:PORT|http:PORT/PATH[,interval=…,timeout=…,retries=…]";
const HEALTH_HELP: &str = "How each endpoint's host tests it, before it takes traffic and from \
then on [default: interval=5s,timeout=2s,retries=3, if there is a test]";
const PORTS: &str = "[PUBLISHED:]TARGET[/PROTOCOL]";
const PUBLISH_HELP: &str = "A port to be open on every host, and the port at the endpoints; \
tcp, udp or sctp. For now it is stored, shown and found by SRV questions, but not opened";

/// Change a service
///
/// What is not named stays as it is. If it is changed on two hosts at once, one of the
/// changes counts, the same everywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh service update shop --network-add backend --network-rm web
  vxmesh service update shop --endpoint-mode dnsrr
  vxmesh service update shop --health tcp:8080,interval=1s --affinity none
  vxmesh service update shop --weight box1=3 --weight box2=0
  vxmesh service update shop --publish-add 443:8443 --publish-rm 8080")]
pub(super) struct Update {
    /// The service's name, id or an unambiguous beginning of its id
    service: String,
    /// A network to join; repeat for more
    #[arg(long, value_name = "NETWORK")]
    network_add: Vec<String>,
    /// A network to leave; repeat for more
    #[arg(long, value_name = "NETWORK")]
    network_rm: Vec<String>,
    /// What its name stands for
    #[arg(long, value_enum, value_name = "MODE")]
    endpoint_mode: Option<EndpointMode>,
    /// How an endpoint is chosen for a new connection
    #[arg(long, value_enum, value_name = "SCHEDULER")]
    scheduler: Option<Scheduler>,
    /// Let a client keep its endpoint; `none` ends that
    #[arg(long, value_name = "client-ip[:SECONDS]|none", value_parser = off(affinity))]
    affinity: Option<text::Change<Affinity>>,
    /// How endpoints are tested, as a whole; `none` ends that
    #[arg(long, value_name = HEALTH, value_parser = off(health))]
    health: Option<text::Change<HealthCheck>>,
    /// For how long connections of an endpoint that goes may go on
    #[arg(long, value_name = "SECONDS")]
    drain: Option<u32>,
    /// A further name to give it; repeat for more
    #[arg(long, value_name = "NAME")]
    alias_add: Vec<String>,
    /// A further name to take from it; repeat for more
    #[arg(long, value_name = "NAME")]
    alias_rm: Vec<String>,
    #[arg(long, value_name = PORTS, value_parser = ports, help = PUBLISH_HELP)]
    publish_add: Vec<api::Published>,
    /// A published port to take away, as it is at the endpoints; repeat for more
    #[arg(long, value_name = "TARGET[/PROTOCOL]", value_parser = port)]
    publish_rm: Vec<api::Target>,
    /// An endpoint's share of its traffic beside the others'; 0 is none; repeat for more
    #[arg(long, value_name = "ENDPOINT=N", value_parser = parse::weight)]
    weight: Vec<(String, u16)>,
    #[command(flatten)]
    output: FormatArg,
}

/// List services
///
/// BACKENDS says how many of a service's endpoints take traffic, and how many there are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh service ls
  vxmesh service ls --format json
  vxmesh service ls -q --no-trunc")]
pub(super) struct Ls {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    output: FormatArg,
}

/// Show services in full, as a JSON array
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh service inspect shop
  vxmesh service inspect shop --format table")]
pub(super) struct Inspect {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    output: JsonFormatArg,
}

/// Remove services
///
/// Their names and virtual IPs are gone at once. Their endpoints stay attached under
/// their own names and addresses.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh service rm shop
  vxmesh service rm $(vxmesh service ls -q)")]
pub(super) struct Rm {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    output: FormatArg,
}

impl Service {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Service::Create(verb) => verb.run(client),
            Service::Update(verb) => verb.run(client),
            Service::Ls(verb) => verb.run(client),
            Service::Inspect(verb) => verb.run(client),
            Service::Rm(verb) => verb.run(client),
        }
    }
}

impl Create {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = api::ServiceCreate {
            name: self.name,
            networks: self.network,
            mode: self.endpoint_mode.into(),
            scheduler: self.scheduler.into(),
            affinity: self.affinity.map(|a| a.0),
            health: self.health.map(|h| h.0),
            drain: Some(self.drain),
            aliases: self.alias,
            published: self.publish,
        };
        let service: api::Service = client.post(&path(&["services"]), &request)?;
        match self.output.format {
            Format::Table => output::print(&(service.id + "\n")),
            Format::Json => output::json(&service),
        }
    }
}

impl Update {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = api::ServiceUpdate {
            networks_add: self.network_add,
            networks_rm: self.network_rm,
            mode: self.endpoint_mode.map(Into::into),
            scheduler: self.scheduler.map(Into::into),
            affinity: self.affinity.map(|change| change.0.map(|a| a.0)),
            health: self.health.map(|change| change.0.map(|h| h.0)),
            drain: self.drain,
            aliases_add: self.alias_add,
            aliases_rm: self.alias_rm,
            published_add: self.publish_add,
            published_rm: self.publish_rm,
            weights: BTreeMap::from_iter(self.weight),
        };
        let path = path(&["services", &self.service, "update"]);
        let service: api::Service = client.post(&path, &request)?;
        match self.output.format {
            Format::Table => output::print(&(service.name + "\n")),
            Format::Json => output::json(&service),
        }
    }
}

impl Ls {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let services: Vec<api::Service> = client.get(&path(&["services"]))?;
        let id = |id: &str| if self.no_trunc { id.to_owned() } else { output::short(id) };
        if self.quiet {
            let ids: Vec<String> = services.iter().map(|s| id(&s.id)).collect();
            return output::names(&ids, self.output.format);
        }
        if self.output.format == Format::Json {
            return output::json(&services);
        }
        output::print(&output::table(
            &["ID", "NAME", "MODE", "BACKENDS", "VIRTUAL IPS", "NETWORKS", "PORTS"],
            services.iter().map(|s| {
                vec![
                    id(&s.id),
                    s.name.clone(),
                    text::mode(s.mode).to_owned(),
                    ready(s),
                    output::list(s.networks.iter().flat_map(|n| &n.vips)),
                    output::list(s.networks.iter().map(|n| &n.name)),
                    output::list(s.published.iter().map(text::published)),
                ]
            }),
        ))
    }
}

/// How many endpoints take traffic, of how many.
fn ready(s: &api::Service) -> String {
    format!("{}/{}", s.ready, s.backends.len())
}

impl Inspect {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let inspected = output::each(&self.services, |service| {
            client.get::<api::Service>(&path(&["services", service]))
        });
        output::inspected(self.output.format, inspected, summary)
    }
}

/// A service on a few lines, its endpoints below.
fn summary(s: &api::Service) -> String {
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let mut rows = vec![
        row("NAME", s.name.clone()),
        row("ID", s.id.clone()),
        row("CREATED", s.created.clone()),
        row("MODE", text::mode(s.mode).to_owned()),
    ];
    if s.mode == api::EndpointMode::Vip {
        let affinity = s.affinity.map_or("-".to_owned(), |a| format!("client-ip:{a}"));
        rows.push(row("SCHEDULER", text::scheduler(s.scheduler).to_owned()));
        rows.push(row("AFFINITY", affinity));
    }
    rows.extend([
        row("HEALTH", s.health.as_ref().map_or("-".to_owned(), text::health_check)),
        row("DRAIN", format!("{} s", s.drain)),
        row("ALIASES", output::list(&s.aliases)),
        row("PORTS", output::list(s.published.iter().map(text::published))),
    ]);
    let network = |n: &api::ServiceNetwork| format!("{} {}", n.name, output::list(&n.vips));
    rows.extend(s.networks.iter().map(|n| row("NETWORK", network(n))));
    rows.push(row("BACKENDS", ready(s)));
    rows.extend(s.warnings.iter().map(|w| row("WARNING", w.clone())));
    let page = output::columns("", rows);
    if s.backends.is_empty() {
        return page;
    }
    let header = ["NAME", "NETWORK", "ADDRESSES", "HOST", "WEIGHT", "STATE", "REASON"];
    let backends = s.backends.iter().map(|b| {
        vec![
            b.name.clone(),
            b.network.clone(),
            output::list(&b.addresses),
            b.node.clone(),
            b.weight.to_string(),
            b.state.name().to_owned(),
            b.reason.clone().unwrap_or_default(),
        ]
    });
    page + "\n" + &output::table(&header, backends)
}

impl Rm {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let (removed, result) = output::each(&self.services, |service| {
            client.delete(&path(&["services", service])).map(|()| service.to_owned())
        });
        output::names(&removed, self.output.format)?;
        result
    }
}
