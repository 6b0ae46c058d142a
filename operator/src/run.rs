use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use crds::{BackupStorage, CassandraBackup, CronBackup};
use futures::future::{join_all, select, select_all};
use futures::{FutureExt, StreamExt};
use kube::api::{Api, ListParams};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::agent_binary::AgentBinary;
use crate::arguments::{Arguments, Command, Serve};
use crate::backup::{self, Runs};
use crate::cluster::KubeCluster;
use crate::context::{Context, Wakes};
use crate::exec::KubeExec;
use crate::http::{self, Health};
use crate::metrics::Metrics;
use crate::node::{Pace, Tools};
use crate::{FIELD_MANAGER, cron, generate, storage};

/// After a reconciliation that did not go through.
const AGAIN: Duration = Duration::from_secs(5);

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Some(Command::Crds(crds)) => generate::definitions(&crds.folders),
        None => start(&arguments.serve),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cassandra-backup-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Serve) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&arguments.log)?)
        .init();
    // It fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(arguments))
}

async fn serve(arguments: &Serve) -> anyhow::Result<()> {
    let agent = AgentBinary::read(&arguments.agent)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        agent = agent.hash,
        "operator starts"
    );
    let client = Client::try_default()
        .await
        .context("cannot find the API server")?;
    let reporter = Reporter {
        controller: FIELD_MANAGER.into(),
        instance: std::env::var("POD_NAME").ok(),
    };
    let context = Arc::new(Context {
        tools: Arc::new(Tools {
            cluster: Arc::new(KubeCluster::new(client.clone())),
            exec: Arc::new(KubeExec::new(client.clone())),
            agent,
            pace: Pace::default(),
        }),
        runs: Runs::default(),
        wakes: Wakes::default(),
        cron_wakes: Wakes::default(),
        chores: Arc::default(),
        recorder: Recorder::new(client.clone(), reporter),
        metrics: Metrics::default(),
        agent_path: arguments.agent.clone(),
        client,
    });
    let health = Health {
        context: Arc::clone(&context),
        ready: Arc::new(AtomicBool::new(false)),
    };
    let ready = Arc::clone(&health.ready);
    let serving = http::serve(arguments.listen, health);
    let working = async {
        let scopes = scopes(&arguments.namespaces);
        join_all(
            scopes
                .iter()
                .map(|scope| definitions(&context, scope.as_deref())),
        )
        .await;
        ready.store(true, Ordering::Relaxed);
        let controllers = scopes.into_iter().flat_map(|scope| {
            [
                backups(Arc::clone(&context), scope.clone()).boxed(),
                storages(Arc::clone(&context), scope.clone()).boxed(),
                schedules(Arc::clone(&context), scope).boxed(),
            ]
        });
        select_all(controllers).await;
        anyhow::bail!("a controller has ended")
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        served = serving => served.with_context(|| format!("cannot serve on {}", arguments.listen)),
        worked = working => worked,
        // The agents go on; whoever starts next finds them by the status.
        _ = select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())) => Ok(()),
    }
}

/// The namespaces to watch; `None` is all of them.
fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    let named: Vec<_> = namespaces
        .iter()
        .filter(|name| !name.is_empty())
        .cloned()
        .map(Some)
        .collect();
    if named.is_empty() { vec![None] } else { named }
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Waits until all kinds can be listed: a chart may install us before its definitions are known.
async fn definitions(context: &Context, scope: Option<&str>) {
    let one = ListParams::default().limit(1);
    loop {
        let backups = api::<CassandraBackup>(&context.client, scope);
        let storages = api::<BackupStorage>(&context.client, scope);
        let schedules = api::<CronBackup>(&context.client, scope);
        let listed = async {
            backups.list_metadata(&one).await?;
            storages.list_metadata(&one).await?;
            schedules.list_metadata(&one).await
        };
        match listed.await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "the custom resources cannot be listed yet"),
        }
        sleep(AGAIN).await;
    }
}

async fn backups(context: Arc<Context>, scope: Option<String>) {
    let wakes = context.wakes.subscribe(scope.clone());
    let runs = Arc::clone(&context);
    Controller::new(
        guarded_api::<CassandraBackup>(&context.client, scope.as_deref()),
        watcher::Config::default(),
    )
    .reconcile_on(wakes)
    .run(
        backup::reconcile,
        |_, error, context: Arc<Context>| failed("backup", error, &context),
        context,
    )
    .for_each(|result| {
        let runs = Arc::clone(&runs);
        async move {
            match result {
                Err(controller::Error::ObjectNotFound(object)) => {
                    let namespace = object.namespace.unwrap_or_default();
                    runs.runs.abandon(&namespace, &object.name).await;
                }
                other => note(other),
            }
        }
    })
    .await;
}

async fn storages(context: Arc<Context>, scope: Option<String>) {
    Controller::new(
        guarded_api::<BackupStorage>(&context.client, scope.as_deref()),
        watcher::Config::default(),
    )
    .run(
        storage::reconcile,
        |_, error, context: Arc<Context>| failed("storage", error, &context),
        context,
    )
    .for_each(|result| async { note(result) })
    .await;
}

async fn schedules(context: Arc<Context>, scope: Option<String>) {
    let children = watcher(
        guarded_api::<CassandraBackup>(&context.client, scope.as_deref()),
        watcher::Config::default().labels(cron::CHILD_LABEL),
    )
    .default_backoff()
    .touched_objects()
    .predicate_filter(cron::turn, PredicateConfig::default());
    let metrics = Arc::clone(&context);
    let wakes = context.cron_wakes.subscribe(scope.clone());
    Controller::new(
        guarded_api::<CronBackup>(&context.client, scope.as_deref()),
        watcher::Config::default(),
    )
    .owns_stream(children)
    .reconcile_on(wakes)
    .run(
        cron::reconcile,
        |_, error, context: Arc<Context>| failed("schedule", error, &context),
        context,
    )
    .for_each(|result| async {
        match result {
            Err(controller::Error::ObjectNotFound(object)) => {
                let namespace = object.namespace.unwrap_or_default();
                metrics.metrics.forget_schedule(&namespace, &object.name);
            }
            other => note(other),
        }
    })
    .await;
}

fn guarded_api<K>(client: &Client, scope: Option<&str>) -> Api<kube::core::DeserializeGuard<K>>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn failed(controller: &'static str, error: &dyn std::error::Error, context: &Context) -> Action {
    tracing::warn!(controller, %error, "reconciliation did not go through");
    context.metrics.failed(controller);
    Action::requeue(AGAIN)
}

/// Errors of reconciliations are told where they happen; the others are told here.
fn note<T, E>(result: Result<T, controller::Error<E, watcher::Error>>)
where
    E: std::error::Error + 'static,
{
    if let Err(error) = result
        && !matches!(
            error,
            controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)
        )
    {
        tracing::warn!(%error, "the watch was interrupted");
    }
}
