//! `cargo pictures`: the pictures of the README, from a run on the test bed.

use std::process::ExitCode;

use e2e::bed::keeper;
use e2e::pictures;

#[tokio::main]
async fn main() -> ExitCode {
    let done = if keeper::asked() {
        keeper::run().await
    } else {
        pictures::run().await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
