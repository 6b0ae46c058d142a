//! The pages that people start from, `docs/quick-start.md` and `README.md`, how `docs/commands.md` has its commands
//! run on Kubernetes, and the page for the day on which all is gone, `docs/restore.md`: what they have a reader type
//! and apply is run as it is written.

mod instead;
mod page;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crds::{BackupPhase, RestorePhase};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::host::cache::lock;
use e2e::host::run::Run;
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::minio::Minio;
use e2e::parts::{binaries, helm, images, kubectl, network};
use e2e::product::{brought_back, ended, operator};
use tempfile::TempDir;

use instead::{Instead, instead};
use page::{read, section, to_run};

const QUICK_START: &str = "docs/quick-start.md";
const README: &str = "README.md";
const COMMANDS: &str = "docs/commands.md";
const RESTORE: &str = "docs/restore.md";
/// Those that install the operator.
const ALL: &[&str] = &[QUICK_START, README, RESTORE];
/// Those that have the same commands and resources for it.
const PLAIN: &[&str] = &[README, RESTORE];
/// The sections of these pages that are followed; of the quick start it is the whole page.
const SECTION: &str = "## On your cluster";
const SECTION_OF_COMMANDS: &str = "## On Kubernetes";
const SECTION_OF_RESTORE: &str = "## A whole cluster";

/// The label `app` of the pods, as the pages have it.
const DB: &str = "cassandra";
/// The bucket of the pages.
const BUCKET: &str = "my-backups";
/// How long a command may take. `kubectl wait` of the pages waits an hour for a backup that has failed.
const LIMIT: Duration = Duration::from_secs(300);

/// Somebody at a terminal in the folder of the project, with the programs in `PATH`, and with the namespace of the
/// Cassandra pods as that of the context.
struct Reader<'b> {
    bed: &'b Bed,
    home: TempDir,
    instead: Vec<Instead>,
}

/// A command, and what it said.
type Said = (String, String);

impl<'b> Reader<'b> {
    async fn new(bed: &'b Bed, shop: &Namespace, own: &Namespace, minio: &Minio) -> Self {
        let image = async {
            let image = images::operator(&binaries::build().await?).await?;
            bed.import(&image).await?;
            anyhow::Ok(image)
        };
        let (image, kubectl, helm, plugin) =
            tokio::try_join!(image, kubectl::ensure(), helm::ensure(), binaries::plugin()).unwrap();
        let reader = Self {
            bed,
            home: tempfile::tempdir().unwrap(),
            instead: instead(shop.name(), own.name(), &image, minio),
        };
        let home = reader.home.path();
        for program in [kubectl, helm, plugin] {
            symlink(&program, home.join(program.file_name().unwrap())).unwrap();
        }
        fs::copy(bed.kubeconfig(), home.join("kubeconfig")).unwrap();
        let context = "kubectl config set-context --current --namespace";
        reader.bash(&format!("{context} {}", shop.name())).await;
        reader
    }

    /// What a command says; it must succeed.
    async fn bash(&self, command: &str) -> String {
        // As all who install the definitions.
        let _one_at_a_time = if command.starts_with("helm ") {
            let path = self.bed.ground().state().join("helm.lock");
            Some(lock(&path).await.unwrap())
        } else {
            None
        };
        let home = self.home.path();
        let path = std::env::var("PATH").unwrap();
        let run = Run::new("bash")
            .args(["-euo", "pipefail", "-c", command])
            .dir(binaries::workspace().unwrap())
            .env("PATH", format!("{}:{path}", home.display()))
            .env("HOME", home)
            .env("KUBECONFIG", home.join("kubeconfig"));
        let output = tokio::time::timeout(LIMIT, run.output()).await;
        let output = output.unwrap_or_else(|_| panic!("no end after {LIMIT:?}: {command}"));
        output.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The steps as they are run here.
    fn changed(&self, page: &str, mut steps: Vec<String>) -> Vec<String> {
        for one in self.instead.iter().filter(|it| it.pages.contains(&page)) {
            let Instead {
                written, run, why, ..
            } = one;
            assert!(
                steps.iter().any(|step| step.contains(written)),
                "{page} does not say {written:?}, which was changed since {why}"
            );
            for step in &mut steps {
                *step = step.replace(written, run);
            }
        }
        steps
    }

    /// Runs the steps, one after the other; what each says.
    async fn follow(&self, steps: &[String]) -> Vec<Said> {
        let mut said = Vec::new();
        for step in steps {
            said.push((step.clone(), self.bash(step).await));
        }
        said
    }
}

/// The command with this part in it has said all of that.
fn says(said: &[Said], command: &str, expected: &[&str]) {
    let found = said.iter().find(|(step, _)| step.contains(command));
    let (step, told) = found.unwrap_or_else(|| panic!("no command has {command}"));
    for part in expected {
        assert!(told.contains(part), "{step}\n{told}has no {part}");
    }
}

async fn succeeded(namespace: &Namespace, backup: &str) {
    let status = ended(namespace, backup).await.unwrap().status.unwrap();
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pages_have_a_reader_type_does_what_they_say() {
    let quick_start = to_run(QUICK_START, &read(QUICK_START));
    let readme = to_run(README, section(&read(README), SECTION));
    let commands = to_run(COMMANDS, section(&read(COMMANDS), SECTION_OF_COMMANDS));
    let restore = to_run(RESTORE, section(&read(RESTORE), SECTION_OF_RESTORE));
    let rows = Rows::new("shop", "orders");
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("shop").await.unwrap();
    let own = bed.namespace("operator").await.unwrap();
    let minio = Minio::start(network::NODE.parse().unwrap()).await.unwrap();
    minio.bucket(BUCKET).await.unwrap();
    {
        let options = Options {
            replicas: 1,
            ..Options::new(DB)
        };
        let (cluster, reader) = tokio::join!(
            Cluster::start(&bed, &namespace, options),
            Reader::new(&bed, &namespace, &own, &minio)
        );
        let cluster = cluster.unwrap();
        let session = cluster.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..100).await.unwrap();

        // The one of the page is not made.
        cluster.pod_template("rehearsal").await.unwrap();
        let said = reader
            .follow(&reader.changed(QUICK_START, quick_start))
            .await;
        says(&said, "condition=Verified", &["condition met"]);
        let first = ["CassandraBackup first: Succeeded", "cassandra-0"];
        says(&said, "status first", &first);
        let plan = ["Planned", "cassandra-0", "nothing was changed"];
        says(&said, "restore --latest", &plan);
        succeeded(&namespace, "first").await;

        // The other page begins anew, with resources of the same names.
        let applied = "cassandrabackup/first backupstorage/main secret/backup-keys";
        reader.bash(&format!("kubectl delete {applied}")).await;
        helm::uninstall(&bed, operator::RELEASE, own.name())
            .await
            .unwrap();

        let readme = reader.changed(README, readme);
        let back = |step: &String| step.contains("name: orders-back");
        let (before, restoring) = readme.split_at(readme.iter().position(back).unwrap());
        let mut said = reader.follow(before).await;
        // What is to be brought back is something else meanwhile.
        let newer = rows.clone().with_seed(2);
        newer.write(&session, 0..100).await.unwrap();
        said.extend(reader.follow(restoring).await);
        says(&said, "get cassandrabackups", &["before-upgrade"]);
        says(&said, "explain", &["FIELDS:", "bandwidthPerNode"]);
        let again = ["CassandraBackup before-upgrade: Succeeded", "cassandra-0"];
        says(&said, "backup before-upgrade", &again);
        succeeded(&namespace, "before-upgrade").await;
        let back = brought_back(&namespace, "orders-back").await.unwrap();
        let status = back.status.unwrap();
        assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
        rows.check(&session, 0..100).await.unwrap();

        // With the storage and its secret as the README has them.
        let commands = reader.changed(COMMANDS, commands);
        let said = reader.follow(&commands).await;
        says(&said, "kubectl logs", &["before-upgrade", "Complete"]);
    }
    namespace.done().await.unwrap();
    helm::uninstall(&bed, operator::RELEASE, own.name())
        .await
        .unwrap();
    own.done().await.unwrap();
    all_is_gone(&bed, &minio, &restore, &rows).await;
}

/// What is left is the bucket, which has these rows of a cluster that was.
async fn all_is_gone(bed: &Bed, minio: &Minio, steps: &[String], rows: &Rows) {
    let namespace = bed.namespace("again").await.unwrap();
    let own = bed.namespace("operator").await.unwrap();
    {
        let options = Options {
            replicas: 1,
            ..Options::new(DB)
        };
        let (cluster, reader) = tokio::join!(
            Cluster::start(bed, &namespace, options),
            Reader::new(bed, &namespace, &own, minio)
        );
        let said = reader
            .follow(&reader.changed(RESTORE, steps.to_vec()))
            .await;
        says(&said, "get backupstorage main", &["lastRestorable", "prod"]);
        says(&said, "cassandrarestore/all", &["condition met"]);
        // They may not have been made yet when the page asks for them.
        let imported = async || {
            let said = reader.bash("kubectl get cassandrabackups").await;
            let made =
                |line: &str| line.starts_with("prod-before-upgrade-") && line.contains("Succeeded");
            anyhow::ensure!(said.lines().any(made), "{said}");
            Ok(Some(()))
        };
        until("the backups have resources", LIMIT, imported)
            .await
            .unwrap();
        let session = cluster.unwrap().session().await.unwrap();
        rows.check(&session, 0..100).await.unwrap();
    }
    namespace.done().await.unwrap();
    helm::uninstall(bed, operator::RELEASE, own.name())
        .await
        .unwrap();
    own.done().await.unwrap();
}
