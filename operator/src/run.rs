use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use crds::{BackupStorage, CassandraBackup, CassandraRestore, CronBackup};
use futures::future::{join_all, select, select_all};
use futures::{FutureExt, StreamExt};
use kube::api::{Api, ListParams};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing_subscriber::util::SubscriberInitExt;

use crate::agent_binary::AgentBinary;
use crate::arguments::{Arguments, Command, Serve};
use crate::backup::{self, Runs};
use crate::cluster::KubeCluster;
use crate::context::{Context, Wakes};
use crate::election::Election;
use crate::exec::KubeExec;
use crate::http::{self, Health};
use crate::maintenance::Home;
use crate::metrics::Metrics;
use crate::node::{Pace, Tools};
use crate::{FIELD_MANAGER, cron, generate, logs, restore, storage};

/// What is shown of a deleted resource stays for so long.
const FORGET: Duration = Duration::from_secs(30);
/// After a reconciliation that did not go through.
const AGAIN: Duration = Duration::from_secs(5);

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Some(Command::Crds(crds)) => generate::definitions(&crds.folders),
        Some(Command::Docs(docs)) => generate::pages(&docs.folder),
        Some(Command::Generate) => generate::all(),
        Some(Command::Idle) => idle(),
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

/// Waits for SIGTERM or SIGINT, which the first process of a container only gets if it asks for them.
fn idle() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
        Ok(())
    })
}

fn start(arguments: &Serve) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)?;
    logs::lines(filter, std::io::stdout).init();
    // It fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve(arguments));
    // Whatever is still at work ends here: one that has lost its lease must not write any more.
    runtime.shutdown_background();
    served
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
        instance: arguments.identity.clone(),
    };
    let mut election = election(arguments, &client);
    let context = Arc::new(Context {
        tools: Arc::new(Tools {
            cluster: Arc::new(KubeCluster::new(client.clone())),
            exec: Arc::new(KubeExec::new(client.clone())),
            agent,
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
            agent: arguments.agent.clone(),
            operator: std::env::current_exe().context("cannot find this program's file")?,
            image: arguments.maintenance_image.clone(),
            image_pull_policy: arguments.maintenance_image_pull_policy.clone(),
        },
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
        // Also while another one leads: a rollout waits for the new pod to be ready before it ends
        // the old one, which leads.
        ready.store(true, Ordering::Relaxed);
        let Some(election) = &mut election else {
            context.metrics.leads();
            return controllers(&context, scopes).await;
        };
        election.won().await;
        tracing::info!("this operator leads");
        context.metrics.leads();
        tokio::select! {
            lost = election.lost() => Err(lost.into()),
            ended = controllers(&context, scopes) => ended,
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        served = serving => served.with_context(|| format!("cannot serve on {}", arguments.listen)),
        worked = working => worked,
        // The agents go on; whoever starts next finds them by the status.
        _ = select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())) => Ok(()),
    };
    if let Err(error) = &ended {
        tracing::error!(error = format!("{error:#}"), "operator ends");
    }
    // The controllers were dropped with the select.
    if let Some(election) = election {
        election.resign().await;
    }
    ended
}

fn election(arguments: &Serve, client: &Client) -> Option<Election> {
    let namespace = arguments.lease_namespace.as_ref();
    let namespace = namespace.filter(|_| arguments.leader_elect)?;
    // A container that starts again in its pod is the only one there, and takes its lease back.
    let identity = arguments.identity.clone();
    let identity = identity.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let name = &arguments.lease_name;
    Some(Election::new(client, namespace, name, identity))
}

/// Runs until one of the controllers ends, which none should.
async fn controllers(context: &Arc<Context>, scopes: Vec<Option<String>>) -> anyhow::Result<()> {
    let controllers = scopes.into_iter().flat_map(|scope| {
        [
            backups(Arc::clone(context), scope.clone()).boxed(),
            storages(Arc::clone(context), scope.clone()).boxed(),
            restores(Arc::clone(context), scope.clone()).boxed(),
            schedules(Arc::clone(context), scope).boxed(),
        ]
    });
    select_all(controllers).await;
    anyhow::bail!("a controller has ended")
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
        let restores = api::<CassandraRestore>(&context.client, scope);
        let listed = async {
            backups.list_metadata(&one).await?;
            storages.list_metadata(&one).await?;
            restores.list_metadata(&one).await?;
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
    let controller = Controller::new(
        guarded_api::<CassandraBackup>(&context.client, scope.as_deref()),
        watcher::Config::default(),
    );
    let forgetting = forget_gone(Arc::clone(&context), controller.store(), scope);
    let working = controller
        .reconcile_on(wakes)
        .run(
            backup::reconcile,
            |object, error, context: Arc<Context>| failed(&*object, "backup", error, &context),
            context,
        )
        .for_each(|result| {
            let runs = Arc::clone(&runs);
            async move {
                match result {
                    Err(controller::Error::ObjectNotFound(object)) => {
                        let namespace = object.namespace.unwrap_or_default();
                        runs.runs.abandon(&namespace, &object.name).await;
                        runs.metrics.forget_backup(&namespace, &object.name);
                    }
                    other => note(other),
                }
            }
        });
    select(forgetting.boxed(), working.boxed()).await;
}

/// Nobody is told of the deletion of a resource that nothing is done about any more, so what is shown
/// of it is compared with what is there.
async fn forget_gone(context: Arc<Context>, there: Store<backup::Guarded>, scope: Option<String>) {
    if there.wait_until_ready().await.is_err() {
        return std::future::pending().await;
    }
    loop {
        sleep(FORGET).await;
        context.metrics.forget_gone(|namespace, name| {
            let elsewhere = scope.as_deref().is_some_and(|scope| scope != namespace);
            elsewhere || there.get(&ObjectRef::new(name).within(namespace)).is_some()
        });
    }
}

async fn restores(context: Arc<Context>, scope: Option<String>) {
    let wakes = context.restore_wakes.subscribe(scope.clone());
    let runs = Arc::clone(&context);
    Controller::new(
        guarded_api::<CassandraRestore>(&context.client, scope.as_deref()),
        watcher::Config::default(),
    )
    .reconcile_on(wakes)
    .run(
        restore::reconcile,
        |object, error, context: Arc<Context>| failed(&*object, "restore", error, &context),
        context,
    )
    .for_each(|result| async {
        match result {
            Err(controller::Error::ObjectNotFound(object)) => {
                let namespace = object.namespace.unwrap_or_default();
                runs.restores.abandon(&namespace, &object.name).await;
            }
            other => note(other),
        }
    })
    .await;
}

async fn storages(context: Arc<Context>, scope: Option<String>) {
    let metrics = Arc::clone(&context);
    Controller::new(
        guarded_api::<BackupStorage>(&context.client, scope.as_deref()),
        watcher::Config::default(),
    )
    .with_config(controller::Config::default().concurrency(storage::AT_ONCE))
    .run(
        storage::reconcile,
        |object, error, context: Arc<Context>| failed(&*object, "storage", error, &context),
        context,
    )
    .for_each(|result| async {
        match result {
            Err(controller::Error::ObjectNotFound(object)) => {
                let namespace = object.namespace.unwrap_or_default();
                metrics.metrics.forget_storage(&namespace, &object.name);
            }
            other => note(other),
        }
    })
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
        |object, error, context: Arc<Context>| failed(&*object, "schedule", error, &context),
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

fn failed<K: Resource>(
    object: &K,
    controller: &'static str,
    error: &dyn std::error::Error,
    context: &Context,
) -> Action {
    let (namespace, resource) = (object.namespace(), object.name_any());
    tracing::warn!(controller, namespace, resource, %error, "reconciliation did not go through");
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
