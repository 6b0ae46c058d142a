use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The tokens file of a node: what is needed to give a new node its place in a ring, and the ring
/// as `nodetool ring` showed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Host id of the node.
    pub host_id: Uuid,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// Class name of the partitioner.
    pub partitioner: String,
    /// How many tokens.
    pub num_tokens: usize,
    /// Ready for `initial_token` when joined by commas.
    pub tokens: Vec<String>,
    /// All members, each with all that `nodetool ring` has.
    pub ring: Vec<RingEndpoint>,
}

/// A member of the ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingEndpoint {
    /// Address, without port.
    pub address: String,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// `Up`, `Down` or `?`.
    pub status: String,
    /// `Normal`, `Joining`, `Leaving` or `Moving`.
    pub state: String,
    /// As Cassandra prints it, such as `103.5 KiB`; `?` when unknown.
    pub load: String,
    /// Share of the ring, such as `33.33%`; `?` when unknown.
    pub owns: String,
    /// Host id; absent when the ring has none for the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<Uuid>,
    /// Tokens in order.
    pub tokens: Vec<String>,
}

/// Why a tokens file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// A value that has no YAML.
    #[error("cannot put the tokens into YAML: {0}")]
    Write(String),
    /// Not what the format says.
    #[error("the tokens file is not understood: {0}")]
    Read(String),
}

impl Tokens {
    /// As YAML.
    pub fn to_yaml(&self) -> Result<String, TokensError> {
        serde_saphyr::to_string(self).map_err(|e| TokensError::Write(e.to_string()))
    }

    /// From YAML.
    pub fn from_yaml(text: &str) -> Result<Self, TokensError> {
        serde_saphyr::from_str(text).map_err(|e| TokensError::Read(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_old_yaml_readers_mistake_are_quoted() {
        let tokens = Tokens {
            host_id: Uuid::from_u128(1),
            datacenter: "on".into(),
            rack: "1_000".into(),
            partitioner: "org.apache.cassandra.dht.Murmur3Partitioner".into(),
            num_tokens: 2,
            tokens: vec!["-9223372036854775808".into(), "42".into()],
            ring: vec![RingEndpoint {
                address: "10.0.0.1".into(),
                datacenter: "yes".into(),
                rack: "n".into(),
                status: "Up".into(),
                state: "Normal".into(),
                load: "103.5 KiB".into(),
                owns: "33.33%".into(),
                host_id: Some(Uuid::from_u128(1)),
                tokens: vec!["42".into()],
            }],
        };
        let yaml = tokens.to_yaml().unwrap();
        insta::assert_snapshot!(yaml);
        assert_eq!(Tokens::from_yaml(&yaml).unwrap(), tokens);
    }
}
