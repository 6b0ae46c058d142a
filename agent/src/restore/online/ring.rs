//! Where Cassandra keeps the replicas of a token, computed from a ring and a replication.
//!
//! Sources: `SimpleStrategy.calculateNaturalReplicas`, `NetworkTopologyStrategy.DatacenterEndpoints`
//! of Cassandra 4.0 to 5.0.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::ranges::{Range, Token};
use crate::restore::schema::Replication;

/// A node that owns tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its host id.
    pub host_id: Uuid,
    /// Its datacenter.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Its tokens, in any order.
    pub tokens: Vec<Token>,
}

/// A range of the ring with its replicas.
pub type Replicated = (Range, BTreeSet<Uuid>);

/// The ranges of a ring, which together are all of it, with the replicas of each. Where the strategy is
/// not one of Cassandra's, or has transient replicas, every node is taken for a replica: too many are
/// read, and none is missed.
pub fn replicas(members: &[Member], replication: Option<&Replication>) -> Vec<Replicated> {
    let mut tokens: Vec<(Token, &Member)> = members
        .iter()
        .flat_map(|member| member.tokens.iter().map(move |token| (*token, member)))
        .collect();
    tokens.sort_by_key(|(token, _)| *token);
    let placement = Placement::of(members, replication);
    let ranges = (0..tokens.len()).map(|at| {
        let before = tokens[(at + tokens.len() - 1) % tokens.len()].0;
        let from_here = tokens[at..].iter().chain(&tokens[..at]);
        let holders = placement.choose(from_here.map(|(_, member)| *member));
        (Range::new(before, tokens[at].0), holders)
    });
    ranges.collect()
}

/// The datacenters that a replication names and the ring does not have.
pub fn foreign_datacenters(members: &[Member], replication: &Replication) -> Vec<String> {
    if replication.class != "NetworkTopologyStrategy" {
        return Vec::new();
    }
    let has = |name: &&String| {
        *name == "replication_factor" || members.iter().any(|it| it.datacenter == **name)
    };
    let named = replication.options.keys().filter(|name| !has(name));
    named.cloned().collect()
}

enum Placement {
    Everywhere(BTreeSet<Uuid>),
    /// So many of them, in the order of the ring.
    Simple(usize),
    /// By datacenter.
    Network(BTreeMap<String, Quota>),
}

/// What a datacenter is to have, and what it has at all.
#[derive(Clone, Debug)]
struct Quota {
    replicas: usize,
    /// How many replicas may share a rack with another one before all racks have one.
    repeats: usize,
}

impl Placement {
    fn of(members: &[Member], replication: Option<&Replication>) -> Self {
        let everywhere = || Self::Everywhere(members.iter().map(|it| it.host_id).collect());
        let Some(replication) = replication else {
            return everywhere();
        };
        let factor = |name: &str| replication.options.get(name)?.parse::<usize>().ok();
        match replication.class.as_str() {
            "SimpleStrategy" => factor("replication_factor").map_or_else(everywhere, Self::Simple),
            "NetworkTopologyStrategy" => {
                let mut quotas = BTreeMap::new();
                for name in members.iter().map(|it| &it.datacenter) {
                    let named = replication.options.contains_key(name);
                    let wanted = match named {
                        true => factor(name),
                        false => factor("replication_factor").or(Some(0)),
                    };
                    let Some(wanted) = wanted else {
                        return everywhere();
                    };
                    quotas.insert(name.clone(), Quota::of(members, name, wanted));
                }
                Self::Network(quotas)
            }
            _ => everywhere(),
        }
    }

    /// The replicas among the owners of the tokens from one on, around the ring.
    fn choose<'a>(&self, owners: impl Iterator<Item = &'a Member>) -> BTreeSet<Uuid> {
        match self {
            Self::Everywhere(all) => all.clone(),
            Self::Simple(wanted) => {
                let mut chosen = BTreeSet::new();
                for owner in owners {
                    if chosen.len() == *wanted {
                        break;
                    }
                    chosen.insert(owner.host_id);
                }
                chosen
            }
            Self::Network(quotas) => {
                let mut left = quotas.clone();
                let mut racks: BTreeSet<(&str, &str)> = BTreeSet::new();
                let mut chosen = BTreeSet::new();
                for owner in owners {
                    let Some(quota) = left.get_mut(&owner.datacenter) else {
                        continue;
                    };
                    if quota.replicas == 0 || chosen.contains(&owner.host_id) {
                        continue;
                    }
                    if !racks.insert((&owner.datacenter, &owner.rack)) {
                        if quota.repeats == 0 {
                            continue;
                        }
                        quota.repeats -= 1;
                    }
                    quota.replicas -= 1;
                    chosen.insert(owner.host_id);
                }
                chosen
            }
        }
    }
}

impl Quota {
    fn of(members: &[Member], datacenter: &str, wanted: usize) -> Self {
        let here = || members.iter().filter(|it| it.datacenter == datacenter);
        let racks: BTreeSet<&str> = here().map(|it| it.rack.as_str()).collect();
        let replicas = wanted.min(here().count());
        Self {
            replicas,
            repeats: wanted.saturating_sub(racks.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u128, datacenter: &str, rack: &str, tokens: &[Token]) -> Member {
        Member {
            host_id: Uuid::from_u128(id),
            datacenter: datacenter.into(),
            rack: rack.into(),
            tokens: tokens.to_vec(),
        }
    }

    fn replication(class: &str, options: &[(&str, &str)]) -> Replication {
        let options = options.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        Replication {
            class: class.into(),
            options: options.collect(),
        }
    }

    /// The numbers of the replicas of each range, by its end.
    fn numbers(members: &[Member], replication: &Replication) -> Vec<(Token, Vec<u128>)> {
        let ranges = replicas(members, Some(replication)).into_iter();
        let number = |ids: BTreeSet<Uuid>| ids.iter().map(Uuid::as_u128).collect();
        ranges
            .map(|(range, ids)| (range.end, number(ids)))
            .collect()
    }

    #[test]
    fn the_simple_strategy_takes_the_next_nodes_around_the_ring() {
        let ring = [
            member(1, "a", "r", &[0, 30]),
            member(2, "a", "r", &[10]),
            member(3, "b", "r", &[20]),
        ];
        let two = replication("SimpleStrategy", &[("replication_factor", "2")]);
        let found = numbers(&ring, &two);
        assert_eq!(found[0], (0, vec![1, 2]));
        assert_eq!(found[2], (20, vec![1, 3]));
        assert_eq!(found[3], (30, vec![1, 2]), "30 and 0 are one node's");
        let five = replication("SimpleStrategy", &[("replication_factor", "5")]);
        assert!(numbers(&ring, &five).iter().all(|(_, ids)| ids.len() == 3));
    }

    #[test]
    fn the_strategy_of_networks_spreads_over_racks_first() {
        let ring = [
            member(1, "a", "r1", &[0]),
            member(2, "a", "r1", &[10]),
            member(3, "a", "r2", &[20]),
            member(4, "b", "r1", &[30]),
        ];
        let of = |options: &[(&str, &str)]| {
            numbers(&ring, &replication("NetworkTopologyStrategy", options))
        };
        let found = of(&[("a", "2")]);
        assert_eq!(found[0], (0, vec![1, 3]), "2 is in the rack of 1");
        assert_eq!(found[2], (20, vec![1, 3]));
        assert_eq!(of(&[("a", "3")])[0], (0, vec![1, 2, 3]));
        assert_eq!(of(&[("a", "1"), ("b", "1")])[1], (10, vec![2, 4]));
        let both = of(&[("replication_factor", "1"), ("b", "0")]);
        assert_eq!(both[3], (30, vec![1]), "b has none by its own name");
    }

    #[test]
    fn where_it_is_not_known_every_node_may_have_a_replica() {
        let ring = [member(1, "a", "r", &[0]), member(2, "a", "r", &[10])];
        for odd in [
            replication("EverywhereStrategy", &[]),
            replication("NetworkTopologyStrategy", &[("a", "3/1")]),
        ] {
            assert!(numbers(&ring, &odd).iter().all(|(_, ids)| ids.len() == 2));
        }
        assert!(replicas(&ring, None).iter().all(|(_, ids)| ids.len() == 2));
    }

    #[test]
    fn datacenters_that_the_ring_does_not_have_are_found() {
        let ring = [member(1, "a", "r", &[0])];
        let of =
            |options| foreign_datacenters(&ring, &replication("NetworkTopologyStrategy", options));
        assert_eq!(
            of(&[("a", "1"), ("b", "1"), ("replication_factor", "1")]),
            ["b"]
        );
        let simple = replication("SimpleStrategy", &[("replication_factor", "1")]);
        assert!(foreign_datacenters(&ring, &simple).is_empty());
    }
}
