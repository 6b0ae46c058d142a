//! `cargo side-by-side`: the agent beside Medusa, Esop and raw copies.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::bench::{self, Options, bare, measure};

/// Measures the agent beside Medusa, Esop and raw copies, and writes docs/benchmarks.md.
#[derive(Debug, Parser)]
#[command(name = "side-by-side")]
struct Flags {
    /// Runs of each tool
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Size of the large data, in MiB
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Components of the small data
    #[arg(long, default_value_t = 20_000)]
    components: usize,
    /// One run of each tool with little data, to see whether everything works
    #[arg(long)]
    quick: bool,
    /// Only the cases whose names contain this, such as "S3"
    #[arg(long)]
    only: Option<String>,
    /// The agent to measure [default: the one of this checkout, built as users get it]
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Write the document again from the last results, without measuring
    #[arg(long)]
    again: bool,
    /// The document
    #[arg(long, default_value = "docs/benchmarks.md")]
    document: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

/// An S3 server.
#[derive(Debug, clap::Args)]
struct Server {
    /// Its URL
    #[arg(long)]
    endpoint: String,
    /// The bucket
    #[arg(long)]
    bucket: String,
}

/// What this program runs as a process of its own, to be measured.
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a program and tells what it cost
    #[command(name = measure::LAUNCHER)]
    Launch {
        /// The file to tell it in
        told: PathBuf,
        /// Program and arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Copies every object of a bucket onto itself
    Touch(Server),
    /// Lists every object of a bucket
    List(Server),
    /// Copies files, with fsync of each
    Copy {
        /// Files at the same time
        #[arg(long, default_value_t = 4)]
        threads: usize,
        /// From this directory
        from: PathBuf,
        /// Into this one
        to: PathBuf,
    },
    /// Writes or reads a manifest
    Manifest {
        /// `write` or `read`
        #[arg(value_parser = ["write", "read"])]
        what: String,
        /// Its components
        components: u64,
        /// The file
        path: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<u8> {
    match flags.command {
        Some(Command::Launch { told, command }) => return measure::launch(&told, &command),
        Some(Command::Copy { threads, from, to }) => bare::copy::run(&from, &to, threads)?,
        Some(Command::Manifest {
            what,
            components,
            path,
        }) => match what.as_str() {
            "write" => bare::manifest::write(&path, components)?,
            _ => bare::manifest::read(&path, components)?,
        },
        Some(Command::Touch(Server { endpoint, bucket })) => {
            tokio::runtime::Runtime::new()?.block_on(bare::requests::touch(&endpoint, &bucket))?;
        }
        Some(Command::List(Server { endpoint, bucket })) => {
            tokio::runtime::Runtime::new()?.block_on(bare::requests::list(&endpoint, &bucket))?;
        }
        None if flags.again => bench::write_again(&flags.document)?,
        None => {
            let (repeats, mib, components, reader_seconds) = match flags.quick {
                true => (1, 200, 2000, 4),
                false => (flags.repeats, flags.mib, flags.components, 12),
            };
            let options = Options {
                repeats,
                bytes: mib << 20,
                components,
                reader_seconds,
                only: flags.only,
                agent: flags.agent,
                document: flags.document,
            };
            tokio::runtime::Runtime::new()?.block_on(bench::run(&options))?;
        }
    }
    Ok(0)
}
