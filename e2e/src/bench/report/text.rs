//! Numbers as the document shows them.

/// Two digits behind the point, or nothing.
pub fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    })
}

/// Milliseconds.
pub fn ms(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.2}"))
}

/// Seconds with their unit.
pub fn seconds(value: f64) -> String {
    match value {
        short if short < 1.0 => format!("{:.0} ms", short * 1000.0),
        _ => format!("{value:.2} s"),
    }
}

/// Bytes as MiB.
pub fn mib(value: Option<u64>) -> String {
    value.map_or(String::new(), |bytes| {
        format!("{:.0}", bytes as f64 / f64::from(1 << 20))
    })
}
