//! How many partitions and rows an SSTable has, from its Statistics.db.
//!
//! Sources, in Cassandra: `MetadataSerializer` (the table of contents, with checksums since `na`),
//! `StatsMetadata.StatsMetadataSerializer` (the order of the fields up to `totalRows`),
//! `EstimatedHistogram`, `TombstoneHistogram` (16 bytes an entry before `oa`, 12 since),
//! `AbstractTypeSerializer`, `Slice` and `ClusteringPrefix` (the covered clustering since `oa`).

use manifest::Descriptor;

/// Larger files are not Cassandra's: what they have is bounded, but for the values of clustering
/// columns, of 64 KiB each.
pub const LARGEST: u64 = 4 << 20;

/// The component that has them, by its position in `MetadataType`.
const STATS: u32 = 2;
/// Upper bound of the commit log, minimum and maximum of timestamps, of deletion times and of TTLs,
/// and the compression ratio.
const BEFORE_TOMBSTONES: usize = 12 + 2 * 8 + 2 * 4 + 2 * 4 + 8;
/// Level, and time of the repair.
const AFTER_TOMBSTONES: usize = 4 + 8;
/// Clustering columns of which one header tells.
const HEADER_COLUMNS: usize = 32;

/// Partitions and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Partitions.
    pub partitions: u64,
    /// Rows, those of tombstones included.
    pub rows: u64,
}

/// Reads them from the content of an SSTable's Statistics.db; nothing from one that is cut, damaged or
/// from the future.
pub fn counts(bytes: &[u8], of: &Descriptor) -> Option<Counts> {
    // Releases up to 5.0 write these. The letters of each format are counted apart: `da` of `bti` is
    // younger than `nb` of `big`.
    let known = match of.format() {
        "big" => ["m", "n", "o"].as_slice(),
        "bti" => &["d"],
        _ => &[],
    };
    if !known.iter().any(|letter| of.version().starts_with(letter)) {
        return None;
    }
    let since = |big: &str| of.format() == "bti" || of.version() >= big;
    let mut body = Bytes(bytes.get(stats_at(bytes, since("na"))?..)?);
    let partitions = body.histogram()?;
    body.histogram()?;
    body.skip(BEFORE_TOMBSTONES)?;
    body.tombstones(if since("oa") { 12 } else { 16 })?;
    body.skip(AFTER_TOMBSTONES)?;
    if since("oa") {
        body.covered_clustering()?;
    } else {
        body.clusterings()?;
        body.clusterings()?;
    }
    // Legacy shards of counters, and the number of cells.
    body.skip(1 + 8)?;
    let rows = body.u64()?;
    // A sum that makes no sense is a format that is not understood.
    (partitions <= i64::MAX as u64 && rows <= i64::MAX as u64)
        .then_some(Counts { partitions, rows })
}

/// Where the component begins.
fn stats_at(bytes: &[u8], has_checksums: bool) -> Option<usize> {
    let mut contents = Bytes(bytes);
    let components = contents.u32()?;
    if has_checksums {
        contents.skip(4)?;
    }
    for _ in 0..components.min(16) {
        let (kind, at) = (contents.u32()?, contents.u32()?);
        if kind == STATS {
            return usize::try_from(at).ok();
        }
    }
    None
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        self.u32()?.try_into().ok()
    }

    /// `VIntCoding.readUnsignedVInt`: the ones at the beginning say how many bytes follow.
    fn vint(&mut self) -> Option<u64> {
        let first = *self.take(1)?.first()?;
        let more = first.leading_ones() as usize;
        let mut value = u64::from(first) & (0xff >> more.min(8)) as u64;
        if more == 8 {
            value = 0;
        }
        for byte in self.take(more)? {
            value = value << 8 | u64::from(*byte);
        }
        Some(value)
    }

    /// The number of values of an estimated histogram: offset and count of each bucket.
    fn histogram(&mut self) -> Option<u64> {
        let mut count = 0_u64;
        for _ in 0..self.length()? {
            self.skip(8)?;
            count = count.checked_add(self.u64()?)?;
        }
        Some(count)
    }

    fn tombstones(&mut self, entry: usize) -> Option<()> {
        self.skip(4)?;
        let entries = self.length()?;
        self.skip(entries.checked_mul(entry)?)
    }

    /// Values of clustering columns, as up to `nb`.
    fn clusterings(&mut self) -> Option<()> {
        for _ in 0..self.length()? {
            let length = self.u16()?;
            self.skip(length.into())?;
        }
        Some(())
    }

    /// The types of the clustering columns, and two bounds of them, as since `oa`.
    fn covered_clustering(&mut self) -> Option<()> {
        let mut lengths = Vec::new();
        for _ in 0..self.vint()? {
            let length = self.vint()?.try_into().ok()?;
            lengths.push(fixed_length(std::str::from_utf8(self.take(length)?).ok()?)?);
        }
        self.bound(&lengths)?;
        self.bound(&lengths)
    }

    fn bound(&mut self, lengths: &[Option<usize>]) -> Option<()> {
        // What sort of a bound it is.
        self.skip(1)?;
        let columns = usize::from(self.u16()?);
        for some in lengths.get(..columns)?.chunks(HEADER_COLUMNS) {
            let header = self.vint()?;
            for (at, fixed) in some.iter().enumerate() {
                // Null or empty: two bits each.
                if header >> (2 * at) & 0b11 != 0 {
                    continue;
                }
                let length = match fixed {
                    Some(length) => *length,
                    None => self.vint()?.try_into().ok()?,
                };
                self.skip(length)?;
            }
        }
        Some(())
    }
}

/// How long the values of a type are, if all are equally long (`valueLengthIfFixed` in 5.0). Outer
/// `None`: a type whose values are not understood here.
#[allow(clippy::option_option)]
fn fixed_length(kind: &str) -> Option<Option<usize>> {
    let mut name = kind.trim_start_matches("org.apache.cassandra.db.marshal.");
    if let Some(inner) = name.strip_prefix("ReversedType(") {
        return fixed_length(inner.strip_suffix(')')?);
    }
    name = name.split('(').next().unwrap_or(name);
    match name {
        "EmptyType" => Some(Some(0)),
        "BooleanType" => Some(Some(1)),
        "FloatType" | "Int32Type" => Some(Some(4)),
        "DateType" | "DoubleType" | "LongType" | "TimestampType" => Some(Some(8)),
        "LegacyTimeUUIDType" | "LexicalUUIDType" | "TimeUUIDType" | "UUIDType" => Some(Some(16)),
        // Fixed or not by what is in it.
        "VectorType" => None,
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use manifest::ComponentName;
    use proptest::prelude::*;

    use super::*;

    /// The component up to the rows; `clustering` are the bytes of the clustering bounds.
    fn stats(buckets: &[u64], tombstones: usize, clustering: &[u8], rows: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for counts in [buckets, &[9]] {
            bytes.extend((counts.len() as u32).to_be_bytes());
            for count in counts {
                bytes.extend([7; 8]);
                bytes.extend(count.to_be_bytes());
            }
        }
        bytes.extend([1; BEFORE_TOMBSTONES]);
        bytes.extend([0, 0, 0, 2, 0, 0, 0, 2]);
        bytes.extend(vec![5; 2 * tombstones]);
        bytes.extend([0; AFTER_TOMBSTONES]);
        bytes.extend(clustering);
        bytes.extend([0; 9]);
        bytes.extend(rows.to_be_bytes());
        bytes
    }

    fn file(checksums: bool, stats: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 2];
        let crc: &[u8] = if checksums { &[1, 2, 3, 4] } else { &[] };
        bytes.extend(crc);
        let at = bytes.len() + 16 + crc.len() + 3;
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend((at as u32).to_be_bytes());
        bytes.extend(crc);
        bytes.extend([0; 3]);
        bytes.extend(stats);
        bytes
    }

    fn counts_of(bytes: &[u8], descriptor: &str) -> Option<Counts> {
        let name: ComponentName = format!("{descriptor}-Statistics.db").parse().unwrap();
        counts(bytes, &name.descriptor)
    }

    const SOME: Option<Counts> = Some(Counts {
        partitions: 12,
        rows: 345,
    });

    #[test]
    fn they_are_found_in_the_formats_of_4_and_before() {
        let clustering = [0, 0, 0, 1, 0, 2, 8, 8, 0, 0, 0, 2, 0, 1, 8, 0, 0];
        let stats = stats(&[5, 0, 7], 16, &clustering, 345);
        assert_eq!(counts_of(&file(true, &stats), "nb-1-big"), SOME);
        assert_eq!(counts_of(&file(false, &stats), "me-1-big"), SOME);
        assert_eq!(counts_of(&file(false, &stats), "nb-1-big"), None);
    }

    #[test]
    fn they_are_found_behind_the_covered_clustering_of_5() {
        let types = [
            "org.apache.cassandra.db.marshal.ReversedType(org.apache.cassandra.db.marshal.Int32Type)",
            "org.apache.cassandra.db.marshal.UTF8Type",
            "org.apache.cassandra.db.marshal.LongType",
        ];
        let mut clustering = vec![types.len() as u8];
        for kind in types {
            clustering.push(kind.len() as u8);
            clustering.extend(kind.bytes());
        }
        // All three values; and two, of which the second is null.
        clustering.extend([1, 0, 3, 0, 9, 9, 9, 9, 2, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9]);
        clustering.extend([6, 0, 2, 0b1000, 9, 9, 9, 9]);
        let stats = stats(&[12], 12, &clustering, 345);
        assert_eq!(counts_of(&file(true, &stats), "oa-1-big"), SOME);
        assert_eq!(counts_of(&file(true, &stats), "da-1-bti"), SOME);
        for later in ["pa-1-big", "ea-1-bti", "oa-1-other"] {
            assert_eq!(counts_of(&file(true, &stats), later), None);
        }
    }

    #[test]
    fn numbers_of_variable_length_are_read() {
        let vint = |bytes: &[u8]| Bytes(bytes).vint();
        assert_eq!(vint(&[0x7f]), Some(127));
        assert_eq!(vint(&[0x80, 0x80]), Some(128));
        assert_eq!(vint(&[0xc1, 0, 2]), Some(0x1_0002));
        assert_eq!(vint(&[0xff, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(
            vint(&[0xfe, 1, 2, 3, 4, 5, 6, 7]),
            Some(0x0001_0203_0405_0607)
        );
        assert_eq!(vint(&[0xc1, 0]), None);
    }

    proptest! {
        #[test]
        fn damaged_files_give_nothing_and_no_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            at in 0_usize..300,
        ) {
            let mut damaged = file(true, &stats(&[5, 0, 7], 16, &[0; 8], 345));
            for (byte, other) in damaged.iter_mut().skip(at).zip(&bytes) {
                *byte = *other;
            }
            for descriptor in ["me-1-big", "nb-1-big", "oa-1-big"] {
                let _ = counts_of(&damaged, descriptor);
                let _ = counts_of(&bytes, descriptor);
            }
        }
    }
}
