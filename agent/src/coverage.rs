//! What of each keyspace would be lost with some members of the ring: the token ranges whose replicas
//! are all among them, as Cassandra places replicas.

use std::collections::HashSet;

use jmx::cassandra::TokenRange;
use protocol::{CoverageRequest, KeyspaceCoverage, Outcome, Reason, Scope};

use crate::backup::error::{Error, chain};
use crate::backup::node;
use crate::run_context::Run;

/// Ranges that are named for each keyspace.
const NAMED: usize = 5;

/// Looks at all replicated keyspaces of the scope.
pub async fn run(run: &Run, request: &CoverageRequest) -> Outcome {
    match measure(request).await {
        Ok(coverage) => Outcome {
            coverage,
            ..Outcome::ended(Reason::Succeeded, "the ranges are known", run.attempt)
        },
        Err(error) => Outcome::ended(error.reason(), chain(&error), run.attempt),
    }
}

async fn measure(request: &CoverageRequest) -> Result<Vec<KeyspaceCoverage>, Error> {
    let failed = Error::jmx("cannot read the token ranges over JMX");
    let cassandra = node::connect(&request.jmx).await?;
    let cluster = node::cluster(&cassandra).await?;
    let without: HashSet<&str> = cluster
        .ring
        .members
        .iter()
        .filter(|member| {
            let id = member.host_id.as_deref().and_then(|id| id.parse().ok());
            id.is_some_and(|id| request.without.contains(&id))
        })
        .map(|member| member.address.as_str())
        .collect();
    let partitioner = cassandra.partitioner().await.map_err(&failed)?;
    let mut keyspaces = cassandra.replicated_keyspaces().await.map_err(&failed)?;
    keyspaces.retain(|keyspace| is_in(&request.scope, keyspace));
    keyspaces.sort();
    let mut coverage = Vec::new();
    for keyspace in keyspaces {
        let ranges = cassandra.ranges(&keyspace).await.map_err(&failed)?;
        coverage.push(uncovered(
            keyspace,
            &ranges,
            &without,
            ring_size(&partitioner),
        ));
    }
    let _ = cassandra.close().await;
    Ok(coverage)
}

fn is_in(scope: &Scope, keyspace: &str) -> bool {
    let of_table = |table: &String| table.split_once('.').is_some_and(|(of, _)| of == keyspace);
    let all = scope.keyspaces.is_empty() && scope.tables.is_empty();
    all || scope.keyspaces.iter().any(|one| one == keyspace) || scope.tables.iter().any(of_table)
}

/// How many tokens there are.
fn ring_size(partitioner: &str) -> Option<f64> {
    match partitioner.rsplit('.').next() {
        Some("Murmur3Partitioner") => Some(2f64.powi(64)),
        Some("RandomPartitioner") => Some(2f64.powi(127)),
        _ => None,
    }
}

fn uncovered(
    keyspace: String,
    ranges: &[TokenRange],
    without: &HashSet<&str>,
    ring_size: Option<f64>,
) -> KeyspaceCoverage {
    let lost = |range: &&TokenRange| {
        range
            .endpoints
            .iter()
            .all(|endpoint| without.contains(endpoint.as_str()))
    };
    let lost: Vec<&TokenRange> = ranges.iter().filter(lost).collect();
    let share = ring_size.and_then(|size| {
        let widths = lost.iter().map(|range| width(range, size));
        widths.sum::<Option<f64>>().map(|width| width / size)
    });
    let first = lost.iter().take(NAMED);
    KeyspaceCoverage {
        keyspace,
        ranges: ranges.len() as u64,
        uncovered: lost.len() as u64,
        share,
        first: first
            .map(|range| format!("({}, {}]", range.start, range.end))
            .collect(),
    }
}

/// How many tokens a range has; one from a token to itself is the whole ring.
fn width(range: &TokenRange, ring_size: f64) -> Option<f64> {
    let token = |text: &str| text.parse::<i128>().ok();
    let width = token(&range.end)?.checked_sub(token(&range.start)?)?;
    Some(if width > 0 {
        width as f64
    } else {
        width as f64 + ring_size
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i64, end: i64, endpoints: &[&str]) -> TokenRange {
        TokenRange {
            start: start.to_string(),
            end: end.to_string(),
            endpoints: endpoints.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    const QUARTER: i64 = 1 << 62;

    #[test]
    fn a_range_is_lost_with_all_of_its_replicas_and_not_with_some() {
        // The first wraps around the end of the ring.
        let ranges = [
            range(QUARTER, i64::MIN, &["a", "b"]),
            range(i64::MIN, -QUARTER, &["b", "c"]),
            range(-QUARTER, 0, &["c", "a"]),
            range(0, QUARTER, &["a", "b"]),
        ];
        let measured = |without: &[&str]| {
            let without = without.iter().copied().collect();
            uncovered("k".into(), &ranges, &without, Some(2f64.powi(64)))
        };
        let (none, one, two) = (measured(&[]), measured(&["a"]), measured(&["a", "b"]));
        assert_eq!((none.ranges, none.uncovered, none.share), (4, 0, Some(0.0)));
        assert_eq!(one.uncovered, 0);
        assert_eq!((two.uncovered, two.share), (2, Some(0.5)));
        assert_eq!(two.first[1], format!("(0, {QUARTER}]"));
        assert_eq!(measured(&["a", "b", "c"]).share, Some(1.0));
    }

    #[test]
    fn a_ring_of_one_token_is_one_range() {
        let ranges = [range(5, 5, &["a"])];
        let lost = uncovered(
            "k".into(),
            &ranges,
            &["a"].into(),
            ring_size("o.a.c.Murmur3Partitioner"),
        );
        assert_eq!(lost.share, Some(1.0));
        let unknown = uncovered(
            "k".into(),
            &ranges,
            &["a"].into(),
            ring_size("ByteOrderedPartitioner"),
        );
        assert_eq!((unknown.uncovered, unknown.share), (1, None));
    }

    #[test]
    fn the_scope_says_which_keyspaces_count() {
        let tables = Scope {
            tables: vec!["shop.orders".into()],
            ..Scope::default()
        };
        let keyspaces = Scope {
            keyspaces: vec!["shop".into()],
            ..Scope::default()
        };
        for scope in [&tables, &keyspaces] {
            assert!(is_in(scope, "shop") && !is_in(scope, "shops"));
        }
        assert!(is_in(&Scope::default(), "system_auth"));
    }
}
