//! `cargo image`: the image of the chart, without Docker.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use e2e::parts::{binaries, images};
use e2e::product::sbom;

/// Builds operator and agent as users get them, and writes their image as a tar, and beside it what they are made of
/// (SBOM, CycloneDX).
#[derive(Parser)]
#[command(name = "cargo image")]
struct Args {
    /// What the image is called
    #[arg(default_value = concat!("cassandra-backup-operator:", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// The tar, in docker-archive form
    #[arg(long, default_value = "target/image.tar")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match write(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn write(args: &Args) -> Result<()> {
    let binaries = binaries::build().await?;
    images::write_operator(&binaries, &args.name, &args.output).await?;
    let bom = args.output.with_extension("cdx.json");
    std::fs::write(
        &bom,
        serde_json::to_vec_pretty(&sbom::of_the_workspace().await?)?,
    )?;
    let mib = std::fs::metadata(&args.output)?.len() as f64 / f64::from(1 << 20);
    let (name, tar) = (&args.name, args.output.display());
    println!(
        "{tar}: {name}, {mib:.1} MiB; {}: what it is made of",
        bom.display()
    );
    println!("  skopeo copy docker-archive:{tar} docker://REGISTRY/{name}");
    println!("  docker load --input {tar}");
    println!("  ctr --namespace k8s.io images import {tar}");
    Ok(())
}
