use std::io::{self, Write};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{FORMAT_VERSION, same_major};

/// The first line of an intent: what an attempt relies on until its deadline. The keys follow,
/// below the cluster id, one JSON string a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Format of this file.
    pub format_version: String,
    /// The run.
    pub run_id: Uuid,
    /// The attempt.
    pub attempt: u32,
    /// By the store's clock: no commit after it.
    pub deadline: Timestamp,
}

/// The first line of a condemned list: what a purge is about to delete until its deadline. The
/// keys follow, below the cluster id, one JSON string a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condemned {
    /// Format of this file.
    pub format_version: String,
    /// The purge.
    pub purge_id: Uuid,
    /// By the store's clock: no delete after it.
    pub deadline: Timestamp,
}

/// Why a list of keys could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// The file or stream below.
    #[error("cannot read or write the list of keys: {0}")]
    Io(#[from] io::Error),
    /// Not what the format says.
    #[error("line {line} of the list of keys is not understood: {source}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Cut off.
    #[error("the list of keys ends in the middle of line {0}")]
    Cut(u64),
    /// A newer format.
    #[error("the list of keys has format {0}, this version reads {FORMAT_VERSION}: update it")]
    Version(String),
}

/// Reads a list of keys line by line, as the lines come.
#[derive(Debug)]
pub struct KeyLines<H> {
    head: Option<H>,
    number: u64,
}

impl<H: DeserializeOwned> Default for KeyLines<H> {
    fn default() -> Self {
        Self {
            head: None,
            number: 0,
        }
    }
}

impl<H: DeserializeOwned> KeyLines<H> {
    /// Takes the next line, its end included; gives the key in it, nothing for the head.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<String>, IntentError> {
        self.number += 1;
        let failed = |source| IntentError::Line {
            line: self.number,
            source,
        };
        if !line.ends_with(b"\n") {
            return Err(IntentError::Cut(self.number));
        }
        if self.head.is_some() {
            return serde_json::from_slice(line).map(Some).map_err(failed);
        }
        let Versioned { format_version } = serde_json::from_slice(line).map_err(failed)?;
        if !same_major(&format_version) {
            return Err(IntentError::Version(format_version));
        }
        self.head = Some(serde_json::from_slice(line).map_err(failed)?);
        Ok(None)
    }

    /// The head, once it was read.
    pub fn head(&self) -> Option<&H> {
        self.head.as_ref()
    }

    /// Ends the list.
    pub fn finish(self) -> Result<H, IntentError> {
        self.head.ok_or(IntentError::Cut(1))
    }
}

/// What the heads of all formats have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versioned {
    format_version: String,
}

macro_rules! key_list {
    ($type:ident) => {
        impl $type {
            /// Writes this head and the keys after it, below the cluster id.
            pub fn write<W: Write>(
                &self,
                mut out: W,
                keys: impl IntoIterator<Item = impl AsRef<str>>,
            ) -> Result<W, IntentError> {
                let json = |source| IntentError::Line { line: 0, source };
                serde_json::to_writer(&mut out, self).map_err(json)?;
                out.write_all(b"\n")?;
                for key in keys {
                    serde_json::to_writer(&mut out, key.as_ref()).map_err(json)?;
                    out.write_all(b"\n")?;
                }
                out.flush()?;
                Ok(out)
            }
        }
    };
}

key_list!(Intent);
key_list!(Condemned);
