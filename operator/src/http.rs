//! `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::context::Context;

/// What the answers come from.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) context: Arc<Context>,
    /// The definitions are there and are watched.
    pub(crate) ready: Arc<AtomicBool>,
}

/// Answers for ever.
pub(crate) async fn serve(listen: SocketAddr, health: Health) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(TcpListener::bind(listen).await?, router).await
}

async fn readyz(State(health): State<Health>) -> Response {
    if health.ready.load(Ordering::Relaxed) {
        "ready\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the custom resource definitions\n",
        )
            .into_response()
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    match health.context.metrics.text(health.context.runs.len()) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
