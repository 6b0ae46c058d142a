//! `cargo demo`: the main job on real parts, from a bare machine.

use std::process::ExitCode;

use e2e::bed::keeper;
use e2e::demo;

#[tokio::main]
async fn main() -> ExitCode {
    let done = if keeper::asked() {
        keeper::run().await
    } else {
        demo::run().await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
