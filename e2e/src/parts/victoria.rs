//! VictoriaMetrics 1.140.0 on one node, from the Go module that vmalert-tool is of: it keeps what was shown at
//! `/metrics`, and answers as Prometheus does, whose own module is not to be had.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::host::child::Child;
use crate::host::go::{Program, Source};
use crate::host::port;

/// The program, built when it is not in the cache: two minutes on two idle cores.
pub async fn ensure() -> Result<PathBuf> {
    let source =
        Source::Package("github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v1.140.0");
    Program {
        name: "victoria-metrics",
        source,
        ldflags: "",
    }
    .ensure()
    .await
}

/// A running server. Dropping it ends it; its data goes too.
#[derive(Debug)]
pub struct Victoria {
    _child: Child,
    address: SocketAddr,
    _home: TempDir,
}

/// A series that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and its value then.
    pub points: Vec<(f64, f64)>,
}

impl Victoria {
    /// Starts a server on a free port of this machine, with an empty data directory of its own.
    pub async fn start() -> Result<Self> {
        let program = ensure().await?;
        let home = tempfile::Builder::new().prefix("bed-victoria-").tempdir()?;
        let address = port::free(Ipv4Addr::LOCALHOST.into())?;
        let data = home.path().join("data");
        let log = home.path().join("victoria.log");
        let child = Child::start("victoria-metrics", &program, &log, |server| {
            server
                .arg(format!("-httpListenAddr={address}"))
                .arg(format!("-storageDataPath={}", data.display()))
                // It would answer with what was there half a minute ago.
                .arg("-search.latencyOffset=0s");
        })?;
        let listens = async || TcpStream::connect(address).await.is_ok();
        child.ready(Duration::from_secs(60), listens).await?;
        Ok(Self {
            _child: child,
            address,
            _home: home,
        })
    }

    /// Keeps what was shown at `/metrics` at this time.
    pub async fn import(&self, shown: &str, at: Timestamp) -> Result<()> {
        let path = format!(
            "/api/v1/import/prometheus?timestamp={}",
            at.as_millisecond()
        );
        self.ask("POST", &path, shown).await.map(drop)
    }

    /// Lets what was imported be found at once.
    pub async fn flush(&self) -> Result<()> {
        self.ask("GET", "/internal/force_flush", "").await.map(drop)
    }

    /// What a query says of one time. Where it names no time itself, series count that have a value which is not older
    /// than `fresh`.
    pub async fn query(&self, query: &str, at: Timestamp, fresh: Duration) -> Result<Vec<Series>> {
        let (query, at, fresh) = (encoded(query), seconds(at), fresh.as_millis());
        let path = format!("/api/v1/query?query={query}&time={at}&step={fresh}ms&nocache=1");
        found(&self.ask("GET", &path, "").await?)
    }

    /// What a query says of each `step` between two times.
    pub async fn range(
        &self,
        query: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Vec<Series>> {
        let (query, from, to) = (encoded(query), seconds(from), seconds(to));
        let step = step.as_secs();
        let path = format!(
            "/api/v1/query_range?query={query}&start={from}&end={to}&step={step}s&nocache=1"
        );
        found(&self.ask("GET", &path, "").await?)
    }

    /// The content of the answer.
    async fn ask(&self, method: &str, path: &str, content: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{content}",
            self.address,
            content.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, content) = answer
            .split_once("\r\n\r\n")
            .with_context(|| format!("VictoriaMetrics was cut off: {answer}"))?;
        let code = head.split(' ').nth(1).unwrap_or_default();
        ensure!(code.starts_with('2'), "VictoriaMetrics: {head}\n{content}");
        Ok(content.to_owned())
    }
}

/// Seconds since 1970, with milliseconds.
fn seconds(time: Timestamp) -> String {
    format!("{:.3}", time.as_millisecond() as f64 / 1000.0)
}

/// A value as it may stand in a URL.
fn encoded(value: &str) -> String {
    let bytes = value.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Found>,
}

/// It has one value, or those of a range.
#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

fn found(answer: &str) -> Result<Vec<Series>> {
    let parsed: Answer = serde_json::from_str(answer)
        .with_context(|| format!("VictoriaMetrics is not understood: {answer}"))?;
    let series = parsed.data.result.into_iter().map(|found| {
        let points = found.value.into_iter().chain(found.values);
        let points = points.map(|(at, value)| anyhow::Ok((at, value.parse::<f64>()?)));
        anyhow::Ok(Series {
            labels: found.metric,
            points: points.collect::<Result<_>>()?,
        })
    });
    series.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_one_value_or_those_of_a_range() {
        let answer = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"cluster":"prod"},"value":[1764266400.5,"12.5"]},
            {"metric":{},"values":[[1764266400,"1"],[1764266405,"2e+06"]]}]}}"#;
        let series = found(answer).unwrap();
        let [one, range] = &series[..] else {
            panic!("two series")
        };
        assert_eq!(one.labels["cluster"], "prod");
        assert_eq!(one.points, [(1_764_266_400.5, 12.5)]);
        assert!(range.labels.is_empty());
        assert_eq!(
            range.points,
            [(1_764_266_400.0, 1.0), (1_764_266_405.0, 2_000_000.0)]
        );
        assert!(found(r#"{"status":"error","error":"no"}"#).is_err());
    }

    #[test]
    fn what_means_something_in_a_url_is_encoded() {
        assert_eq!(encoded("a{b=~\".*\"}"), "a%7Bb%3D%7E%22%2E%2A%22%7D");
        assert_eq!(encoded("é"), "%C3%A9");
    }
}
