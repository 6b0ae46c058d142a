//! `kubectl cassandra-backup` on a real cluster, as people use it.

use std::path::PathBuf;
use std::process::Output;

use e2e::bed::{Bed, Namespace};
use e2e::parts::binaries;
use e2e::parts::cassandra::rows::Rows;
use e2e::product::{OneNode, STORAGE, one_node};
use serde_json::json;
use tokio::process::Command;

const DB: &str = "db";

struct Ground<'n> {
    namespace: &'n Namespace,
    parts: OneNode<'n>,
    kubeconfig: PathBuf,
    plugin: PathBuf,
}

impl Ground<'_> {
    async fn run(&self, words: &[&str]) -> Output {
        Command::new(&self.plugin)
            .args(words)
            .args(["--namespace", self.namespace.name(), "--kubeconfig"])
            .arg(&self.kubeconfig)
            .output()
            .await
            .unwrap()
    }

    /// Runs it, and gives what it says.
    async fn says(&self, words: &[&str]) -> String {
        let output = self.run(words).await;
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it, where it ends with an error.
    async fn complains(&self, words: &[&str]) -> String {
        let output = self.run(words).await;
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        let texts = [output.stdout, output.stderr].concat();
        String::from_utf8(texts).unwrap()
    }

    async fn backups(&self) {
        let told = self.complains(&["backup", "b1"]).await;
        assert!(
            told.contains("say --cluster ID, --storage NAME and --selector"),
            "{told}"
        );
        let told = self.says(&[
            "backup",
            "b1",
            "--cluster",
            DB,
            "--storage",
            STORAGE,
            "--selector",
            "app=db",
        ]);
        let told = told.await;
        for part in ["cluster db, storage bucket", "Succeeded", "db-0"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        // The second is as the first.
        let told = self
            .says(&["backup", "b2", "--tables", "shop.orders"])
            .await;
        assert!(told.contains("as in CassandraBackup b1"), "{told}");
        let told = self.complains(&["backup", "b2"]).await;
        assert!(told.contains("already exists"), "{told}");
        let list = self.says(&["list"]).await;
        let lines: Vec<_> = list.lines().collect();
        assert!(lines[0].contains("BRINGS BACK"), "{list}");
        assert!(
            lines[1].starts_with("b2") && lines[1].ends_with("what it is of"),
            "{list}"
        );
        assert!(
            lines[2].starts_with("b1") && lines[2].ends_with("everything"),
            "{list}"
        );
        let none = self.says(&["list", "--cluster", "other"]).await;
        assert!(none.starts_with("no backups"), "{none}");
    }

    async fn schedules(&self) {
        let cron = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
            "metadata": {"name": "yearly"},
            "spec": {
                "schedule": "@yearly",
                "template": {"spec": {
                    "cluster": DB, "storage": {"name": STORAGE},
                    "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
                }},
            },
        });
        self.namespace.apply(&cron.to_string()).await.unwrap();
        let told = self.says(&["cron", "trigger", "yearly"]).await;
        assert!(
            told.contains("yearly-now-") && told.contains("Succeeded"),
            "{told}"
        );
        let told = self.complains(&["cron", "trigger", "monthly"]).await;
        assert!(told.contains("monthly"), "{told}");
        let all = self.says(&["status"]).await;
        for part in ["bucket", "yearly", "@yearly", "nothing is at work", "True"] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }

    async fn restores(&self) {
        let rows = Rows::new("shop", "orders").with_bytes(20_000);
        let session = self.parts.cluster.session().await.unwrap();
        rows.write(&session, 400..410).await.unwrap();
        let restore = ["restore", "--mode", "replace", "--tables", "shop.orders"];
        let plan = self
            .says(&[&restore[..], &["--latest", "--dry-run"]].concat())
            .await;
        for part in [
            "Planned",
            "db-0",
            "nothing was changed",
            "tables with rows: shop.orders",
        ] {
            assert!(plan.contains(part), "{part}: {plan}");
        }
        rows.check(&session, 0..410).await.unwrap();
        let told = self
            .says(&[&restore[..], &["back", "--backup", "b1"]].concat())
            .await;
        assert!(told.contains("CassandraRestore back: Succeeded"), "{told}");
        rows.check(&session, 0..400).await.unwrap();
        let told = self
            .complains(&[&restore[..], &["--backup", "b9"]].concat())
            .await;
        assert!(told.contains("there is no backup or restore b9"), "{told}");
    }

    async fn the_rest(&self) {
        let slow = [
            "backup",
            "slow",
            "--bandwidth",
            "1Ki",
            "--no-wait",
            "--cluster",
            "slow",
        ];
        let place = ["--storage", STORAGE, "--selector", "app=db"];
        self.says(&[&slow[..], &place].concat()).await;
        let told = self.says(&["cancel", "slow"]).await;
        assert!(told.contains("is being cancelled"), "{told}");
        // Followed to its end, a line for each change, since this is no terminal.
        let told = self.complains(&["status", "backup/slow"]).await;
        assert!(told.contains("CassandraBackup slow: Cancelled"), "{told}");
        let told = self.complains(&["cancel", "slow"]).await;
        assert!(told.contains("has ended already: Cancelled"), "{told}");
        let told = self.complains(&["status", "pod/slow"]).await;
        assert!(told.contains("say backup/slow or restore/slow"), "{told}");

        let logs = ["logs", "b1", "--operator-namespace", self.namespace.name()];
        let logs = self.says(&logs).await;
        let [brings, line] = logs.lines().collect::<Vec<_>>()[..] else {
            panic!("{logs}")
        };
        assert!(brings.contains("brings the agent into the pod"), "{logs}");
        assert!(line.contains("INFO db-0: node ended"), "{line}");
        assert!(line.contains("reason=Succeeded"), "{line}");

        let offered = async |words: &[&str]| {
            let output = Command::new(&self.plugin)
                .env("KUBECONFIG", &self.kubeconfig)
                .args(["__complete", "--"])
                .args(words)
                .output()
                .await
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(offered(&["resto"]).await, "restore\n:4\n");
        assert_eq!(offered(&["restore", "--mo"]).await, "--mode\n:4\n");
        // Names are those of the namespace that is named; in that of the context is nothing.
        assert_eq!(offered(&["status", ""]).await, ":4\n");
        let here = self.namespace.name();
        assert_eq!(offered(&["-n", here, "status", "ba"]).await, "back\n:4\n");
        assert_eq!(
            offered(&["-n", here, "cron", "trigger", ""]).await,
            "yearly\n:4\n"
        );
        let nowhere = Command::new(&self.plugin)
            .args(["--kubeconfig", "/nowhere", "status"])
            .output()
            .await
            .unwrap();
        let told = String::from_utf8(nowhere.stderr).unwrap();
        assert!(told.contains("--kubeconfig /nowhere"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_back_up_look_and_restore_by_the_plugin() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("plugin").await.unwrap();
    {
        let (parts, plugin) = tokio::join!(
            one_node(&bed, &namespace, DB, json!({})),
            binaries::plugin()
        );
        let ground = Ground {
            namespace: &namespace,
            parts: parts.unwrap(),
            kubeconfig: bed.kubeconfig().to_owned(),
            plugin: plugin.unwrap(),
        };
        ground.backups().await;
        ground.schedules().await;
        ground.restores().await;
        ground.the_rest().await;
    }
    namespace.done().await.unwrap();
}
