//! Ranges of tokens.

use std::fmt;

/// A token. Those of Murmur3Partitioner have 64 bits, those of RandomPartitioner 127.
pub type Token = i128;

/// The tokens after `start` up to and with `end`; around the ring's end where that is not more, so that
/// one from a token to itself is the whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The last token before it.
    pub start: Token,
    /// Its last token.
    pub end: Token,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}]", self.start, self.end)
    }
}

impl Range {
    /// From after one token up to and with another.
    pub fn new(start: Token, end: Token) -> Self {
        Self { start, end }
    }
}

/// What an SSTable has: its first and last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Token of its first partition.
    pub first: Token,
    /// Token of its last partition; not less.
    pub last: Token,
}

/// The ranges that a node replicates, as stretches that do not touch, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The first and the last token of each.
    stretches: Vec<(Token, Token)>,
}

impl Ranges {
    /// All tokens of any ring.
    pub fn all() -> Self {
        Self {
            stretches: vec![(Token::MIN, Token::MAX)],
        }
    }

    /// These together.
    pub fn of(ranges: impl IntoIterator<Item = Range>) -> Self {
        let mut stretches = Vec::new();
        for Range { start, end } in ranges {
            let after = start.saturating_add(1);
            if start < end {
                stretches.push((after, end));
            } else {
                stretches.push((after, Token::MAX));
                stretches.push((Token::MIN, end));
            }
        }
        stretches.sort_unstable();
        let mut joined: Vec<(Token, Token)> = Vec::new();
        for (first, last) in stretches {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self { stretches: joined }
    }

    /// Whether they are the whole ring.
    pub fn are_all(&self) -> bool {
        *self == Self::all()
    }

    /// Whether a range has a token of these.
    pub fn touch(&self, range: &Range) -> bool {
        let other = Self::of([*range]);
        let any = |(first, last): &(Token, Token)| {
            self.overlaps(&Bounds {
                first: *first,
                last: *last,
            })
        };
        other.stretches.iter().any(any)
    }

    /// Whether a token between these bounds is one of these.
    pub fn overlaps(&self, bounds: &Bounds) -> bool {
        let from = self
            .stretches
            .partition_point(|(_, end)| *end < bounds.first);
        self.stretches
            .get(from)
            .is_some_and(|(start, _)| *start <= bounds.last)
    }

    /// Which share of the tokens between these bounds is one of these, from 0 to 1. Hashes are spread
    /// evenly, so it is about the share of the SSTable's bytes.
    pub fn share(&self, bounds: &Bounds) -> f64 {
        let width = |first: Token, last: Token| last.saturating_sub(first) as f64 + 1.0;
        let common = self.stretches.iter().map(|(start, end)| {
            let (first, last) = (bounds.first.max(*start), bounds.last.min(*end));
            if first <= last {
                width(first, last)
            } else {
                0.0
            }
        });
        (common.sum::<f64>() / width(bounds.first, bounds.last)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_that_meet_are_one_and_a_ring_is_whole() {
        let joined = Ranges::of([Range::new(0, 10), Range::new(10, 20), Range::new(30, 40)]);
        assert_eq!(joined.stretches, [(1, 20), (31, 40)]);
        assert!(Ranges::of([Range::new(5, 5)]).are_all());
        assert!(Ranges::of([Range::new(9, -9), Range::new(-9, 9)]).are_all());
        assert!(!Ranges::of([Range::new(9, -9), Range::new(-9, 8)]).are_all());
        assert!(!Ranges::default().are_all());
    }

    #[test]
    fn the_share_is_that_of_the_tokens() {
        let ranges = Ranges::of([Range::new(0, 50)]);
        let share = |first, last| ranges.share(&Bounds { first, last });
        assert!((share(1, 100) - 0.5).abs() < 1e-9);
        assert!((share(10, 20) - 1.0).abs() < 1e-9);
        assert!(share(51, 60).abs() < 1e-9);
        let around = Ranges::of([Range::new(90, 10)]);
        assert!(
            (around.share(&Bounds {
                first: 1,
                last: 100
            }) - 0.2)
                .abs()
                < 1e-9
        );
    }

    proptest! {
        #[test]
        fn what_overlaps_is_what_has_a_token_in_common(
            ranges in prop::collection::vec((-30..30i128, -30..30i128), 0..5),
            first in -40..40i128,
            length in 0..20i128,
        ) {
            let set: Vec<Range> = ranges.iter().map(|(a, b)| Range::new(*a, *b)).collect();
            let bounds = Bounds { first, last: first + length };
            let inside = |token: Token| set.iter().any(|range| {
                if range.start < range.end {
                    range.start < token && token <= range.end
                } else {
                    range.start < token || token <= range.end
                }
            });
            let tokens = || bounds.first..=bounds.last;
            let all = Ranges::of(set.clone());
            prop_assert_eq!(all.overlaps(&bounds), tokens().any(inside));
            let common = tokens().filter(|token| inside(*token)).count() as f64;
            let share = common / tokens().count() as f64;
            prop_assert!((all.share(&bounds) - share).abs() < 1e-9);
        }
    }
}
