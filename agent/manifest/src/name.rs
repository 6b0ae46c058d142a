use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that cannot become part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} {name:?} is not allowed: use 1 to {max} of A-Z a-z 0-9 . _ - and begin with a letter or digit",
    max = MAX_NAME
)]
pub struct InvalidName {
    kind: &'static str,
    name: String,
}

/// Leaves room for the suffixes of temporary files in 255 bytes of a file name.
const MAX_NAME: usize = 128;

fn check(kind: &'static str, name: &str) -> Result<(), InvalidName> {
    let first_ok = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if first_ok && rest_ok && name.len() <= MAX_NAME {
        Ok(())
    } else {
        let shown: String = name.chars().take(MAX_NAME).collect();
        Err(InvalidName { kind, name: shown })
    }
}

macro_rules! name_type {
    ($type:ident, $kind:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                check($kind, name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    ClusterId,
    "cluster id",
    "The user's name for a Cassandra cluster in the storage."
);
name_type!(
    BackupName,
    "backup name",
    "The name of one backup, the same on all nodes."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_directory_are_refused() {
        for bad in [
            "", ".", "..", "../x", "a/b", ".purge", "-x", "a\0b", "ä", "a b",
        ] {
            assert!(bad.parse::<BackupName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(129).parse::<ClusterId>().is_err());
    }

    #[test]
    fn usual_names_are_taken() {
        for good in ["prod", "nightly-20261123-0300", "b.1_x", &"a".repeat(128)] {
            assert_eq!(good.parse::<BackupName>().unwrap().as_str(), good);
        }
    }
}
