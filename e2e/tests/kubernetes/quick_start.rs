//! The pages that people start from, `docs/quick-start.md` and `README.md`, how `docs/commands.md` has its commands
//! run on Kubernetes, and the page for the day on which all is gone, `docs/restore.md`: what they have a reader type
//! and apply is run as it is written.

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
use e2e::parts::images::Image;
use e2e::parts::minio::Minio;
use e2e::parts::{binaries, helm, images, kubectl, network};
use e2e::product::{brought_back, ended, operator};
use tempfile::TempDir;

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

/// First words of the commands that are run.
const RUN: &[&str] = &["helm", "kubectl"];
/// First words of those that are not, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "cargo",
        "the bed makes the image itself, and has no kind to load it into",
    ),
    ("az", "it needs Microsoft's cloud"),
    ("eksctl", "it needs Amazon's cloud"),
    ("gcloud", "it needs Google's cloud"),
    ("skopeo", "there is no registry to push the image to"),
];

/// What is run instead of what is written. Nothing else of a page is changed.
struct Instead {
    pages: &'static [&'static str],
    written: &'static str,
    run: String,
    why: &'static str,
}

/// In their order: a later one may change what an earlier one has put there.
fn instead(shop: &str, own: &str, image: &Image, minio: &Minio) -> Vec<Instead> {
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

fn read(page: &str) -> String {
    fs::read_to_string(binaries::workspace().unwrap().join(page)).unwrap()
}

/// What is between a title and the next one.
fn section<'t>(page: &'t str, title: &str) -> &'t str {
    let (_, rest) = page.split_once(&format!("\n{title}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// What a text has its reader do, in its order: the commands of its blocks, those of the plugin within sentences too,
/// and to apply its resources. A resource that is not whole there is an example.
fn steps(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    // What is between two fences is a block, all else is sentences.
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 0 {
            let sentences = part.replace('\n', " ");
            let code = sentences.split('`').skip(1).step_by(2);
            let commands = code.filter(|code| code.starts_with("kubectl cassandra-backup "));
            steps.extend(commands.map(str::to_owned));
            continue;
        }
        match part.split_once('\n').unwrap() {
            ("", block) => steps.extend(commands(&dedented(block))),
            ("yaml", block) if block.contains("apiVersion: ") => {
                steps.push(format!(
                    "kubectl apply -f - <<'EOF'\n{}EOF",
                    dedented(block)
                ));
            }
            ("yaml", _) => {}
            (language, _) => panic!("nobody runs a block of {language}: {part}"),
        }
    }
    steps
}

/// A block of a list, without what sets it below its item.
fn dedented(block: &str) -> String {
    let indent = block.len() - block.trim_start_matches(' ').len();
    let lines = block
        .lines()
        .map(|line| line.get(indent..).unwrap_or_default());
    // The last one has what stands before the fence.
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("{}\n", lines.trim_end())
}

/// The commands of a block, each with the lines that belong to it.
fn commands(block: &str) -> Vec<String> {
    let mut commands = Vec::<String>::new();
    let (mut goes_on, mut document) = (false, false);
    for line in block.lines() {
        match commands.last_mut() {
            Some(command) if goes_on || document => {
                command.push('\n');
                command.push_str(line);
            }
            _ => commands.push(line.to_owned()),
        }
        goes_on = line.ends_with('\\');
        document = match document {
            true => line != "EOF",
            false => line.ends_with("<<EOF"),
        };
    }
    commands
}

/// Why a command is not run; `None` for one that is. An error for one of which nobody has said what it needs.
fn left_out(command: &str) -> Result<Option<&'static str>, String> {
    let first = command.split_whitespace().next().unwrap_or_default();
    if RUN.contains(&first) {
        return Ok(None);
    }
    let found = ELSEWHERE.iter().find(|(word, _)| *word == first);
    let found = found.map(|(_, why)| Some(*why));
    found.ok_or_else(|| format!("neither run nor among those that cannot be: {command}"))
}

/// The steps of a text that are run.
fn to_run(page: &str, text: &str) -> Vec<String> {
    let mut steps = steps(text);
    steps.retain(|step| match left_out(step) {
        Ok(None) => true,
        Ok(Some(why)) => {
            eprintln!("{page}: not run, {why}: {step}");
            false
        }
        Err(error) => panic!("{page}: {error}"),
    });
    steps
}

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

#[test]
fn a_step_has_all_its_lines_and_an_example_is_none() {
    let text = "Say `kubectl cassandra-backup list\n--cluster a`, not `kubectl wait`:\n\
                ```\nhelm install \\\n  a\nkubectl apply -f - <<EOF\na: 1\nEOF\nkubectl get b\n```\n\
                ```yaml\nspec: {}\n```\nand\n```yaml\napiVersion: v1\n```\n\
                1. So:\n   ```\n   helm a \\\n     b\n   kubectl c\n   ```\n   \
                ```yaml\n   apiVersion: v2\n   a:\n     b: 1\n   ```\n";
    assert_eq!(
        steps(text),
        [
            "kubectl cassandra-backup list --cluster a",
            "helm install \\\n  a",
            "kubectl apply -f - <<EOF\na: 1\nEOF",
            "kubectl get b",
            "kubectl apply -f - <<'EOF'\napiVersion: v1\nEOF",
            "helm a \\\n  b",
            "kubectl c",
            "kubectl apply -f - <<'EOF'\napiVersion: v2\na:\n  b: 1\nEOF",
        ]
    );
}

#[test]
fn a_new_command_is_not_left_out_unnoticed() {
    assert_eq!(left_out("kubectl get pods"), Ok(None));
    assert!(left_out("skopeo copy a b").unwrap().is_some());
    assert!(left_out("kubectl-login now").is_err());
}
