//! The routes: what is asked and what is answered. `openapi.json` describes them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_core::{Epoch, ViewInfo, ViewName};
use tidegate_runtime::Unanswered;

use super::guard::{Door, Refused, may_control, may_read};
use super::{Server, page, values};
use crate::commands::explain;

/// How long a request waits for the pipeline to come to the end of what it does.
const PATIENCE: Duration = Duration::from_secs(10);

const ROWS_DEFAULT: usize = 20;
const ROWS_MAX: usize = 1_000;
const EPOCHS_DEFAULT: usize = 120;

/// The description of this interface, by the OpenAPI specification 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// What is answered where a request fails.
struct Failed(StatusCode, String);

type Answer = Result<Json<Value>, Failed>;

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<Refused> for Failed {
    fn from((status, text): Refused) -> Self {
        Failed(status, text.to_owned())
    }
}

impl From<Unanswered> for Failed {
    fn from(error: Unanswered) -> Self {
        let status = match error {
            Unanswered::Gone | Unanswered::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Unanswered::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failed(status, error.to_string())
    }
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

/// All routes, for requests that come in at a door.
pub fn routes(server: Arc<Server>, door: Door) -> Router {
    let guarded = move |headers: HeaderMap, request: Request, next: Next| async move {
        match may_read(door, &headers) {
            Ok(()) => next.run(request).await,
            Err(refused) => Failed::from(refused).into_response(),
        }
    };
    let control = move |server: &Server, headers: &HeaderMap| may_control(door, server.token.as_deref(), headers);
    Router::new()
        .route("/", get(|| async { page::file("") }))
        .route("/{file}", get(|Path(file): Path<String>| async move { page::file(&file) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .route("/api/status", get(status))
        .route("/api/epochs", get(epochs))
        .route("/api/views/{view}", get(view))
        .route("/api/views/{view}/sample", get(sample))
        .route("/api/views/{view}/changes", get(changes))
        .route("/api/views/{view}/asof", get(asof))
        .route("/api/views/{view}/epochs", get(epochs_of_view))
        .route(
            "/api/checkpoint",
            post(move |State(server): State<Arc<Server>>, headers: HeaderMap| async move {
                control(&server, &headers)?;
                checkpoint(&server).await
            }),
        )
        .route(
            "/api/apply",
            post(move |State(server): State<Arc<Server>>, headers: HeaderMap| async move {
                control(&server, &headers)?;
                apply(&server).await
            }),
        )
        .route(
            "/api/drain",
            post(move |State(server): State<Arc<Server>>, headers: HeaderMap| async move {
                control(&server, &headers)?;
                Ok::<_, Failed>(drain(&server))
            }),
        )
        .with_state(server)
        .layer(from_fn(guarded))
}

async fn ready(State(server): State<Arc<Server>>) -> Response {
    match server.monitor.is_ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the views are not loaded yet\n").into_response(),
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    match server.monitor.metrics.text() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn status(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(server.monitor.status(server.token.is_some()))
}

async fn epochs(State(server): State<Arc<Server>>, Query(Limit { limit }): Query<Limit>) -> Json<Value> {
    Json(json!({ "epochs": server.monitor.epochs(limit.unwrap_or(EPOCHS_DEFAULT)) }))
}

fn unknown(name: &str) -> Failed {
    Failed(StatusCode::NOT_FOUND, format!("there is no view {name}"))
}

async fn view(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Answer {
    let name = ViewName::new(&name);
    let about = server.monitor.about();
    let (place, sql) = about.views.get(&name).ok_or_else(|| unknown(name.as_str()))?;
    let program = server.monitor.program();
    let planned = program.as_ref().and_then(|program| program.view(&name));
    let history = about.histories.get(&name).cloned().unwrap_or_default();
    let mut found = planned.map_or_else(|| json!({ "view": name }), |view| explain::described(view, history));
    found["sql"] = json!(sql);
    found["place"] = json!(place);
    Ok(Json(found))
}

async fn sample(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    Query(Limit { limit }): Query<Limit>,
) -> Answer {
    let rows_max = limit.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX);
    let handle = server.handle().ok_or_else(opening)?;
    let sample = handle.sample(ViewName::new(&name), rows_max);
    let sample = patiently(&server, sample).await??;
    let sample = sample.ok_or_else(|| unknown(&name))?;
    let rows = values::rows(sample.rows.rows())
        .map_err(|error| Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let columns = values::columns(&sample.rows.rows().schema());
    Ok(Json(json!({
        "epoch": sample.epoch,
        "rows_total": sample.rows_total,
        "columns": columns,
        "rows": rows,
        "copies": sample.rows.weights().values().to_vec(),
    })))
}

async fn changes(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    Query(Limit { limit }): Query<Limit>,
) -> Answer {
    let name = ViewName::new(&name);
    if !server.monitor.about().views.contains_key(&name) {
        return Err(unknown(name.as_str()));
    }
    let program = server.monitor.program();
    let planned = program.as_ref().and_then(|program| program.view(&name));
    let columns = planned.map_or_else(|| json!([]), |view| values::columns(&view.info.schema));
    let changes = server.monitor.changes(&name, limit.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX));
    Ok(Json(json!({ "columns": columns, "changes": changes })))
}

#[derive(Deserialize)]
struct AsOf {
    epoch: u64,
    limit: Option<usize>,
}

async fn asof(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    Query(AsOf { epoch, limit }): Query<AsOf>,
) -> Answer {
    let (view, planned) = kept(&server, &name)?;
    let rows_max = limit.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX);
    let names: Vec<String> = planned.schema.fields().iter().map(|field| field.name().clone()).collect();
    let _turn = turn(&server).await?;
    let asked = Arc::clone(&server);
    let answer = beside(move || asked.past.rows(&view, Epoch(epoch), &names, rows_max)).await?;
    let mut found = answer.map_err(|text| Failed(StatusCode::NOT_FOUND, text))?;
    found["columns"] = values::columns(&planned.schema);
    Ok(Json(found))
}

async fn epochs_of_view(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Answer {
    let (view, _) = kept(&server, &name)?;
    let text = "no sink holds its history yet".to_owned();
    let to = server.monitor.kept_until(&view).ok_or(Failed(StatusCode::NOT_FOUND, text))?;
    let _turn = turn(&server).await?;
    let asked = Arc::clone(&server);
    let from = beside(move || asked.past.since(&view, to)).await?;
    let from = from.map_err(|text| Failed(StatusCode::NOT_FOUND, text))?;
    Ok(Json(json!({ "from": from, "to": to })))
}

/// A view of which the past is kept.
fn kept(server: &Server, name: &str) -> Result<(ViewName, ViewInfo), Failed> {
    let view = ViewName::new(name);
    if !server.monitor.about().views.contains_key(&view) {
        return Err(unknown(name));
    }
    if !server.monitor.about().histories.contains_key(&view) {
        return Err(Failed(StatusCode::NOT_FOUND, format!("the past of view {name} is not kept")));
    }
    let program = server.monitor.program().ok_or_else(opening)?;
    let planned = program.view(&view).ok_or_else(|| unknown(name))?;
    Ok((view, planned.info.clone()))
}

/// Waits until few enough ask for the past at the same time: each is a process.
async fn turn(server: &Server) -> Result<tokio::sync::SemaphorePermit<'_>, Failed> {
    let turn = tokio::time::timeout(PATIENCE, server.past.turns.acquire()).await;
    let busy = || Failed(StatusCode::SERVICE_UNAVAILABLE, "others ask for the past already: ask again".to_owned());
    turn.ok().and_then(Result::ok).ok_or_else(busy)
}

/// Does what blocks in a thread for such things.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn checkpoint(server: &Server) -> Result<(StatusCode, Json<Value>), Failed> {
    let handle = server.handle().ok_or_else(opening)?;
    let epoch = patiently(server, handle.checkpoint()).await??;
    Ok((StatusCode::ACCEPTED, Json(json!({ "epoch": epoch }))))
}

async fn apply(server: &Arc<Server>) -> Result<(StatusCode, Json<Value>), Failed> {
    let asked = Arc::clone(server);
    let applied = beside(move || asked.apply()).await?;
    let difference = applied.map_err(|text| Failed(StatusCode::CONFLICT, text))?;
    Ok((StatusCode::ACCEPTED, Json(difference)))
}

fn drain(server: &Server) -> (StatusCode, Json<Value>) {
    server.monitor.draining();
    server.stop.stop();
    (StatusCode::ACCEPTED, Json(json!({ "epoch": server.monitor.epoch() })))
}

fn opening() -> Failed {
    Failed(StatusCode::SERVICE_UNAVAILABLE, "the pipeline is being opened: ask again".to_owned())
}

/// Waits for the pipeline, but not for ever: it may be in the middle of something long.
async fn patiently<T>(server: &Server, answer: impl Future<Output = T>) -> Result<T, Failed> {
    tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
        let text = format!("the pipeline is busy ({}): ask again", server.monitor.phase().as_str());
        Failed(StatusCode::SERVICE_UNAVAILABLE, text)
    })
}
