//! The path of an object below the root of its storage.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest key of S3 and GCS, in bytes. Azure counts 1024 characters.
pub(crate) const MAX_BYTES: usize = 1024;
/// The longest file name of every file system in use, in bytes.
const MAX_SEGMENT_BYTES: usize = 255;

/// A relative path of `/`-separated segments that cannot leave its root, valid in every storage.
///
/// The first segment is the cluster id. A key is also used as a prefix of segments: then it means
/// everything below it. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a string is not a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Two slashes in a row, one at either end, or nothing at all.
    #[error("the key {0:?} has an empty segment: remove the extra '/'")]
    EmptySegment(String),
    /// `.` or `..`.
    #[error("the key {0:?} has the segment {1:?}, which could lead out of the storage")]
    Relative(String, String),
    /// NUL, line ends and other control characters.
    #[error("the key {0:?} has the control character {1:?}")]
    ControlCharacter(String, char),
    /// A segment that no file system would take.
    #[error("the key {0:?} has a segment of {1} bytes; at most {MAX_SEGMENT_BYTES} are possible")]
    SegmentTooLong(String, usize),
    /// A key that no object store would take.
    #[error("the key {0:?} has {1} bytes; at most {MAX_BYTES} are possible")]
    TooLong(String, usize),
    /// The form of our own temporary files, which lists leave out.
    #[error("the key {0:?} has the segment {1:?}, which is the form of temporary files")]
    Reserved(String, String),
}

impl Key {
    /// Checks `path`; see [`InvalidKey`] for what is refused.
    pub fn parse(path: &str) -> Result<Self, InvalidKey> {
        let given = || path.to_owned();
        if path.len() > MAX_BYTES {
            return Err(InvalidKey::TooLong(given(), path.len()));
        }
        if let Some(c) = path.chars().find(|c| c.is_control()) {
            return Err(InvalidKey::ControlCharacter(given(), c));
        }
        for segment in path.split('/') {
            match segment {
                "" => return Err(InvalidKey::EmptySegment(given())),
                "." | ".." => return Err(InvalidKey::Relative(given(), segment.to_owned())),
                _ if segment.len() > MAX_SEGMENT_BYTES => {
                    return Err(InvalidKey::SegmentTooLong(given(), segment.len()));
                }
                _ if is_temporary_name(segment) => {
                    return Err(InvalidKey::Reserved(given(), segment.to_owned()));
                }
                _ => {}
            }
        }
        Ok(Self(path.into()))
    }

    /// This key with `rest`, one or more segments, after it.
    pub fn join(&self, rest: &str) -> Result<Self, InvalidKey> {
        Self::parse(&format!("{self}/{rest}"))
    }

    /// The same in parts.
    pub fn child(&self, name: Arc<str>) -> Result<Child, InvalidKey> {
        self.join(&name)?;
        let parent = self.clone();
        Ok(Child { parent, name })
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path's parts, at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.split_last().1
    }

    /// The path above the last segment, empty if there is only one, and the last segment.
    pub(crate) fn split_last(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// What follows `prefix` and its `/`, if this key is below `prefix`.
    pub fn below(&self, prefix: &Key) -> Option<&str> {
        self.0.strip_prefix(&*prefix.0)?.strip_prefix('/')
    }
}

/// A key whose parent many have: a fraction of the memory of a whole one.
#[derive(Debug)]
pub struct Child {
    parent: Key,
    name: Arc<str>,
}

impl Child {
    /// The whole key.
    pub fn key(&self) -> Key {
        Key(format!("{}/{}", self.parent, self.name).into())
    }

    /// What follows the parent.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A name for a temporary file that no key can have.
pub(crate) fn temporary_name() -> String {
    format!(".{}.tmp", uuid::Uuid::new_v4().simple())
}

/// Whether `name` has the form of [`temporary_name`].
pub(crate) fn is_temporary_name(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(".tmp"))
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(path: &str) -> Result<Self, InvalidKey> {
        Self::parse(path)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_could_leave_its_root_or_confuse_a_storage_is_refused() {
        for path in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "../a", "a\0b", "a\nb",
            "a/\u{7f}", "a/\u{85}",
        ] {
            assert!(Key::parse(path).is_err(), "{path:?}");
        }
        assert!(Key::parse(&"a".repeat(256)).is_err());
        assert!(Key::parse(&"a".repeat(255)).is_ok());
        assert!(Key::parse(&["a".repeat(255).as_str(); 4].join("/")).is_ok());
        assert!(Key::parse(&format!("{}/a", ["a".repeat(255).as_str(); 4].join("/"))).is_err());
    }

    #[test]
    fn names_that_only_look_odd_are_allowed() {
        for path in [
            "prod/data/.by_v",
            "a b+c#d%20",
            "...",
            "a/..b",
            ".tmp",
            "ünï",
            "a\\b",
            ".x.tmp",
        ] {
            assert_eq!(Key::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn no_key_has_the_form_of_a_temporary_file() {
        let name = temporary_name();
        assert!(is_temporary_name(&name));
        assert!(matches!(
            Key::parse(&format!("a/{name}")),
            Err(InvalidKey::Reserved(..))
        ));
    }

    #[test]
    fn below_goes_by_whole_segments() {
        let key = Key::parse("prod/data/x").unwrap();
        assert_eq!(key.below(&Key::parse("prod").unwrap()), Some("data/x"));
        assert_eq!(key.below(&Key::parse("prod/da").unwrap()), None);
        assert_eq!(key.below(&key), None);
        assert_eq!(key.name(), "x");
    }

    #[test]
    fn a_key_in_parts_is_the_same_key() {
        let key = Key::parse("prod/data").unwrap();
        let child = key.child("x".into()).unwrap();
        assert_eq!(child.key(), Key::parse("prod/data/x").unwrap());
        assert_eq!(child.name(), "x");
        for wrong in ["", "..", "x/", "a\nb", &"a".repeat(256)] {
            assert!(key.child(wrong.into()).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_any_root(path in "[a./\\\\\u{0}-\u{20}é%]{0,12}") {
            if let Ok(key) = Key::parse(&path) {
                let joined = std::path::Path::new("/root").join(key.as_str());
                let parts: Vec<_> = joined.components().collect();
                prop_assert_eq!(parts.len(), 2 + key.segments().count());
                prop_assert!(joined.starts_with("/root"));
                let plain = parts[2..].iter().all(|c| matches!(c, std::path::Component::Normal(_)));
                prop_assert!(plain);
            }
        }
    }
}
