use std::io;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use manifest::{BackupName, ClusterId};
use protocol::{BackupRequest, ExitCode, Limits, Operation, PROTOCOL_VERSION, Request, Scope};
use uuid::Uuid;

use super::cassandra::CassandraFlags;
use super::draw::Drawing;
use super::storage::StorageFlags;
use super::{Output, perform, preview, values};
use crate::neighbour;
use crate::serve::{self, Lines, Tell, note};
use crate::state::StateDirectory;

const EXAMPLES: &str = "\
Examples:
  To a directory that all nodes mount:
    cassandra-backup backup --blob-storage file --filebackup-location /backup --cluster prod

  To S3, with the keys of the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, an instance's role, …):
    cassandra-backup backup --blob-storage s3 --bucket backups --region eu-central-1 --cluster prod

  To MinIO, two keyspaces, gently:
    cassandra-backup backup --blob-storage s3 --endpoint https://minio:9000 --path-style \\
      --ca-file /etc/minio/ca.pem --bucket backups --cluster prod \\
      --keyspaces shop,billing --bandwidth 50MiB --concurrency 2

  Where JMX and CQL ask for a password:
    cassandra-backup backup --blob-storage file --filebackup-location /backup --cluster prod \\
      --jmx-user ops --jmx-password-file /etc/backup/jmx \\
      --cql-user ops --cql-password-file /etc/backup/cql

  Where JMX also speaks TLS, and asks for a certificate:
    cassandra-backup backup --blob-storage file --filebackup-location /backup --cluster prod \\
      --jmx-user ops --jmx-password-file /etc/backup/jmx \\
      --jmx-tls --jmx-ca-file /etc/backup/ca.pem \\
      --jmx-cert-file /etc/backup/agent.pem --jmx-key-file /etc/backup/agent.key

To back up a cluster, run it on every node with the same --cluster and the same --name. A name is
used once. Ctrl-C cancels. When the terminal is closed the run goes on; `cassandra-backup attach
--output text --run ID` shows it again. Secrets are read from files and from the environment of the
cloud's own tools, never from flags.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BackupFlags {
    /// The cluster's name in the storage, the same on every node
    #[arg(long, value_name = "ID", value_parser = name::<ClusterId>)]
    cluster: String,
    /// The backup's name, the same on every node and used once [default: the time, such as
    /// 20261123T101500Z]
    #[arg(long, value_name = "NAME", value_parser = name::<BackupName>)]
    name: Option<String>,
    /// Say what would be uploaded and touched, and why, from what is on disk now; store nothing
    #[arg(long)]
    dry_run: bool,
    /// How events are shown
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    #[command(flatten)]
    storage: StorageFlags,

    /// Only these keyspaces [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "What")]
    keyspaces: Vec<String>,
    /// Only these tables, as keyspace.table
    #[arg(long, value_name = "K.T,…", value_delimiter = ',', value_parser = table)]
    #[arg(conflicts_with = "keyspaces", help_heading = "What")]
    tables: Vec<String>,
    /// The datacenters whose nodes belong to the backup [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "What")]
    datacenters: Vec<String>,
    /// Leave damaged SSTables out, with a warning, instead of failing
    #[arg(long, help_heading = "What")]
    allow_corrupt: bool,

    #[command(flatten)]
    cassandra: CassandraFlags,

    /// Bytes a second at most, such as 100MiB [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = "Limits")]
    bandwidth: Option<u64>,
    /// Large files uploaded at the same time; small ones go four in the place of one [default: 4]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// Give up after this time, such as 6h
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Limits")]
    deadline: Option<Duration>,
    /// Renew the timestamp only of objects older than this, such as 24h [default: of all]
    #[arg(long, value_name = "AGE", value_parser = values::duration, help_heading = "Limits")]
    touch_after: Option<Duration>,
}

/// A name that can be part of a key.
fn name<N: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<String, String> {
    text.parse::<N>()
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

fn table(text: &str) -> Result<String, String> {
    match text.split_once('.') {
        Some((keyspace, table)) if !keyspace.is_empty() && !table.is_empty() => Ok(text.to_owned()),
        _ => Err("write it as keyspace.table".into()),
    }
}

impl BackupFlags {
    /// Makes the backup. Returns the exit code.
    pub fn run(self, state_directory: Option<&Path>) -> u8 {
        let run = Uuid::new_v4();
        let backup = match self.request(Timestamp::now()) {
            Ok(backup) => backup,
            Err(wrong) => {
                note!("error: {wrong}");
                note!("\nFor more information, try 'cassandra-backup backup --help'.");
                return ExitCode::Usage as u8;
            }
        };
        if self.dry_run {
            return preview::run(&backup, state_directory, self.output);
        }
        neighbour::apply();
        let tell: Box<dyn Tell> = match self.output {
            Output::Json => Box::new(Lines(io::stdout())),
            Output::Text => Box::new(Drawing::new(Some(backup.backup.clone()))),
        };
        let request = Request {
            protocol: PROTOCOL_VERSION.into(),
            run_id: run,
            attempt: 1,
            state_directory: None,
            from_seq: 0,
            operation: Operation::Backup(Box::new(backup)),
        };
        let served = StateDirectory::open(state_directory, run)
            .map_err(serve::ServeError::from)
            .and_then(|state| serve::with(request, &state, tell, perform));
        served.unwrap_or_else(|error| {
            note!("error: {error}");
            error.reason().exit_code() as u8
        })
    }

    fn request(&self, now: Timestamp) -> Result<BackupRequest, String> {
        let default_name = || now.strftime("%Y%m%dT%H%M%SZ").to_string();
        Ok(BackupRequest {
            backup: self.name.clone().unwrap_or_else(default_name),
            cluster: self.cluster.clone(),
            series: None,
            scope: Scope {
                keyspaces: self.keyspaces.clone(),
                tables: self.tables.clone(),
                datacenters: self.datacenters.clone(),
            },
            storage: self.storage.access()?,
            jmx: self.cassandra.jmx()?,
            cql: self.cassandra.cql()?,
            pod: None,
            snapshot_at: None,
            hold: false,
            without_ring: false,
            limits: Limits {
                bandwidth: self.bandwidth,
                concurrency: self.concurrency,
                deadline_seconds: self.deadline.map(|time| time.as_secs()),
            },
            touch_after_seconds: self.touch_after.map_or(0, |age| age.as_secs()),
            allow_corrupt: self.allow_corrupt,
            require_own_device: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use protocol::{CqlAccess, JmxAccess, S3Encryption, StorageAccess};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        flags: BackupFlags,
    }

    fn request(flags: &[&str]) -> Result<BackupRequest, String> {
        let base = ["backup", "--cluster", "prod"];
        let cli = Alone::try_parse_from(base.iter().chain(flags)).map_err(|e| e.to_string())?;
        cli.flags.request("2026-11-23T10:15:00Z".parse().unwrap())
    }

    const FILE: [&str; 4] = ["--blob-storage", "file", "--filebackup-location", "/backup"];
    const S3: [&str; 4] = ["--blob-storage", "s3", "--bucket", "b"];

    #[test]
    fn the_shortest_command_line_backs_everything_up_under_the_time() {
        let request = request(&FILE).unwrap();
        assert_eq!(request.backup, "20261123T101500Z");
        assert_eq!(
            request.storage,
            StorageAccess::File {
                path: "/backup".into()
            }
        );
        assert_eq!(
            (request.scope, request.limits),
            (Scope::default(), Limits::default())
        );
        assert_eq!(
            (request.jmx, request.cql),
            (JmxAccess::default(), CqlAccess::default())
        );
    }

    #[test]
    fn flags_become_the_request() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "hunter2\n").unwrap();
        let file = file.to_str().unwrap();
        let more = [
            "--name=b1",
            "--tables=shop.orders,shop.items",
            "--datacenters=dc1,dc2",
            "--jmx-user=ops",
            "--jmx-password-file",
            file,
            "--bandwidth=1MiB",
            "--concurrency=3",
            "--deadline=6h",
            "--touch-after=1d",
            "--allow-corrupt",
            "--path-style",
            "--prefix=p",
        ];
        let request = request(&[&S3[..], &more].concat()).unwrap();
        let jmx = request.jmx.credentials.unwrap();
        assert_eq!(
            (jmx.username.as_str(), jmx.password.reveal()),
            ("ops", "hunter2")
        );
        assert_eq!(request.scope.tables, ["shop.orders", "shop.items"]);
        assert_eq!(request.scope.datacenters, ["dc1", "dc2"]);
        assert_eq!(request.limits.bandwidth, Some(1 << 20));
        assert_eq!(request.limits.deadline_seconds, Some(6 * 3600));
        assert_eq!(request.touch_after_seconds, 24 * 3600);
        let StorageAccess::S3(s3) = request.storage else {
            panic!("not s3")
        };
        assert!(s3.path_style && s3.prefix == "p" && s3.credentials.is_none());
    }

    #[test]
    fn a_bucket_of_google_is_asked_for_by_flags() {
        let (directory, more) = (tempfile::tempdir().unwrap(), ["--blob-storage=gcp"]);
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, "a certificate").unwrap();
        let flags = [
            "--bucket=b",
            "--prefix=p",
            "--endpoint=https://gcs.example",
            "--storage-class=NEARLINE",
            "--gcs-touch=custom-time",
            "--ca-file",
            ca.to_str().unwrap(),
        ];
        let request = request(&[&more[..], &flags].concat()).unwrap();
        let expected = protocol::GcsAccess {
            bucket: "b".into(),
            prefix: "p".into(),
            endpoint: Some("https://gcs.example".into()),
            ca_pem: Some("a certificate".into()),
            storage_class: Some("NEARLINE".into()),
            touch: protocol::GcsTouch::CustomTime,
            credentials: None,
        };
        assert_eq!(request.storage, StorageAccess::Gcs(expected));
    }

    #[test]
    fn a_container_of_azure_and_encryption_by_s3_are_asked_for_by_flags() {
        let azure = ["--blob-storage=azure", "--bucket=b", "--account=a"];
        let more = ["--prefix=p", "--endpoint=https://blob.example"];
        let request_of = |flags: &[&str]| request(flags).unwrap().storage;
        let StorageAccess::Azure(azure) = request_of(&[&azure[..], &more].concat()) else {
            panic!("not azure")
        };
        assert_eq!(azure.account, "a");
        assert_eq!(
            (azure.container.as_str(), azure.prefix.as_str()),
            ("b", "p")
        );
        assert_eq!(azure.endpoint.as_deref(), Some("https://blob.example"));
        for (flags, expected) in [
            (&[][..], None),
            (&["--sse=AES256"], Some(S3Encryption::S3)),
            (&["--sse=aws:kms"], Some(S3Encryption::Kms { key_id: None })),
            (
                &["--sse=aws:kms", "--sse-kms-key-id=k"],
                Some(S3Encryption::Kms {
                    key_id: Some("k".into()),
                }),
            ),
        ] {
            let StorageAccess::S3(s3) = request_of(&[&S3[..], flags].concat()) else {
                panic!("not s3")
            };
            assert_eq!(s3.encryption, expected, "{flags:?}");
        }
    }

    #[test]
    fn wrong_flags_are_told_with_what_to_do() {
        let cases: [(&[&str], &str); 9] = [
            (&["--blob-storage", "file"], "needs --filebackup-location"),
            (&["--blob-storage", "s3"], "needs --bucket"),
            (&["--blob-storage", "gcp"], "gcp needs --bucket"),
            (&["--blob-storage=azure", "--account=a"], "needs --bucket"),
            (
                &[&S3[..], &["--sse=AES256", "--sse-kms-key-id=k"]].concat(),
                "--sse aws:kms",
            ),
            (&[&FILE[..], &["--bucket", "b"]].concat(), "leave it out"),
            (
                &[&FILE[..], &["--jmx-user", "ops"]].concat(),
                "--jmx-password-file",
            ),
            (
                &[&FILE[..], &["--tables", "orders"]].concat(),
                "keyspace.table",
            ),
            (&[&FILE[..], &["--name", "../b1"]].concat(), "../b1"),
        ];
        for (flags, told) in cases {
            let wrong = request(flags).unwrap_err();
            assert!(wrong.contains(told), "{flags:?}: {wrong}");
        }
    }
}
