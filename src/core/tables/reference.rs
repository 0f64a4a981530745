//! What a user may call a thing: its name, its id, or the beginning of its id.

use super::{Endpoint, Id, Network, Refusal, Service, Tables, listed};

impl Tables {
    /// The network with this name, id or unambiguous prefix of an id.
    pub fn network(&self, reference: &str) -> Result<&Network, Refusal> {
        if let Some(named) = self.networks.values().find(|n| n.name == reference) {
            return Ok(named);
        }
        let found = by_prefix(reference, self.networks.iter());
        one("network", "`vxmesh network ls` shows those there are", reference, found)
    }

    /// The endpoint with this name, id or unambiguous prefix of an id. Names
    /// are unique within a network only.
    pub fn endpoint(&self, reference: &str) -> Result<&Endpoint, Refusal> {
        let named: Vec<&Endpoint> =
            self.endpoints.values().filter(|e| e.name == reference).collect();
        match *named {
            [one] => return Ok(one),
            [] => {}
            _ => {
                let places: Vec<String> = named
                    .iter()
                    .map(|e| {
                        let network = self.network_of(e).map_or("", |n| &n.name);
                        format!("{network} ({})", e.id.short())
                    })
                    .collect();
                return Err(Refusal::Conflict(format!(
                    "endpoint {reference} exists on several networks: {}; use the id of the one that is meant",
                    listed(places.iter().map(String::as_str))
                )));
            }
        }
        let found = by_prefix(reference, self.endpoints.iter());
        one("endpoint", "`vxmesh endpoint ls` shows those there are", reference, found)
    }

    /// The service with this name, id or unambiguous prefix of an id.
    pub fn service(&self, reference: &str) -> Result<&Service, Refusal> {
        let named = |s: &&Service| s.name.eq_ignore_ascii_case(reference);
        let named: Vec<&Service> = self.services.values().filter(named).collect();
        match *named {
            [one] => return Ok(one),
            [] => {}
            _ => {
                return Err(Refusal::Conflict(format!(
                    "there are several services {reference}: {}; use the id of the one that is meant",
                    listed(named.iter().map(|s| s.id.short()))
                )));
            }
        }
        let found = by_prefix(reference, self.services.iter());
        one("service", "`vxmesh service ls` shows those there are", reference, found)
    }
}

fn by_prefix<'a, T>(
    prefix: &str,
    all: impl Iterator<Item = (&'a Id, &'a T)>,
) -> Vec<(&'a Id, &'a T)> {
    all.filter(|(id, _)| !prefix.is_empty() && id.as_str().starts_with(prefix)).collect()
}

fn one<'a, T>(
    what: &str,
    hint: &str,
    reference: &str,
    found: Vec<(&Id, &'a T)>,
) -> Result<&'a T, Refusal> {
    match *found {
        [(_, one)] => Ok(one),
        [] => Err(Refusal::NotFound(format!("there is no {what} {reference:?}: {hint}"))),
        _ => Err(Refusal::Conflict(format!(
            "{reference:?} begins the ids of several {what}s: {}; give more digits",
            listed(found.iter().map(|(id, _)| id.short()))
        ))),
    }
}
