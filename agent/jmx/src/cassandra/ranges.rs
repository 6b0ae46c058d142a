//! Which endpoints have which part of a keyspace.

use super::{Cassandra, READ, typed};
use crate::argument::Argument;
use crate::error::Error;
use crate::stream::{UnexpectedValue, Value};

/// The tokens after `start` up to and with `end`, around the ring's end where that is less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRange {
    /// The last token before it.
    pub start: String,
    /// Its last token.
    pub end: String,
    /// Addresses of its replicas, as [`RingMember::address`](super::RingMember::address) has them.
    pub endpoints: Vec<String>,
}

impl Cassandra {
    /// The ranges of a replicated keyspace, which together are the ring, with their replicas.
    pub async fn ranges(&self, keyspace: &str) -> Result<Vec<TokenRange>, Error> {
        let arguments = || vec![Argument::string(keyspace)];
        let (newer, older) = ("getRangeToEndpointWithPortMap", "getRangeToEndpointMap");
        let value = match self.storage_operation(newer, arguments(), READ).await {
            Err(error) if error.is_missing_member() => {
                self.storage_operation(older, arguments(), READ).await?
            }
            result => result?,
        };
        typed(older, value, parse)
    }
}

fn parse(value: Value) -> Result<Vec<TokenRange>, UnexpectedValue> {
    let range = |(range, endpoints): (Value, Value)| {
        let tokens = range.clone().into_strings()?;
        let [start, end] = <[String; 2]>::try_from(tokens)
            .map_err(|_| range.unexpected("the two tokens of a range"))?;
        Ok(TokenRange {
            start,
            end,
            endpoints: endpoints.into_strings()?,
        })
    };
    match value {
        Value::Map(entries) => entries.into_iter().map(range).collect(),
        other => Err(other.unexpected("a map")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Value {
        Value::List(
            items
                .iter()
                .map(|item| Value::String((*item).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn ranges_are_a_map_of_two_tokens_to_endpoints() {
        let parsed = parse(Value::Map(vec![(
            list(&["7", "-9"]),
            list(&["10.0.0.1:7000"]),
        )]));
        let range = TokenRange {
            start: "7".into(),
            end: "-9".into(),
            endpoints: vec!["10.0.0.1:7000".into()],
        };
        assert_eq!(parsed.unwrap(), [range]);
        for odd in [list(&[]), Value::Map(vec![(list(&["7"]), list(&[]))])] {
            assert!(parse(odd).is_err());
        }
    }
}
