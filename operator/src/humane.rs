//! Figures for people.

use std::time::Duration;

use crds::{Amount, Size};
use jiff::Timestamp;
use protocol::Tally;

/// Bytes with three digits and a binary unit: `1.25 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024 belongs to the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A duration with its two largest units: `1h2m`, `3m12s`, `7s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m"),
    }
}

/// `1 table`, `2 tables`.
pub(crate) fn count(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// A text of at most `longest` bytes, ellipsis included.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let mut end = longest.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// A tally as it stands in a status.
pub(crate) fn amount(tally: Tally) -> Amount {
    Amount {
        files: i64::try_from(tally.files).unwrap_or(i64::MAX),
        bytes: i64::try_from(tally.bytes).unwrap_or(i64::MAX),
        size: bytes(tally.bytes),
    }
}

/// Several amounts as one.
pub(crate) fn sum<'a>(amounts: impl Iterator<Item = &'a Amount>) -> Amount {
    let mut tally = Tally::default();
    for amount in amounts {
        tally += Tally {
            files: u64::try_from(amount.files).unwrap_or(0),
            bytes: u64::try_from(amount.bytes).unwrap_or(0),
        };
    }
    self::amount(tally)
}

/// How long something has taken, or takes, that began then.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> String {
    duration(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

/// Bytes as they stand in a status.
pub(crate) fn size(count: u64) -> Size {
    Size {
        bytes: i64::try_from(count).unwrap_or(i64::MAX),
        size: bytes(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_unit() {
        for (value, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_240, "10.0 KiB"),
            (104_857_600, "100 MiB"),
            (1_048_575, "1.00 MiB"),
            (5_368_709_120, "5.00 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn a_shortened_text_fits_and_is_cut_between_characters() {
        assert_eq!(shortened("short", 5), "short");
        for longest in 5..12 {
            let text = shortened("ääääääää", longest);
            assert!(text.len() <= longest && text.ends_with('…'), "{text}");
        }
    }

    #[test]
    fn durations_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (192, "3m12s"),
            (3600, "1h0m"),
            (90_061, "25h1m"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
