//! The server's clock: what customTime is set to has to be comparable with the times that the
//! server sets itself.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex;

use super::client::{Client, NORMAL};
use super::read;
use crate::Error;

/// How long an answer is good for. A machine that sleeps stops [`Instant`], so this also bounds how
/// far that puts the clock back.
const FRESH: Duration = Duration::from_secs(60);

/// A clock that is asked of the server once a minute and never goes back.
#[derive(Debug, Default)]
pub(super) struct Clock {
    asked: Mutex<Option<Asked>>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    then: SystemTime,
    since: Instant,
}

impl Asked {
    fn now(self) -> SystemTime {
        self.then + self.since.elapsed()
    }
}

impl Clock {
    /// Now, as the server has it, or up to a second earlier: it tells whole seconds.
    pub async fn now(&self, client: &Client) -> Result<SystemTime, Error> {
        let mut asked = self.asked.lock().await;
        let last = match *asked {
            Some(last) if last.since.elapsed() < FRESH => return Ok(last.now()),
            last => last,
        };
        let told = read::now(client, NORMAL).await?;
        let next = Asked {
            then: last.map_or(told, |last| last.now().max(told)),
            since: Instant::now(),
        };
        *asked = Some(next);
        Ok(next.now())
    }
}
