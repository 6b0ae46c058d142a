//! Waiting for something to become true, with progress, a limit, and the last reason why not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::progress::step;

/// Asks `probe` until it returns something, at most for `patience`. An error of the probe means
/// "not yet"; the last one is part of the error when the time is over.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    step(format!("wait until {what}"), async {
        let began = Instant::now();
        let mut last = None;
        loop {
            match tokio::time::timeout(patience, probe()).await {
                Ok(Ok(Some(value))) => return Ok(value),
                Ok(Ok(None)) => last = None,
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = last.or(Some(anyhow::anyhow!("no answer"))),
            }
            if began.elapsed() > patience {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds = patience.as_secs();
        match last {
            Some(error) => Err(error).with_context(|| format!("not after {seconds} s: {what}")),
            None => bail!("not after {seconds} s: {what}"),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_is_returned_and_what_does_not_is_named_with_the_last_reason() {
        let mut calls = 0;
        let third = until("it is there", Duration::from_secs(5), async || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(third.await.unwrap(), 3);

        let never = until::<()>("it is there", Duration::ZERO, async || bail!("still away"));
        let error = format!("{:#}", never.await.unwrap_err());
        assert_eq!(error, "not after 0 s: it is there: still away");
    }
}
