//! How an object is cut into parts.

use crate::crc::Crc;

/// The most parts of an object in S3.
const MAX_PARTS: u64 = 10_000;
/// The largest part in S3: 5 GiB.
const MAX_PART: u64 = 5 << 30;
/// Parts grow by whole steps.
const PART_STEP: u64 = 1024 * 1024;
/// The largest object in parts.
pub(super) const LARGEST: u64 = MAX_PARTS * MAX_PART;

/// The size of a part, such that there are not too many.
pub(super) fn part_size(size: u64, wanted: u64) -> u64 {
    wanted.max(size.div_ceil(MAX_PARTS).next_multiple_of(PART_STEP))
}

/// The lengths of all parts.
pub(super) fn lengths(size: u64, part_size: u64) -> impl Iterator<Item = u64> {
    let last = size % part_size;
    let whole = std::iter::repeat_n(part_size, usize::try_from(size / part_size).unwrap_or(0));
    whole.chain((last > 0).then_some(last))
}

/// A part that the server has.
pub(super) struct Part {
    pub number: i32,
    pub etag: Option<String>,
    /// The part's checksum, as the server wants it back.
    pub checksum: Option<String>,
    /// The same as a number, for parts that were sent and not copied.
    pub crc: Option<Crc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn no_object_has_more_parts_than_s3_takes() {
        for size in [
            1,
            8 * MIB,
            8 * MIB + 1,
            80_000 * MIB,
            80_000 * MIB + 1,
            5 << 40,
            LARGEST,
        ] {
            let part = part_size(size, 8 * MIB);
            let count = lengths(size, part).count() as u64;
            assert!(count <= MAX_PARTS, "{size}: {count}");
            assert!(part <= MAX_PART, "{size}: {part}");
            assert_eq!(lengths(size, part).sum::<u64>(), size);
            assert!(lengths(size, part).all(|length| length > 0));
        }
        assert_eq!(part_size(80_000 * MIB, 8 * MIB), 8 * MIB);
        assert_eq!(part_size(80_000 * MIB + 1, 8 * MIB), 9 * MIB);
    }
}
