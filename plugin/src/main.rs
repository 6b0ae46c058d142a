//! `kubectl cassandra-backup`: what people do with the resources, in fewer words than YAML, and a live look at what is
//! at work. All that it does can be done with `kubectl` alone; it has no rights but those of who runs it.

mod arguments;
mod backup;
mod cancel;
mod complete;
mod connection;
mod defaults;
mod follow;
mod list;
mod logs;
mod look;
mod overview;
mod restore;
mod table;
mod trigger;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use arguments::{Arguments, Command, CronCommand};
use connection::Connection;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // kube takes what the process has chosen, and two of its dependencies could be chosen from.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    if let Command::Completion = arguments.command {
        print!("{}", complete::SCRIPT);
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Complete { words } = arguments.command {
        // Where there is no cluster, there are still commands and flags.
        let connection = Connection::new(&complete::cluster(&words)).await.ok();
        complete::run(connection.as_ref(), &words).await;
        return Ok(ExitCode::SUCCESS);
    }
    let connection = Connection::new(&arguments.cluster).await?;
    match arguments.command {
        Command::Status(flags) => match &flags.name {
            Some(name) => follow::run(&connection, name, flags.once).await,
            None => overview::run(&connection).await,
        },
        Command::List(flags) => list::run(&connection, &flags).await,
        Command::Backup(flags) => backup::run(&connection, &flags).await,
        Command::Restore(flags) => restore::run(&connection, &flags).await,
        Command::Cancel { name } => cancel::run(&connection, &name).await,
        Command::Logs(flags) => logs::run(&connection, &flags).await,
        Command::Cron(CronCommand::Trigger(flags)) => trigger::run(&connection, &flags).await,
        Command::Completion | Command::Complete { .. } => Ok(ExitCode::SUCCESS),
    }
}
