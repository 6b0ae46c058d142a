//! The checksum that goes with content on its way.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64/NVME. S3's checksum of whole objects, also of those that go in parts, and under another
/// name that of Azure, which differs in the order of the bytes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crc {
    value: u64,
    bytes: u64,
}

impl Crc {
    pub fn of(chunks: &[Bytes]) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        for chunk in chunks {
            digest.update(chunk);
        }
        Self {
            value: digest.finalize(),
            bytes: digest.get_amount(),
        }
    }

    /// The checksum of this content with `next` after it.
    pub fn then(self, next: Self) -> Self {
        let value =
            crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, self.value, next.value, next.bytes);
        Self {
            value,
            bytes: self.bytes + next.bytes,
        }
    }

    /// How many bytes it is of.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// As S3 writes it.
    pub fn base64(self) -> String {
        aws_smithy_types::base64::encode(self.value.to_be_bytes())
    }

    /// As Azure writes it.
    pub fn base64_le(self) -> String {
        aws_smithy_types::base64::encode(self.value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_combine_to_the_checksum_of_the_whole() {
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 31 % 251) as u8).collect();
        let whole = Crc::of(&[Bytes::from(data.clone())]);
        // The check value of CRC-64/NVME in the catalogue of CRCs is that of these nine bytes.
        assert_eq!(
            Crc::of(&[Bytes::from_static(b"123456789")]).value,
            0xae8b_1486_0a79_9888
        );
        for cut in [0, 1, 4096, 99_999, 100_000] {
            let (left, right) = data.split_at(cut);
            let left = Crc::of(&[Bytes::copy_from_slice(left)]);
            let right = Crc::of(&[Bytes::copy_from_slice(right)]);
            assert_eq!(left.then(right), whole, "{cut}");
        }
    }
}
