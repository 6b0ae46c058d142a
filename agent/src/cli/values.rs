//! Numbers with units, as people write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Reads bytes per second: `100MiB`, `100Mi`, `50MB`, `1G`, with or without `/s`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    match bytes(text.strip_suffix("/s").unwrap_or(text)) {
        Some(0) => Err("a rate of nothing would never end; leave the flag out for no limit".into()),
        Some(rate) => Ok(rate),
        None => Err("write a size such as 100MiB or 50MB (per second)".into()),
    }
}

/// Reads a number of bytes, at least one, in the same units.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let found = bytes(text).filter(|bytes| *bytes > 0);
    found.ok_or_else(|| "write a size such as 4GiB or 500MB".into())
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" => 1000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads a time span: `6h`, `90m`, `1h30m`, `7d`; a day is 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time span such as 6h, 90m or 7d".to_owned();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_decimal_and_binary_units() {
        let cases = [
            ("100MiB", 100 << 20),
            ("100Mi", 100 << 20),
            ("100 MiB/s", 100 << 20),
            ("50MB", 50_000_000),
            ("1G", 1_000_000_000),
            ("4096", 4096),
        ];
        for (text, bytes) in cases {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "fast", "-1", "1.5MiB", "0", "1TB/h", "99999999999GiB"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_spans_have_hours_and_days() {
        let hour = Duration::from_secs(3600);
        for (text, span) in [
            ("6h", 6 * hour),
            ("1h30m", hour * 3 / 2),
            ("7d", 168 * hour),
        ] {
            assert_eq!(duration(text), Ok(span), "{text}");
        }
        for text in ["", "soon", "-6h", "6", "1 month"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
