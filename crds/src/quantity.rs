//! Kubernetes quantities, read as whole numbers.

/// A text that is no quantity, or is one that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidQuantity(String);

impl std::fmt::Display for InvalidQuantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} is not a quantity: write a positive number, with a suffix such as Ki, Mi, Gi, k, M or G if wanted",
            self.0
        )
    }
}

impl std::error::Error for InvalidQuantity {}

/// Suffixes as in the `Quantity` type of Kubernetes' `apimachinery`; longer ones first.
const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The value of a quantity such as `100Mi`, `1.5G` or `1e6`, rounded up as Kubernetes does.
pub fn parse_quantity(text: &str) -> Result<u64, InvalidQuantity> {
    let invalid = || InvalidQuantity(text.to_owned());
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    // `f64` also reads words such as `inf` and `nan`.
    if !number
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
    {
        return Err(invalid());
    }
    let value = (number.parse::<f64>().map_err(|_| invalid())? * factor).ceil();
    // Above 2^53 an f64 is no longer exact, and no such rate or size is meant.
    if (1.0..=9_007_199_254_740_992.0).contains(&value) {
        Ok(value as u64)
    } else {
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::parse_quantity;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("1", 1),
            ("100Mi", 100 << 20),
            ("0.5Gi", 512 << 20),
            ("1.5k", 1500),
            ("2M", 2_000_000),
            ("1e6", 1_000_000),
            ("12E3", 12_000),
            ("1500m", 2),
        ] {
            assert_eq!(parse_quantity(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_positive_quantity_is_refused() {
        for text in [
            "", "0", "-1", "100MB", "10 Mi", "inf", "nan", "Mi", "1e400", "9Ei",
        ] {
            assert!(parse_quantity(text).is_err(), "{text}");
        }
    }
}
