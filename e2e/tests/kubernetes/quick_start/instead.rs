//! What of the pages is run in another way on the bed, and why.

use e2e::parts::images::Image;
use e2e::parts::minio::Minio;

use super::{ALL, COMMANDS, PLAIN, QUICK_START, README};

/// What is run instead of what is written. Nothing else of a page is changed.
pub struct Instead {
    pub pages: &'static [&'static str],
    pub written: &'static str,
    pub run: String,
    pub why: &'static str,
}

/// In their order: a later one may change what an earlier one has put there.
pub fn instead(shop: &str, own: &str, image: &Image, minio: &Minio) -> Vec<Instead> {
    let change = |pages: &'static [&'static str], written, run, why| Instead {
        pages,
        written,
        run,
        why,
    };
    let more = |flags: &str| format!("--create-namespace {flags}");
    let (repository, tag) = image.name.rsplit_once(':').unwrap();
    let repository = format!("image.repository={repository}");
    let (id, secret, endpoint) = (&minio.root().id, &minio.root().secret, minio.endpoint());
    vec![
        change(
            ALL,
            "--namespace cassandra-backup",
            format!("--namespace {own}"),
            "the bed takes away the namespaces that it has made, and no others",
        ),
        change(
            ALL,
            "--create-namespace",
            more(&format!(
                "--set {repository} --set-string image.tag={tag} --set image.pullPolicy=Never"
            )),
            "no registry has the image: the bed gives it to its node",
        ),
        change(
            PLAIN,
            "image.repository=registry.example.org/cassandra-backup",
            repository,
            "no registry has the image",
        ),
        change(
            &[QUICK_START],
            "watchNamespaces={shop}",
            format!("watchNamespaces={{{shop}}}"),
            "each test has a namespace of its own",
        ),
        change(
            PLAIN,
            "--create-namespace",
            more(&format!("--set 'watchNamespaces={{{shop}}}'")),
            "the operators of other tests are at work in other namespaces",
        ),
        change(
            ALL,
            "--create-namespace",
            more("--take-ownership"),
            "the definitions belong to the whole cluster, and another test may have made them",
        ),
        change(
            PLAIN,
            "--create-namespace",
            more("--wait"),
            "nobody types the next command before the definitions are there",
        ),
        change(
            &[QUICK_START],
            "-f docs/rehearsal.yaml",
            "--dry-run=server -f docs/rehearsal.yaml".to_owned(),
            "the bed has neither the official image nor a storage class",
        ),
        change(
            &[QUICK_START],
            "-n shop",
            format!("-n {shop}"),
            "each test has a namespace of its own",
        ),
        change(
            &[QUICK_START],
            "AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…",
            format!("AWS_ACCESS_KEY_ID={id} --from-literal=AWS_SECRET_ACCESS_KEY={secret}"),
            "the reader puts them there",
        ),
        change(
            &[QUICK_START],
            "# endpoint: http://minio.minio.svc:9000\n    # pathStyle: true",
            format!("endpoint: {endpoint}\n    pathStyle: true"),
            "the bucket is MinIO's, for which these lines are there; the bed has no DNS",
        ),
        change(
            PLAIN,
            "AWS_ACCESS_KEY_ID: …, AWS_SECRET_ACCESS_KEY: …",
            format!("AWS_ACCESS_KEY_ID: \"{id}\", AWS_SECRET_ACCESS_KEY: \"{secret}\""),
            "the reader puts them there",
        ),
        change(
            PLAIN,
            "region: eu-north-1",
            format!("region: eu-north-1, endpoint: \"{endpoint}\", pathStyle: true"),
            "the bucket is MinIO's, not Amazon's",
        ),
        change(
            &[COMMANDS],
            "image: registry.example.org/cassandra-backup:0.1.0",
            format!("imagePullPolicy: Never\n      image: {}", image.name),
            "no registry has the image",
        ),
        change(
            &[COMMANDS],
            "--region=eu-north-1",
            format!("--endpoint={endpoint}, --path-style"),
            "the bucket is MinIO's, not Amazon's",
        ),
        change(
            &[README],
            "kubectl cassandra-backup backup before-upgrade",
            "kubectl delete cassandrabackup/before-upgrade && \
             kubectl cassandra-backup backup before-upgrade"
                .to_owned(),
            "it is for those who have not applied the CassandraBackup of this name",
        ),
    ]
}
