use std::fmt;
use std::str::FromStr;

/// The descriptor of an SSTable as it stands in its file names: `nb-1-big`,
/// `da-3gx0_0b2k_4s1ow2b3hk4gk5lq1s-bti`.
///
/// Source: `org.apache.cassandra.io.sstable.Descriptor` of 4.0 to 5.0. Versions and formats are
/// not listed here, so that those of later releases are recognised too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Descriptor {
    text: String,
    version_len: u8,
    format_len: u8,
}

impl Descriptor {
    /// The letters before the id: `nb`, `oa`, `da`.
    pub fn version(&self) -> &str {
        &self.text[..self.version_len as usize]
    }

    /// The generation number or UUID in base 36.
    pub fn id(&self) -> &str {
        let end = self.text.len() - self.format_len as usize - 1;
        &self.text[self.version_len as usize + 1..end]
    }

    /// `big` or `bti`.
    pub fn format(&self) -> &str {
        &self.text[self.text.len() - self.format_len as usize..]
    }

    /// Whether the id is a number, which Cassandra uses again after a truncate and a restart.
    pub fn has_numeric_id(&self) -> bool {
        self.id().bytes().all(|b| b.is_ascii_digit())
    }

    /// As it stands in file names.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The file name of a component, split into descriptor and component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentName {
    /// What all components of the SSTable share.
    pub descriptor: Descriptor,
    /// `Data.db`, `Statistics.db`, `SAI+aa+idx+Meta.db`, …
    pub component: String,
}

/// A file name that is not that of an SSTable component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an SSTable component")]
pub struct NotAComponent;

impl FromStr for ComponentName {
    type Err = NotAComponent;

    fn from_str(file_name: &str) -> Result<Self, NotAComponent> {
        let mut tokens = file_name.splitn(4, '-');
        let mut next = || tokens.next().ok_or(NotAComponent);
        let (version, id, format, component) = (next()?, next()?, next()?, next()?);
        let lower = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase());
        let id_ok = match id.len() {
            28 => id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            1..=10 => id.bytes().all(|b| b.is_ascii_digit()),
            _ => false,
        };
        let known = version.len() == 2
            && lower(version)
            && id_ok
            && (1..=16).contains(&format.len())
            && lower(format)
            && !component.is_empty()
            && !component.contains('-');
        if !known {
            return Err(NotAComponent);
        }
        Ok(Self {
            descriptor: Descriptor {
                text: format!("{version}-{id}-{format}"),
                version_len: version.len() as u8,
                format_len: format.len() as u8,
            },
            component: component.to_owned(),
        })
    }
}

impl ComponentName {
    /// Whether Cassandra never writes this component again under the same name once the SSTable
    /// is live. All others carry their hash in the object's name.
    ///
    /// Source: `mutableComponents` of Cassandra's `BigFormat` and `BtiFormat`, and what rewrites
    /// TOC, Filter and the files of attached indexes.
    pub fn is_immutable(&self) -> bool {
        matches!(
            self.component.as_str(),
            "Data.db"
                | "Index.db"
                | "Partitions.db"
                | "Rows.db"
                | "CompressionInfo.db"
                | "CRC.db"
                | "Digest.crc32"
        )
    }

    /// Whether this is the data file.
    pub fn is_data(&self) -> bool {
        self.component == "Data.db"
    }
}

/// The directory of an SSTable in the storage: `<sstable>.<digest>.<bytes>`. Another content
/// under a generation number that is used again gets another directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SsTableDir(String);

impl SsTableDir {
    /// For an SSTable with its descriptor, the number in its `Digest.crc32` and the size of its
    /// data file in bytes.
    pub fn new(descriptor: &Descriptor, digest: u32, bytes: u64) -> Self {
        Self(format!("{descriptor}.{digest:08x}.{bytes}"))
    }

    /// For an SSTable without `Digest.crc32`, and for files that are not recognised: the BLAKE3
    /// of the data file, or of the file itself, takes the digest's place.
    pub fn without_digest(name: &str, hash: &blake3::Hash, bytes: u64) -> Self {
        Self(format!("{name}.{}.{bytes}", &hash.to_hex()[..8]))
    }

    /// As it stands in keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_all_formats_and_ids_are_recognised() {
        for (file, version, id, format, component) in [
            ("nb-1-big-Data.db", "nb", "1", "big", "Data.db"),
            (
                "oa-2147483647-big-Digest.crc32",
                "oa",
                "2147483647",
                "big",
                "Digest.crc32",
            ),
            (
                "da-3gx0_0b2k_4s1ow2b3hk4gk5lq1s-bti-Partitions.db",
                "da",
                "3gx0_0b2k_4s1ow2b3hk4gk5lq1s",
                "bti",
                "Partitions.db",
            ),
            (
                "nb-7-big-SAI+aa+by_v+Meta.db",
                "nb",
                "7",
                "big",
                "SAI+aa+by_v+Meta.db",
            ),
            ("nb-7-big-SI_by_name.db", "nb", "7", "big", "SI_by_name.db"),
        ] {
            let name: ComponentName = file.parse().unwrap();
            assert_eq!(name.descriptor.version(), version);
            assert_eq!(name.descriptor.id(), id);
            assert_eq!(name.descriptor.format(), format);
            assert_eq!(name.component, component);
            assert_eq!(format!("{}-{}", name.descriptor, name.component), file);
        }
    }

    #[test]
    fn other_files_are_not() {
        for file in [
            "manifest.json",
            "schema.cql",
            "nb-1-big",
            "nb-1-big-",
            "NB-1-big-Data.db",
            "nb-x-big-Data.db",
            "nb--big-Data.db",
            "nb-1-big-a-b",
            "ephemeral.snapshot",
        ] {
            assert!(file.parse::<ComponentName>().is_err(), "{file}");
        }
    }

    #[test]
    fn only_what_cassandra_never_rewrites_keeps_its_name() {
        let immutable = |file: &str| file.parse::<ComponentName>().unwrap().is_immutable();
        for file in [
            "Data.db",
            "Index.db",
            "Partitions.db",
            "Rows.db",
            "CompressionInfo.db",
            "CRC.db",
            "Digest.crc32",
        ] {
            assert!(immutable(&format!("nb-1-big-{file}")), "{file}");
        }
        for file in [
            "Statistics.db",
            "Summary.db",
            "Filter.db",
            "TOC.txt",
            "SAI+aa+GroupComplete.db",
            "SI_x.db",
            "Future.db",
        ] {
            assert!(!immutable(&format!("nb-1-big-{file}")), "{file}");
        }
    }

    #[test]
    fn the_directory_names_digest_and_size() {
        let name: ComponentName = "nb-1-big-Data.db".parse().unwrap();
        let dir = SsTableDir::new(&name.descriptor, 0x1a2b_3c4d, 4711);
        assert_eq!(dir.as_str(), "nb-1-big.1a2b3c4d.4711");
    }
}
