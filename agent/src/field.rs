//! A field of a request, made into what it means.

use std::fmt::Display;
use std::str::FromStr;

/// A value that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("{field} {value:?} is not allowed: {cause}")]
pub struct BadField {
    field: &'static str,
    value: String,
    cause: String,
}

/// Reads the value of a field, which an error names.
pub fn parse<T: FromStr<Err: Display>>(field: &'static str, value: &str) -> Result<T, BadField> {
    value.parse().map_err(|cause: T::Err| BadField {
        field,
        value: value.to_owned(),
        cause: cause.to_string(),
    })
}
