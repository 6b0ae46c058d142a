//! Which SSTables of a backup a node of the target is to import, and why. Values in, values out.
//!
//! A node that has the place of one of the source's takes what that one had. It has its place only if
//! the whole ring (tokens, datacenter, rack) and the replication of the keyspace are the same: then the
//! replicas of every range correspond. Any other node takes, from *every* replica of the source, the
//! SSTables whose tokens overlap the ranges that it replicates now. Replicas differ: a row that only one
//! of them has was acknowledged all the same, and a deletion that only one of them has would be undone.

use std::collections::{BTreeMap, BTreeSet};

use manifest::SsTable;
use uuid::Uuid;

use super::ranges::{Bounds, Range, Ranges, Token};
use super::ring::{self, Member};
use crate::restore::schema::Replication;

/// A ring, and the replication of its keyspaces as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The nodes that own tokens.
    pub members: Vec<Member>,
    /// By keyspace.
    pub replication: BTreeMap<String, Replication>,
}

/// How a keyspace comes to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the node of the source that had its place.
    Twin(Uuid),
    /// From every node of the source, what overlaps these.
    Overlap(Ranges),
}

/// Why an SSTable is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The node of the source with the same place had it.
    SamePlace,
    /// It has tokens that the node replicates.
    Overlaps,
    /// It is not known which tokens it has.
    UnknownTokens,
}

/// Why one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyNot {
    /// Another node has the place of the one that had it.
    OtherPlace,
    /// It has no token that the node replicates.
    NoOverlap,
}

/// What is done with a keyspace on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspacePlan {
    /// Where its SSTables come from.
    pub way: Way,
    /// Ranges of the node that a replica of the source had which has no manifest: writes that only it
    /// had, and deletions, are lost.
    pub degraded: Vec<Range>,
}

/// What is to be decided.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What was backed up.
    pub source: &'a Cluster,
    /// The nodes of the source with a manifest.
    pub manifests: &'a BTreeSet<Uuid>,
    /// Where it comes.
    pub target: &'a Cluster,
    /// The node of the target.
    pub node: Uuid,
}

impl Question<'_> {
    /// What is done with the source's keyspace `from`, which is `into` in the target. `own` are the
    /// ranges that the node says it replicates, where the keyspace exists there.
    pub fn keyspace(&self, from: &str, into: &str, own: Option<Ranges>) -> KeyspacePlan {
        let before = self.source.replication.get(from);
        // A keyspace that is not there yet is made as it was.
        let after = self.target.replication.get(into).or(before);
        let held = ring::replicas(&self.source.members, before);
        let missing = |ids: &BTreeSet<Uuid>| ids.iter().any(|id| !self.manifests.contains(id));
        if before.is_some()
            && before == after
            // Where that one was not backed up, the others have most of it.
            && let Some(twin) = self.twin().filter(|it| self.manifests.contains(it))
        {
            return KeyspacePlan {
                way: Way::Twin(twin),
                degraded: Vec::new(),
            };
        }
        let ranges = own.unwrap_or_else(|| {
            let all = ring::replicas(&self.target.members, after).into_iter();
            Ranges::of(all.filter_map(|(range, ids)| ids.contains(&self.node).then_some(range)))
        });
        let lost = held.into_iter().filter(|(_, ids)| missing(ids));
        let degraded = lost.map(|(range, _)| range).filter(|it| ranges.touch(it));
        KeyspacePlan {
            degraded: degraded.collect(),
            way: Way::Overlap(ranges),
        }
    }

    /// The node of the source that had the node's place in the same ring.
    fn twin(&self) -> Option<Uuid> {
        let place = |member: &Member| {
            let tokens: BTreeSet<Token> = member.tokens.iter().copied().collect();
            (tokens, member.datacenter.clone(), member.rack.clone())
        };
        let places = |cluster: &Cluster| -> BTreeMap<_, Uuid> {
            let members = cluster.members.iter();
            members.map(|it| (place(it), it.host_id)).collect()
        };
        let (before, after) = (places(self.source), places(self.target));
        let all = before.len() == self.source.members.len();
        if !all || !before.keys().eq(after.keys()) {
            return None;
        }
        let own = after.into_iter().find(|(_, id)| *id == self.node)?.0;
        before.get(&own).copied()
    }
}

impl KeyspacePlan {
    /// Whether an SSTable of a node of the source is imported.
    pub fn choose(&self, source: Uuid, sstable: &SsTable) -> Result<Why, WhyNot> {
        match &self.way {
            Way::Twin(twin) if *twin == source => Ok(Why::SamePlace),
            Way::Twin(_) => Err(WhyNot::OtherPlace),
            Way::Overlap(ranges) => match bounds(sstable) {
                None => Ok(Why::UnknownTokens),
                Some(bounds) if ranges.overlaps(&bounds) => Ok(Why::Overlaps),
                Some(_) => Err(WhyNot::NoOverlap),
            },
        }
    }

    /// How many of an SSTable's bytes the node keeps in the end, about.
    pub fn kept(&self, sstable: &SsTable, bytes: u64) -> u64 {
        match (&self.way, bounds(sstable)) {
            (Way::Overlap(ranges), Some(bounds)) => (bytes as f64 * ranges.share(&bounds)) as u64,
            _ => bytes,
        }
    }

    /// Whether what the node does not replicate has to be removed after an import.
    pub fn needs_cleanup(&self) -> bool {
        matches!(&self.way, Way::Overlap(ranges) if !ranges.are_all())
    }
}

fn bounds(sstable: &SsTable) -> Option<Bounds> {
    let token = |text: &Option<String>| text.as_ref()?.parse::<Token>().ok();
    let (first, last) = (token(&sstable.first_token)?, token(&sstable.last_token)?);
    (first <= last).then_some(Bounds { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// Nodes with these numbers and tokens, in one rack.
    fn members(nodes: &[(u128, &[Token])]) -> Vec<Member> {
        let member = |(number, tokens): &(u128, &[Token])| Member {
            host_id: id(*number),
            datacenter: "dc".into(),
            rack: "r".into(),
            tokens: tokens.to_vec(),
        };
        nodes.iter().map(member).collect()
    }

    fn cluster(nodes: &[(u128, &[Token])], factor: usize) -> Cluster {
        let replication = Replication {
            class: "SimpleStrategy".into(),
            options: [("replication_factor".into(), factor.to_string())].into(),
        };
        Cluster {
            members: members(nodes),
            replication: [("shop".into(), replication)].into(),
        }
    }

    fn sstable(first: Token, last: Token) -> SsTable {
        SsTable {
            sstable: "nb-1-big.00000001.17".into(),
            index: None,
            data_directory: 0,
            first_token: Some(first.to_string()),
            last_token: Some(last.to_string()),
            content: None,
            components: Vec::new(),
        }
    }

    fn plan(source: &Cluster, manifests: &[u128], target: &Cluster, node: u128) -> KeyspacePlan {
        let manifests = manifests.iter().map(|it| id(*it)).collect();
        let question = Question {
            source,
            manifests: &manifests,
            target,
            node: id(node),
        };
        question.keyspace("shop", "shop", None)
    }

    const THREE: [(u128, &[Token]); 3] = [(1, &[0, 30]), (2, &[10, 40]), (3, &[20, 50])];

    #[test]
    fn a_node_in_the_place_of_another_takes_what_that_one_had() {
        let source = cluster(&THREE, 2);
        let target = cluster(&[(7, &[40, 10]), (8, &[20, 50]), (9, &[0, 30])], 2);
        let plan_ = plan(&source, &[1, 2, 3], &target, 7);
        assert_eq!(plan_.way, Way::Twin(id(2)));
        assert!(plan_.degraded.is_empty() && !plan_.needs_cleanup());
        assert_eq!(plan_.choose(id(2), &sstable(0, 9)), Ok(Why::SamePlace));
        assert_eq!(plan_.choose(id(1), &sstable(0, 9)), Err(WhyNot::OtherPlace));
        // The one that had the place has no manifest.
        let without = plan(&source, &[1, 3], &target, 7);
        assert!(!without.degraded.is_empty() && without.choose(id(1), &sstable(0, 9)).is_ok());
        assert!(plan(&source, &[1, 3], &target, 8).degraded.is_empty());
    }

    #[test]
    fn one_difference_in_the_ring_or_in_the_replication_and_places_mean_nothing() {
        let source = cluster(&THREE, 2);
        let ways = |target: &Cluster| plan(&source, &[1, 2, 3], target, 1).way;
        assert!(matches!(ways(&source), Way::Twin(_)));
        assert!(matches!(ways(&cluster(&THREE, 3)), Way::Overlap(_)));
        assert!(matches!(ways(&cluster(&THREE[..2], 2)), Way::Overlap(_)));
        let other_token = cluster(&[THREE[0], THREE[1], (3, &[20, 51])], 2);
        assert!(matches!(ways(&other_token), Way::Overlap(_)));
        let mut other_rack = source.clone();
        other_rack.members[2].rack = "r2".into();
        assert!(matches!(ways(&other_rack), Way::Overlap(_)));
        let mut unknown = source.clone();
        unknown.replication.clear();
        let way = plan(&unknown, &[1, 2, 3], &source, 1).way;
        assert!(matches!(way, Way::Overlap(_)));
    }

    #[test]
    fn any_other_node_takes_what_overlaps_from_every_replica() {
        let source = cluster(&THREE, 1);
        let target = cluster(&[(8, &[0]), (9, &[25])], 1);
        let nine = plan(&source, &[1, 2, 3], &target, 9);
        assert_eq!(nine.way, Way::Overlap(Ranges::of([Range::new(0, 25)])));
        assert!(nine.needs_cleanup());
        for source in [1, 2, 3] {
            let chosen = |first, last| nine.choose(id(source), &sstable(first, last));
            assert_eq!(chosen(20, 90), Ok(Why::Overlaps));
            assert_eq!(chosen(26, 90), Err(WhyNot::NoOverlap));
            assert_eq!(chosen(-5, 0), Err(WhyNot::NoOverlap));
        }
        let mut blind = sstable(26, 90);
        blind.first_token = None;
        assert_eq!(nine.choose(id(1), &blind), Ok(Why::UnknownTokens));
        assert_eq!(nine.kept(&sstable(1, 100), 1000), 250);
        assert_eq!(nine.kept(&blind, 1000), 1000);
        // It has all, and nothing is to be removed.
        let alone = cluster(&[(9, &[25])], 1);
        assert!(!plan(&source, &[1, 2, 3], &alone, 9).needs_cleanup());
    }

    #[test]
    fn ranges_of_a_replica_without_a_manifest_are_named() {
        let source = cluster(&THREE, 2);
        let target = cluster(&[(8, &[0]), (9, &[25])], 1);
        let nine = plan(&source, &[1, 3], &target, 9);
        // 2 has (50, 0] to (0, 10] and (20, 30] to (30, 40].
        assert_eq!(nine.degraded, [Range::new(0, 10), Range::new(20, 30)]);
        assert!(plan(&source, &[1, 2, 3], &target, 9).degraded.is_empty());
    }
}
