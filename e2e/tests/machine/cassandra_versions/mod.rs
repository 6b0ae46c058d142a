//! Every version of Cassandra in every format that it writes, with every kind of index and way of
//! JMX: backed up by the agent on the host, and judged from the storage alone by the files that
//! Cassandra has, by the tokens that its own sstablemetadata reads, and by the rows that come back.

mod judge;
mod tables;
mod trial;

use self::judge::Ids;
use self::trial::Trial;
use e2e::parts::cassandra::Version;
use e2e::parts::cassandra::config::{Credentials, Format, Jmx, JmxServer, JmxTls};
use e2e::parts::cassandra::host::Options;
use e2e::parts::cassandra::tls::Certificates;

const PASSWORD: [&str; 2] = ["--jmx-user", "--jmx-password-file"];
const CERTIFICATE: [&str; 2] = ["--jmx-cert-file", "--jmx-key-file"];
const TLS: [&str; 4] = [
    "--jmx-tls",
    "--jmx-ca-file",
    "--jmx-cert-file",
    "--jmx-key-file",
];

fn operator() -> Credentials {
    Credentials::new("operator", "over-jmx")
}

fn options(version: Version, jmx: Jmx) -> Options {
    Options {
        version,
        jmx,
        data_directories: 2,
        ..Options::default()
    }
}

fn tls(certificates: &Certificates, client_certificate: bool, server: JmxServer) -> Jmx {
    Jmx::Tls(JmxTls {
        credentials: operator(),
        stores: certificates.stores().unwrap(),
        client_certificate,
        server,
    })
}

async fn denied(trial: &Trial, flags: Vec<String>) {
    trial.ends("denied", flags, 12, "JmxDenied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_dot_zero_with_a_password_of_jmx() {
    let certificates = Certificates::make().await.unwrap();
    let options = options(Version::V4_0, Jmx::Password(operator()));
    let mut trial = Trial::start(options, certificates).await;
    trial.create_tables().await;
    denied(&trial, trial.flags_without(&PASSWORD)).await;
    let wrong = trial.certificates.file("ca.pem");
    let wrong = trial.flags_with("--jmx-password-file", wrong.to_str().unwrap());
    denied(&trial, wrong).await;
    trial.live_once("b1", &[("nb", Ids::Numbers)]).await;
    trial.assert_rows_come_back("b1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_dot_one_with_numbers_and_uuids_over_cassandras_own_tls() {
    let certificates = Certificates::make().await.unwrap();
    let jmx = tls(&certificates, false, JmxServer::Cassandra);
    let mut trial = Trial::start(options(Version::V4_1, jmx), certificates).await;
    trial.create_tables().await;
    trial.live_once("b1", &[("nb", Ids::Numbers)]).await;
    denied(&trial, trial.flags_without(&PASSWORD)).await;
    denied(&trial, trial.flags_without(&TLS)).await;

    trial.restart(|node| node.uuid_ids = true).await;
    let both = [("nb", Ids::Numbers), ("nb", Ids::Uuids)];
    trial.live_once("b2", &both).await;
    trial.assert_rows_come_back("b2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_dot_zero_from_format_to_format_over_the_tls_of_the_jvm() {
    let certificates = Certificates::make().await.unwrap();
    let registry = |registry_ssl| JmxServer::Jvm { registry_ssl };
    let whole = tls(&certificates, true, registry(true));
    let behind_plain_registry = tls(&certificates, true, registry(false));
    let mut trial = Trial::start(options(Version::V5_0, Jmx::Open), certificates).await;
    trial.create_tables().await;
    trial.live_once("b1", &[("nb", Ids::Numbers)]).await;

    trial.use_jmx(whole);
    trial
        .restart(|node| {
            node.format = Format::Oa;
            node.uuid_ids = true;
        })
        .await;
    let two = [("nb", Ids::Numbers), ("oa", Ids::Uuids)];
    trial.live_once("b2", &two).await;
    // Each of what is asked for is needed.
    denied(&trial, trial.flags_without(&PASSWORD)).await;
    denied(&trial, trial.flags_without(&CERTIFICATE)).await;
    denied(&trial, trial.flags_without(&TLS)).await;
    let other = trial.certificates.file("other-ca.pem");
    let untrusted = trial.flags_with("--jmx-ca-file", other.to_str().unwrap());
    denied(&trial, untrusted).await;
    let elsewhere = trial.flags_with("--jmx-port", "1");
    trial.ends("b0", elsewhere, 75, "JmxUnreachable").await;
    denied(&trial, trial.flags_with("--jmx-server-name", "other.bed")).await;
    let named = trial.flags_with("--jmx-server-name", "node.bed");
    trial.ends("b2-named", named, 0, "Succeeded").await;

    trial.use_jmx(behind_plain_registry);
    trial.restart(|node| node.format = Format::Da).await;
    let three = [("nb", Ids::Numbers), ("oa", Ids::Uuids), ("da", Ids::Uuids)];
    trial.live_once("b3", &three).await;
    trial.assert_rows_come_back("b3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_dot_zero_with_numbers_in_its_own_formats() {
    let certificates = Certificates::make().await.unwrap();
    let options = Options {
        format: Format::Oa,
        ..options(Version::V5_0, Jmx::Open)
    };
    let mut trial = Trial::start(options, certificates).await;
    trial.create_tables().await;
    trial.live_once("b1", &[("oa", Ids::Numbers)]).await;

    trial.restart(|node| node.format = Format::Da).await;
    let both = [("oa", Ids::Numbers), ("da", Ids::Numbers)];
    trial.live_once("b2", &both).await;
    trial.assert_rows_come_back("b2").await;
}
