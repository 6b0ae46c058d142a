//! Conversations with an API server that is played.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, Response};
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_test::mock;

use crate::agent_binary::AgentBinary;
use crate::backup::Runs;
use crate::cluster::KubeCluster;
use crate::context::{Context, Wakes};
use crate::exec::{ExecError, PodExec, Session, Target};
use crate::maintenance::Home;
use crate::metrics::Metrics;
use crate::node::{Pace, Tools};

/// Containers that nobody reaches.
struct Unreachable;

#[async_trait]
impl PodExec for Unreachable {
    async fn start(&self, _: &Target, _: &[String]) -> Result<Session, ExecError> {
        Err(ExecError::Unreachable("no route".into()))
    }
}

/// The API server, as a test plays it.
pub(crate) struct Api(mock::Handle<Request<Body>, Response<Body>>);

impl Api {
    /// Expects a request, answers it and returns what it carried.
    pub(crate) async fn expect(
        &mut self,
        method: Method,
        path: &str,
        answer: Result<Value, u16>,
    ) -> Value {
        let next = timeout(Duration::from_secs(5), self.0.next_request()).await;
        let (request, send) = next.expect("a request comes").expect("the client is there");
        assert_eq!((request.method(), request.uri().path()), (&method, path));
        let body = request.into_body().collect_bytes().await.unwrap();
        let (code, answer) = match answer {
            Ok(answer) => (200, answer),
            Err(code) => {
                let reason = match (code, method) {
                    (404, _) => "NotFound",
                    (409, Method::POST) => "AlreadyExists",
                    (409, _) => "Conflict",
                    _ => "Refused",
                };
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "reason": reason, "message": "", "code": code,
                });
                (code, status)
            }
        };
        let answer = Response::builder()
            .status(code)
            .body(Body::from(serde_json::to_vec(&answer).unwrap()));
        send.send_response(answer.unwrap());
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

/// What controllers share, connected to an API server that is played.
pub(crate) fn context() -> (Arc<Context>, Api) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let client = kube::Client::new(service, "shop");
    let reporter = Reporter {
        controller: "test".into(),
        instance: None,
    };
    let context = Context {
        tools: Arc::new(Tools {
            cluster: Arc::new(KubeCluster::new(client.clone())),
            exec: Arc::new(Unreachable),
            agent: AgentBinary::new(b"agent".to_vec()),
            pace: Pace::default(),
        }),
        runs: Runs::default(),
        restores: Default::default(),
        wakes: Wakes::default(),
        cron_wakes: Wakes::default(),
        restore_wakes: Wakes::default(),
        chores: Arc::default(),
        recorder: Recorder::new(client.clone(), reporter),
        metrics: Metrics::default(),
        home: Home {
            agent: "/nonexistent".into(),
            operator: "/operator".into(),
            image: Some("operator:1".into()),
            image_pull_policy: None,
        },
        client,
    };
    (Arc::new(context), Api(handle))
}
