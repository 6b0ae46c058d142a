use std::io;
use std::thread;

use protocol::ExitCode;
use uuid::Uuid;

use super::journal::{self, Past, Reader};
use super::teller::{LOOK, Span, Tell, Teller};
use crate::state::StateDirectory;

/// Tells the events of a run after a number, and those to come while it is running. Returns the
/// exit code of its last attempt; [`ExitCode::Retry`] when that ended without a result.
pub fn attach(
    state: &StateDirectory,
    run: Uuid,
    from_seq: u64,
    tell: Box<dyn Tell>,
) -> io::Result<u8> {
    let open = || journal::open(state, run, false);
    let file = open()?;
    let span = Span {
        from_seq,
        attempt: u32::MAX,
        result_from: 0,
    };
    let teller = Teller::start(Reader::new(open()?), span, tell)?;
    let mut past = Past::new(Reader::new(open()?));
    loop {
        let ended = journal::is_free(&file)?;
        past.read_on()?;
        if ended || teller.is_closed() {
            break;
        }
        thread::sleep(LOOK);
    }
    teller.finish(Vec::new(), None);
    match past.ended {
        Some(ended) if past.is_at_result() => Ok(ended.exit_code),
        _ => {
            note!(
                "run {run} ended without a result, as when its process was killed; send its request again to go on with it"
            );
            Ok(ExitCode::Retry as u8)
        }
    }
}
