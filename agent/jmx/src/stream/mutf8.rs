//! Modified UTF-8: NUL as two bytes, and each half of a surrogate pair as three.

/// Appends `text` in modified UTF-8.
pub(crate) fn encode(text: &str, out: &mut Vec<u8>) {
    for unit in text.encode_utf16() {
        match unit {
            0x01..=0x7f => out.push(unit as u8),
            0 | 0x80..=0x7ff => {
                out.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]);
            }
            0x800.. => out.extend([
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
    }
}

/// The text of `bytes`, or `None` if they are not modified UTF-8. A surrogate without its other
/// half, which Java strings may contain and Rust strings may not, becomes U+FFFD.
pub(crate) fn decode(bytes: Vec<u8>) -> Option<String> {
    if bytes.is_ascii() {
        return String::from_utf8(bytes).ok();
    }
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes.into_iter();
    let next_six = |rest: &mut std::vec::IntoIter<u8>| match rest.next() {
        Some(byte) if byte & 0xc0 == 0x80 => Some(u16::from(byte & 0x3f)),
        _ => None,
    };
    while let Some(first) = rest.next() {
        let head = u16::from(first);
        units.push(match first {
            0..=0x7f => head,
            0xc0..=0xdf => (head & 0x1f) << 6 | next_six(&mut rest)?,
            0xe0..=0xef => {
                let middle = next_six(&mut rest)?;
                (head & 0x0f) << 12 | middle << 6 | next_six(&mut rest)?
            }
            _ => return None,
        });
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        out
    }

    #[test]
    fn nul_and_supplementary_characters_take_their_special_forms() {
        assert_eq!(encoded("a\0"), [b'a', 0xc0, 0x80]);
        assert_eq!(encoded("é"), [0xc3, 0xa9]);
        assert_eq!(encoded("😀"), [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
        assert_eq!(decode(encoded("a\0é€😀")).as_deref(), Some("a\0é€😀"));
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        assert_eq!(decode(vec![0xed, 0xa0, 0xbd]).as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn broken_sequences_are_refused() {
        for bytes in [
            &[0x80u8][..],
            &[0xc3],
            &[0xe2, 0x82],
            &[0xc3, 0x41],
            &[0xf0, 0x9f, 0x98, 0x80],
        ] {
            assert_eq!(decode(bytes.to_vec()), None, "{bytes:02x?}");
        }
    }
}
