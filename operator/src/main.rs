//! The `cassandra-backup-operator` program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    operator::run(operator::Arguments::parse())
}
