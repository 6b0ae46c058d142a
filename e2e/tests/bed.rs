//! The bed itself: what tests get from it, and that it leaves nothing behind however it ends.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::bed::wait::until;
use e2e::bed::{Bed, Exclusive, Namespace, down, status};
use e2e::host::process::{Identity, kill};
use e2e::host::{mounts, run::Run};
use e2e::parts::images;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod, Service};
use kube::Api;

const MINUTE: Duration = Duration::from_secs(60);

/// A pod that has a shell, and a Service that leads to it.
async fn pod(bed: &Bed, namespace: &Namespace, name: &str) {
    let image = images::musl().await.unwrap();
    bed.import(&image).await.unwrap();
    let yaml = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  dnsPolicy: Default
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {image}
    imagePullPolicy: Never
    command: [/bin/sh, -c, "echo hello from {name}; cd /tmp; exec httpd -f -p 8080"]
    securityContext: {{runAsUser: 0}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"#,
        image = image.name
    );
    namespace.apply(&yaml).await.unwrap();
    namespace.ready(name, MINUTE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_becomes_ready_runs_commands_takes_files_and_is_reached_through_its_service() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("bed").await.unwrap();
    tokio::join!(pod(&bed, &namespace, "one"), pod(&bed, &namespace, "two"));

    let failed = namespace.exec(
        "one",
        None,
        &["sh", "-c", "echo out; echo err >&2; exit 7"],
        None,
    );
    let failed = failed.await.unwrap();
    assert_eq!(
        (failed.code, &*failed.stdout, &*failed.stderr),
        (7, &b"out\n"[..], &b"err\n"[..])
    );
    let missing = namespace
        .exec("one", None, &["/no/such/program"], None)
        .await;
    assert!(missing.is_err() || missing.unwrap().code != 0);

    let content: Vec<u8> = (0..20_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    namespace
        .write_file("one", "/tmp/file", &content)
        .await
        .unwrap();
    assert!(namespace.read_file("one", "/tmp/file").await.unwrap() == content);
    assert_eq!(
        namespace.logs("two", None).await.unwrap(),
        "hello from two\n"
    );

    namespace
        .write_file("two", "/tmp/page", b"by address of the service")
        .await
        .unwrap();
    let service = namespace.api::<Service>().get("two").await.unwrap();
    let address = service.spec.unwrap().cluster_ip.unwrap();
    // By hand: wget of a static busybox ends in a fault where there is no /etc/services.
    let get = "printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $0 80";
    let fetched = async || {
        let command = ["sh", "-c", get, &address];
        let fetched = namespace.exec("one", None, &command, None).await?;
        let answer = fetched.text()?;
        Ok(answer.contains("by address of the service").then_some(()))
    };
    until("the service answers", MINUTE, fetched).await.unwrap();

    let name = namespace.name().to_owned();
    namespace.done().await.unwrap();
    let namespaces = Api::<KubeNamespace>::all(bed.client());
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_ask_at_once_share_one_bed_and_have_namespaces_of_their_own() {
    let (one, two) = tokio::join!(Bed::acquire(), Bed::acquire());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.kubeconfig(), two.kubeconfig());
    let status = status().await.unwrap().unwrap();
    assert!(status.users >= 2, "{status:?}");
    let (a, b) = tokio::join!(one.namespace("share"), two.namespace("share"));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.name(), b.name());
    // What one sees, the other does.
    let namespaces = Api::<KubeNamespace>::all(two.client());
    assert!(namespaces.get_opt(a.name()).await.unwrap().is_some());
    a.done().await.unwrap();
    b.done().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_test_leaves_is_written_down_and_removed() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("failed").await.unwrap();
    pod(&bed, &namespace, "lost").await;
    let name = namespace.name().to_owned();
    let panicked = tokio::spawn(async move {
        let _namespace = namespace;
        panic!("as a test does when it fails");
    });
    assert!(panicked.await.is_err());
    let folder = std::env::temp_dir()
        .join("cassandra-backup-bed")
        .join(&name);
    let log = fs::read_to_string(folder.join("lost.main.log")).unwrap();
    assert_eq!(log, "hello from lost\n");
    assert!(
        fs::read_to_string(folder.join("pods.json"))
            .unwrap()
            .contains("\"lost\"")
    );
    fs::remove_dir_all(folder).unwrap();
    gone(&bed, &name).await;
}

/// Set for the process that [`what_a_killed_test_leaves_is_removed`] starts and kills.
const VICTIM: &str = "CASSANDRA_BACKUP_BED_VICTIM";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_test_leaves_is_removed() {
    let bed = Bed::acquire().await.unwrap();
    if let Some(file) = std::env::var_os(VICTIM) {
        let namespace = bed.namespace("killed").await.unwrap();
        pod(&bed, &namespace, "orphan").await;
        fs::write(file, namespace.name()).unwrap();
        std::future::pending::<()>().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("namespace");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_killed_test_leaves_is_removed"])
        .env(VICTIM, &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let name = until("the victim has a pod", 2 * MINUTE, async || {
        Ok(fs::read_to_string(&file).ok())
    });
    let name = name.await.unwrap();
    assert!(
        Api::<Pod>::namespaced(bed.client(), &name)
            .get_opt("orphan")
            .await
            .unwrap()
            .is_some()
    );
    victim.kill().unwrap();
    victim.wait().unwrap();
    gone(&bed, &name).await;
}

async fn gone(bed: &Bed, name: &str) {
    let namespaces = Api::<KubeNamespace>::all(bed.client());
    let gone = async || Ok(namespaces.get_opt(name).await?.is_none().then_some(()));
    until("the namespace is gone", MINUTE, gone).await.unwrap();
}

/// What a bed changes on a machine.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    rules: BTreeSet<String>,
    settings: Vec<String>,
    files: BTreeSet<String>,
    processes: usize,
}

impl Machine {
    async fn look() -> Self {
        let temporary = std::env::temp_dir();
        let mounts = mounts::list().into_iter().map(|mount| mount.point);
        // Other tests mount file systems in folders of their own.
        let mounts = mounts.filter(|point| !point.starts_with(&temporary));
        let mut rules = BTreeSet::new();
        for family in ["iptables-save", "ip6tables-save"] {
            let saved = Run::new(family).output().await.unwrap_or_default();
            let saved = saved
                .lines()
                .filter(|line| line.starts_with("-A") || line.contains("KUBE-"));
            rules.extend(saved.map(|line| format!("{family} {line}")));
        }
        let settings = [
            "net/ipv4/ip_forward",
            "vm/overcommit_memory",
            "kernel/panic_on_oops",
        ];
        let settings =
            settings.map(|name| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap());
        let mut files = BTreeSet::new();
        for folder in [
            "/run/netns",
            "/run/containerd",
            "/run/containerd/s",
            "/var/lib/cni",
            "/var/lib/cni/results",
            "/var/lib/cni/networks",
            "/var/lib/kubelet",
            "/var/log/containers",
            "/var/log/pods",
            "/usr/libexec/kubernetes",
            "/sys/fs/cgroup/memory/k8s.io",
            "/sys/fs/cgroup/k8s.io",
        ] {
            files.extend(
                names(folder)
                    .into_iter()
                    .map(|name| format!("{folder}/{name}")),
            );
        }
        Self {
            mounts: mounts.map(|point| point.display().to_string()).collect(),
            links: names("/sys/class/net"),
            rules,
            settings: settings.into(),
            files,
            processes: marked().len(),
        }
    }
}

fn names(folder: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Every process that belongs to the bed: the keeper, daemons, shims.
fn marked() -> Vec<Identity> {
    e2e::bed::ground::Ground::here().daemons().marked()
}

/// Every process that runs in a container of the bed.
fn contained() -> Vec<Identity> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let contained = pids.filter(|pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(":/k8s.io/")
    });
    contained.filter_map(Identity::of).collect()
}

/// The machine for oneself, without a bed. Fails rather than end one that somebody works with.
async fn alone() -> Exclusive {
    let alone = Exclusive::wait().await.unwrap();
    if let Some(status) = status().await.unwrap() {
        assert!(
            !status.pinned,
            "this test breaks the bed, and yours is up to stay: end it with `cargo bed down`"
        );
    }
    down().await.unwrap();
    alone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bed_of_which_everything_was_killed_is_healed_and_goes_without_a_trace() {
    let alone = alone().await;
    let before = Machine::look().await;
    assert_eq!(before.processes, 0);

    let bed = alone.acquire().await.unwrap();
    let namespace = bed.namespace("heal").await.unwrap();
    pod(&bed, &namespace, "a").await;
    let (processes, contained) = (marked(), contained());
    assert!(
        processes.len() > 8 && contained.len() > 1,
        "{processes:?} {contained:?}"
    );
    assert!(
        Machine::look()
            .await
            .rules
            .iter()
            .any(|rule| rule.contains("KUBE-"))
    );
    // The pods' own processes live on: nothing is left that knows them.
    kill(&processes).await.unwrap();
    assert!(contained.iter().any(|process| process.alive()));
    // The namespace is gone with its cluster; to delete it there is nobody left.
    drop(bed);
    std::mem::forget(namespace);

    let bed = alone.acquire().await.unwrap();
    assert!(!contained.iter().any(|process| process.alive()));
    let namespace = bed.namespace("heal").await.unwrap();
    pod(&bed, &namespace, "a").await;
    assert!(
        namespace
            .exec("a", None, &["true"], None)
            .await
            .unwrap()
            .code
            == 0
    );
    std::mem::forget(namespace);
    let held = self::contained();
    drop(bed);

    // Nobody asks it to: the last user is gone.
    let down = async || Ok(status().await?.is_none().then_some(()));
    until("the bed goes down by itself", MINUTE, down)
        .await
        .unwrap();
    let quiet = async || Ok((marked().is_empty()).then_some(()));
    until("the keeper has ended", MINUTE, quiet).await.unwrap();
    assert!(!held.iter().any(|process| process.alive()));
    assert_eq!(Machine::look().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_down_leaves_nothing_and_the_living_bed_heals_itself() {
    let alone = alone().await;
    let before = Machine::look().await;
    let bed = alone.acquire().await.unwrap();
    let namespace = bed.namespace("down").await.unwrap();
    pod(&bed, &namespace, "a").await;
    std::mem::forget(namespace);

    // The keeper lives, and notices at the next question.
    let daemons = bed.ground().daemons();
    for name in ["containerd", "kube-apiserver"] {
        kill(&[daemons.get(name).unwrap().process]).await.unwrap();
    }
    let again = alone.acquire().await.unwrap();
    let namespace = again.namespace("down").await.unwrap();
    pod(&again, &namespace, "a").await;
    std::mem::forget(namespace);
    let processes = [marked(), contained()].concat();

    // Only the keeper: its daemons go on without it.
    let keeper = status().await.unwrap().unwrap().keeper;
    kill(&[keeper]).await.unwrap();
    assert!(daemons.get("etcd").unwrap().alive());
    drop((bed, again));
    down().await.unwrap();
    assert!(!processes.iter().any(|process| process.alive()));
    assert_eq!(Machine::look().await, before);
    assert!(status().await.unwrap().is_none());
}
