//! The ring: what `nodetool ring` shows, grouped by endpoint.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::{Cassandra, STORAGE_SERVICE, typed};
use crate::argument::Argument;
use crate::error::Error;
use crate::stream::{UnexpectedValue, Value};

/// All endpoints that own tokens, as one node sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Ring {
    /// What [`RingMember::owns`] means.
    pub ownership: Ownership,
    /// By datacenter, and in each in the order of their first tokens.
    pub members: Vec<RingMember>,
}

/// Which share of the data an endpoint is said to own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// With the replication of this keyspace, or of the non-system keyspaces if all have the same
    /// and none was asked for. The shares add up to the number of replicas.
    Effective {
        /// The keyspace asked for.
        keyspace: Option<String>,
    },
    /// Of the token range alone, since keyspaces differ in replication. The shares add up to 1.
    /// `nodetool ring` then shows `?`.
    TokenRange,
}

/// An endpoint of the ring.
#[derive(Debug, Clone, PartialEq)]
pub struct RingMember {
    /// Broadcast address, with the storage port where the version tells it (`10.0.0.1:7000`).
    pub address: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Whether it answers.
    pub status: Status,
    /// What it is doing.
    pub state: State,
    /// Size of its data for people (`103.49 KiB`); unknown until gossip has told it.
    pub load: Option<String>,
    /// Share of the data, from 0 to 1; see [`Ring::ownership`].
    pub owns: Option<f64>,
    /// Its host id, a UUID.
    pub host_id: Option<String>,
    /// Its tokens, in order of the ring.
    pub tokens: Vec<String>,
}

/// Whether an endpoint is alive, by the failure detector of the node that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Alive.
    Up,
    /// Not alive.
    Down,
    /// Neither is known.
    Unknown,
}

/// What an endpoint is doing in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Serving its ranges.
    Normal,
    /// Bootstrapping.
    Joining,
    /// Being decommissioned or removed.
    Leaving,
    /// Changing its token.
    Moving,
}

impl fmt::Display for Status {
    /// As `nodetool ring` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Up => "Up",
            Status::Down => "Down",
            Status::Unknown => "?",
        })
    }
}

impl fmt::Display for State {
    /// As `nodetool ring` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Normal => "Normal",
            State::Joining => "Joining",
            State::Leaving => "Leaving",
            State::Moving => "Moving",
        })
    }
}

/// What the MBeans say, before it is put together.
#[derive(Debug, Default)]
struct RingFacts {
    /// In order of the tokens.
    token_to_endpoint: Vec<(String, String)>,
    host_ids: BTreeMap<String, String>,
    loads: BTreeMap<String, String>,
    owns: HashMap<String, f64>,
    live: HashSet<String>,
    unreachable: HashSet<String>,
    joining: HashSet<String>,
    leaving: HashSet<String>,
    moving: HashSet<String>,
    /// Datacenter and rack.
    places: HashMap<String, (String, String)>,
}

impl Cassandra {
    /// The ring, with ownership for `keyspace` (which has to exist), or for the non-system
    /// keyspaces.
    ///
    /// This takes one call for each kind of fact and two for each endpoint, so the facts are not of
    /// one instant.
    pub async fn ring(&self, keyspace: Option<&str>) -> Result<Ring, Error> {
        let tokens = self
            .ring_attribute("TokenToEndpointWithPortMap", "TokenToEndpointMap")
            .await?;
        let token_to_endpoint = typed("TokenToEndpointMap", tokens, Value::into_string_pairs)?;
        let host_ids = self
            .ring_attribute("EndpointWithPortToHostId", "EndpointToHostId")
            .await?;
        let loads = self.ring_attribute("LoadMapWithPort", "LoadMap").await?;
        let (ownership, owns) = self.ownership(keyspace).await?;

        let mut places = HashMap::new();
        for (_, endpoint) in &token_to_endpoint {
            if !places.contains_key(endpoint) {
                let datacenter = self.datacenter_of(endpoint).await?;
                let rack = self.rack_of(endpoint).await?;
                places.insert(endpoint.clone(), (datacenter, rack));
            }
        }
        let facts = RingFacts {
            token_to_endpoint,
            host_ids: typed("EndpointToHostId", host_ids, Value::into_string_map)?,
            loads: typed("LoadMap", loads, Value::into_string_map)?,
            owns,
            live: self.endpoints("LiveNodes").await?,
            unreachable: self.endpoints("UnreachableNodes").await?,
            joining: self.endpoints("JoiningNodes").await?,
            leaving: self.endpoints("LeavingNodes").await?,
            moving: self.endpoints("MovingNodes").await?,
            places,
        };
        Ok(assemble(ownership, facts))
    }

    async fn ring_attribute(&self, with_port: &str, plain: &str) -> Result<Value, Error> {
        self.first_attribute(STORAGE_SERVICE, [with_port, plain])
            .await
    }

    async fn endpoints(&self, name: &str) -> Result<HashSet<String>, Error> {
        let value = self
            .ring_attribute(&format!("{name}WithPort"), name)
            .await?;
        let endpoints = typed(name, value, Value::into_strings)?;
        Ok(endpoints.into_iter().collect())
    }

    async fn ownership(
        &self,
        keyspace: Option<&str>,
    ) -> Result<(Ownership, HashMap<String, f64>), Error> {
        match self.effective_ownership(keyspace).await {
            Ok(value) => {
                let keyspace = keyspace.map(str::to_owned);
                let shares = typed("effectiveOwnership", value, parse_shares)?;
                Ok((Ownership::Effective { keyspace }, shares))
            }
            // So Cassandra says that keyspaces differ in replication.
            Err(Error::Mbean { class, .. }) if class == "java.lang.IllegalStateException" => {
                let value = self
                    .ring_attribute("OwnershipWithPort", "Ownership")
                    .await?;
                let shares = typed("Ownership", value, parse_shares)?;
                Ok((Ownership::TokenRange, shares))
            }
            Err(error) => Err(error),
        }
    }

    async fn effective_ownership(&self, keyspace: Option<&str>) -> Result<Value, Error> {
        let arguments = || vec![Argument::optional_string(keyspace)];
        let newer = "effectiveOwnershipWithPort";
        match self
            .storage_operation(newer, arguments(), super::READ)
            .await
        {
            Err(error) if error.is_missing_member() => {
                let older = "effectiveOwnership";
                self.storage_operation(older, arguments(), super::READ)
                    .await
            }
            result => result,
        }
    }
}

/// A map from endpoint to share; older versions have `InetAddress` for the endpoint.
fn parse_shares(value: Value) -> Result<HashMap<String, f64>, UnexpectedValue> {
    let share = |(endpoint, share): &(Value, Value)| {
        let endpoint = match endpoint {
            Value::String(text) => text.clone(),
            other => other.as_ip()?.to_string(),
        };
        Ok((endpoint, share.as_f64()?))
    };
    value.entries()?.iter().map(share).collect()
}

fn assemble(ownership: Ownership, mut facts: RingFacts) -> Ring {
    let mut members: Vec<RingMember> = Vec::new();
    let mut position: HashMap<String, usize> = HashMap::new();
    for (token, address) in std::mem::take(&mut facts.token_to_endpoint) {
        match position.get(&address) {
            Some(index) => members[*index].tokens.push(token),
            None => {
                position.insert(address.clone(), members.len());
                members.push(member(address, token, &facts));
            }
        }
    }
    // Stable, so members of a datacenter stay in the order of their first tokens.
    members.sort_by(|a, b| a.datacenter.cmp(&b.datacenter));
    Ring { ownership, members }
}

fn member(address: String, first_token: String, facts: &RingFacts) -> RingMember {
    let status = if facts.live.contains(&address) {
        Status::Up
    } else if facts.unreachable.contains(&address) {
        Status::Down
    } else {
        Status::Unknown
    };
    let state = if facts.joining.contains(&address) {
        State::Joining
    } else if facts.leaving.contains(&address) {
        State::Leaving
    } else if facts.moving.contains(&address) {
        State::Moving
    } else {
        State::Normal
    };
    let (datacenter, rack) = facts.places.get(&address).cloned().unwrap_or_default();
    RingMember {
        datacenter,
        rack,
        status,
        state,
        load: facts.loads.get(&address).cloned(),
        owns: facts.owns.get(&address).copied(),
        host_id: facts.host_ids.get(&address).cloned(),
        tokens: vec![first_token],
        address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> HashSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn pairs<C: FromIterator<(String, String)>>(items: &[(&str, &str)]) -> C {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        items.iter().map(owned).collect()
    }

    fn facts() -> RingFacts {
        let place = |dc: &str| (dc.to_owned(), "r1".to_owned());
        RingFacts {
            token_to_endpoint: pairs(&[("-9", "b:1"), ("-1", "c:1"), ("3", "a:1"), ("7", "b:1")]),
            host_ids: pairs(&[("a:1", "ida"), ("b:1", "idb")]),
            loads: pairs(&[("b:1", "10 KiB")]),
            owns: HashMap::from([("a:1".to_owned(), 0.25), ("b:1".to_owned(), 1.0)]),
            live: set(&["b:1"]),
            unreachable: set(&["c:1"]),
            joining: set(&["b:1"]),
            leaving: set(&["c:1", "b:1"]),
            moving: set(&["a:1"]),
            places: HashMap::from([
                ("a:1".to_owned(), place("dc1")),
                ("b:1".to_owned(), place("dc2")),
                ("c:1".to_owned(), place("dc1")),
            ]),
        }
    }

    #[test]
    fn members_are_grouped_by_datacenter_and_keep_the_order_of_tokens() {
        let ring = assemble(Ownership::TokenRange, facts());
        let order: Vec<_> = ring
            .members
            .iter()
            .map(|m| {
                (
                    m.datacenter.as_str(),
                    m.address.as_str(),
                    m.tokens.join(" "),
                )
            })
            .collect();
        assert_eq!(
            order,
            [
                ("dc1", "c:1", "-1".to_owned()),
                ("dc1", "a:1", "3".to_owned()),
                ("dc2", "b:1", "-9 7".to_owned()),
            ]
        );
    }

    #[test]
    fn status_and_state_follow_nodetool() {
        let ring = assemble(Ownership::TokenRange, facts());
        let shown: Vec<_> = ring
            .members
            .iter()
            .map(|m| format!("{} {} {}", m.address, m.status, m.state))
            .collect();
        assert_eq!(
            shown,
            ["c:1 Down Leaving", "a:1 ? Moving", "b:1 Up Joining"]
        );
        assert_eq!(ring.members[0].owns, None);
        assert_eq!(ring.members[0].load, None);
        assert_eq!(ring.members[2].owns, Some(1.0));
        assert_eq!(ring.members[1].host_id.as_deref(), Some("ida"));
    }

    #[test]
    fn shares_are_read_by_endpoint_name_and_by_address() {
        let address = Value::Object {
            class: "java.net.Inet4Address".to_owned(),
            fields: vec![("address".to_owned(), Value::Int(0x7f00_0001))],
        };
        let map = Value::Map(vec![
            (Value::String("10.0.0.1:7000".to_owned()), Value::Float(0.5)),
            (address, Value::Float(0.25)),
        ]);
        let shares = parse_shares(map).unwrap();
        assert_eq!(shares["10.0.0.1:7000"], 0.5);
        assert_eq!(shares["127.0.0.1"], 0.25);
    }
}
