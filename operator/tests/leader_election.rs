//! Operators as processes, beside each other, at an API server that is played over HTTP.

// The helpers of a test may panic as it does itself.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// What the API server has.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// It takes requests and answers none.
    silent: bool,
    /// Watches that were begun, which only one that works does.
    watches: usize,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn lease(&mut self, method: &Method, body: &str) -> Response {
        if method == Method::GET {
            return match &self.lease {
                Some(lease) => json_answer(StatusCode::OK, lease),
                None => refusal(404, "NotFound"),
            };
        }
        let mut wanted: Value = serde_json::from_str(body).unwrap();
        let current = self
            .lease
            .as_ref()
            .map(|lease| &lease["metadata"]["resourceVersion"]);
        let fits = match current {
            None => method == Method::POST,
            Some(version) => {
                method == Method::PUT && *version == wanted["metadata"]["resourceVersion"]
            }
        };
        if !fits {
            return refusal(409, "Conflict");
        }
        self.version += 1;
        wanted["metadata"]["resourceVersion"] = json!(self.version.to_string());
        wanted["metadata"]["uid"] = json!("l");
        self.lease = Some(wanted.clone());
        json_answer(StatusCode::OK, &wanted)
    }

    fn holder(&self) -> Option<String> {
        let holder = &self.lease.as_ref()?["spec"]["holderIdentity"];
        holder.as_str().map(str::to_owned)
    }
}

fn json_answer(code: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (code, kind, body.to_string()).into_response()
}

fn refusal(code: u16, reason: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": "", "code": code,
    });
    json_answer(StatusCode::from_u16(code).unwrap(), &status)
}

async fn answer(
    State(server): State<Shared>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    body: String,
) -> Response {
    if server.lock().unwrap().silent {
        std::future::pending::<()>().await;
    }
    if uri.path().contains("/leases") {
        return server.lock().unwrap().lease(&method, &body);
    }
    if query.unwrap_or_default().contains("watch=true") {
        server.lock().unwrap().watches += 1;
        std::future::pending::<()>().await;
    }
    let list = json!({
        "kind": "List", "apiVersion": "cassandrabackup.io/v1alpha1",
        "metadata": {"resourceVersion": "1"}, "items": [],
    });
    json_answer(StatusCode::OK, &list)
}

/// A played API server, and what operators need to run at it.
struct Ground {
    server: Shared,
    files: TempDir,
}

impl Ground {
    async fn new() -> Self {
        let server = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let files = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(files.path().join("config"), config.to_string()).unwrap();
        std::fs::write(files.path().join("agent"), "agent").unwrap();
        Self { server, files }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(name)
    }

    fn operator(&self, name: &str) -> Child {
        let log = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        Command::new(env!("CARGO_BIN_EXE_cassandra-backup-operator"))
            .args([
                "--leader-elect",
                "--lease-name=operator",
                "--listen=127.0.0.1:0",
            ])
            .env_clear()
            .env("KUBECONFIG", self.file("config"))
            .env("AGENT", self.file("agent"))
            .env("POD_NAME", name)
            .env("POD_NAMESPACE", "ops")
            .stdout(log(&self.file(&format!("{name}.log"))))
            .stderr(log(&self.file(&format!("{name}.err"))))
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Waits until the lease has this holder, and says how long that took.
    async fn held_by(&self, holder: Option<&str>, within: Duration) -> Duration {
        let begun = Instant::now();
        let held = async {
            while self.server.lock().unwrap().holder().as_deref() != holder {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let now = || self.server.lock().unwrap().lease.clone();
        let reached = timeout(within, held).await;
        assert!(reached.is_ok(), "{holder:?} does not hold {:?}", now());
        begun.elapsed()
    }

    async fn log_has(&self, name: &str, text: &str) {
        let path = self.file(&format!("{name}.log"));
        let there = async {
            while !std::fs::read_to_string(&path).unwrap().contains(text) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = timeout(Duration::from_secs(10), there).await;
        let log = || std::fs::read_to_string(&path).unwrap();
        assert!(reached.is_ok(), "{name} does not log {text}: {}", log());
    }
}

async fn ends(child: &mut Child, within: Duration) -> ExitStatus {
    timeout(within, child.wait())
        .await
        .expect("it ends")
        .unwrap()
}

async fn terminate(child: &Child) {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_works_and_the_other_takes_over_at_once_or_when_the_lease_expires() {
    let ground = Ground::new().await;
    let mut first = ground.operator("first");
    ground.held_by(Some("first"), Duration::from_secs(10)).await;
    ground.log_has("first", "this operator leads").await;
    let watches = || ground.server.lock().unwrap().watches;
    let watching = async {
        while watches() == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), watching).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let of_one = watches();
    let mut second = ground.operator("second");
    ground.log_has("second", "another operator leads").await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(watches(), of_one, "the second has no controllers");
    let holder = ground.server.lock().unwrap().holder();
    assert_eq!(holder.as_deref(), Some("first"));

    // Told to end, it frees the lease.
    terminate(&first).await;
    let taken = ground
        .held_by(Some("second"), Duration::from_secs(10))
        .await;
    assert!(taken < Duration::from_secs(4), "{taken:?}");
    assert!(ends(&mut first, Duration::from_secs(5)).await.success());

    // Killed, it frees nothing.
    let mut third = ground.operator("third");
    ground.log_has("third", "another operator leads").await;
    second.start_kill().unwrap();
    ends(&mut second, Duration::from_secs(5)).await;
    let taken = ground.held_by(Some("third"), Duration::from_secs(20)).await;
    assert!(taken < Duration::from_secs(15), "{taken:?}");
    ground.log_has("third", "this operator leads").await;
    terminate(&third).await;
    assert!(ends(&mut third, Duration::from_secs(5)).await.success());
    assert_eq!(ground.server.lock().unwrap().holder(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_renew_ends_with_a_failure_before_another_may_lead() {
    let ground = Ground::new().await;
    let mut first = ground.operator("first");
    ground.log_has("first", "this operator leads").await;
    ground.server.lock().unwrap().silent = true;
    let since = Instant::now();
    let status = ends(&mut first, Duration::from_secs(20)).await;
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(status.code(), Some(1));
    ground
        .log_has("first", "could not be renewed in time")
        .await;

    // Started again in its pod, it takes its own lease back without waiting.
    ground.server.lock().unwrap().silent = false;
    let mut again = ground.operator("first");
    ground.log_has("first", "this operator leads").await;
    assert_eq!(
        ground.server.lock().unwrap().lease.as_ref().unwrap()["spec"]["leaseTransitions"],
        1
    );
    let taken = ground.server.lock().unwrap().lease.clone().unwrap();
    assert_eq!(taken["metadata"]["name"], "operator");
    // Somebody else takes the lease away.
    let mut stolen = taken;
    stolen["spec"]["holderIdentity"] = json!("thief");
    {
        let mut server = ground.server.lock().unwrap();
        server.version += 1;
        stolen["metadata"]["resourceVersion"] = json!(server.version.to_string());
        server.lease = Some(stolen);
    }
    let status = ends(&mut again, Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(1));
    ground.log_has("first", "thief has taken the lease").await;
}
