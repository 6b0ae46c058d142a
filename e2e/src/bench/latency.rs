//! A reader beside a backup: single rows by key at a fixed rate, whatever the answers take.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::parts::cassandra::cql::Session;

/// Requests a second.
pub const RATE: u32 = 400;
/// The table that is read, small enough to stay in memory.
pub const TABLE: &str = "reads.rows";
/// Its rows.
pub const ROWS: i64 = 2000;
/// The bytes of a row's value.
pub const BYTES: usize = 1024;

/// How long requests took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// Requests.
    pub count: usize,
}

/// Reads while `work` goes on, and for `most` at the longest.
pub async fn read_during<T>(
    session: &Arc<Session>,
    most: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<(Latency, T)> {
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read(session.clone(), most, stop.clone()));
    let done = work.await;
    stop.store(true, Ordering::Relaxed);
    Ok((reader.await??, done?))
}

/// Reads for so long.
pub async fn read_for(session: &Arc<Session>, time: Duration) -> Result<Latency> {
    read(session.clone(), time, Arc::default()).await
}

async fn read(session: Arc<Session>, most: Duration, stop: Arc<AtomicBool>) -> Result<Latency> {
    let statement = format!("SELECT value FROM {TABLE} WHERE key = ?");
    let select = Arc::new(session.prepare(statement).await?);
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let began = Instant::now();
    // Keys in an order without a pattern that a cache would like.
    for key in (0..).map(|n: i64| n * 7919 % ROWS) {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) || began.elapsed() >= most {
            break;
        }
        let (session, select) = (session.clone(), select.clone());
        // Beside the others: a slow answer delays no later request.
        requests.spawn(async move {
            let sent = Instant::now();
            session.execute_unpaged(&select, (key,)).await?;
            anyhow::Ok(sent.elapsed())
        });
    }
    let mut took = Vec::with_capacity(requests.len());
    while let Some(request) = requests.join_next().await {
        took.push(request?.context("the reader")?);
    }
    latency(took)
}

fn latency(mut took: Vec<Duration>) -> Result<Latency> {
    took.sort();
    if took.is_empty() {
        bail!("nothing was read");
    }
    let at = |share: f64| {
        let position = (share * took.len() as f64).ceil() as usize;
        took[position.clamp(1, took.len()) - 1].as_secs_f64() * 1000.0
    };
    Ok(Latency {
        p50: at(0.50),
        p99: at(0.99),
        count: took.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let took = (1..=200).rev().map(Duration::from_millis).collect();
        let Latency { p50, p99, count } = latency(took).unwrap();
        assert_eq!((p50, p99, count), (100.0, 198.0, 200));
        assert!(latency(Vec::new()).is_err());
    }
}
