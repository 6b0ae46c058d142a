use std::io::{self, BufRead, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A key is at most 1024 bytes in every store; the rest is room for JSON's escapes.
const MAX_LINE: u64 = 8 << 10;

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

            /// Reads the head, then gives every key to `each`.
            pub fn read<R: BufRead>(
                mut input: R,
                mut each: impl FnMut(String),
            ) -> Result<Self, IntentError> {
                let mut line = Vec::new();
                let mut number = 1;
                read_line(&mut input, &mut line, number)?;
                let head = serde_json::from_slice(&line).map_err(|source| IntentError::Line {
                    line: number,
                    source,
                })?;
                loop {
                    number += 1;
                    if !read_line(&mut input, &mut line, number)? {
                        return Ok(head);
                    }
                    each(
                        serde_json::from_slice(&line).map_err(|source| IntentError::Line {
                            line: number,
                            source,
                        })?,
                    );
                }
            }
        }
    };
}

key_list!(Intent);
key_list!(Condemned);

fn read_line<R: BufRead>(
    input: &mut R,
    line: &mut Vec<u8>,
    number: u64,
) -> Result<bool, IntentError> {
    line.clear();
    input.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    match line.last() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(IntentError::Cut(number)),
    }
}
