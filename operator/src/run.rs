use std::process::ExitCode;

use crate::arguments::{Arguments, Command};
use crate::generate;

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Some(Command::Crds(crds)) => generate::definitions(&crds.folders),
        None => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cassandra-backup-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
