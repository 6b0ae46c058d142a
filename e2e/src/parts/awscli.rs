//! The AWS command line, from PyPI.

use anyhow::Result;

use super::python::{self, Program};

/// Its version.
pub const VERSION: &str = "1.45.11";

/// The program.
pub async fn ensure() -> Result<Program> {
    python::ensure("awscli", &format!("awscli=={VERSION}"), "aws").await
}
