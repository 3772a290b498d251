//! The events, with the facets of the specification that say something here.

use serde_json::{Map, Value, json};
use tidegate_core::ViewName;
use uuid::Uuid;

use super::datasets::{Column, Dataset, View};

const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// Who says so.
const PRODUCER: &str = concat!("urn:tidegate:", env!("CARGO_PKG_VERSION"));

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Start,
    Running,
    Complete,
    Abort,
    Fail,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Start => "START",
            Kind::Running => "RUNNING",
            Kind::Complete => "COMPLETE",
            Kind::Abort => "ABORT",
            Kind::Fail => "FAIL",
        }
    }
}

/// The run of a job.
#[derive(Debug, Clone)]
pub struct Run {
    id: Uuid,
    /// The view's.
    pub sql: String,
    /// Changed rows since it began.
    pub rows: u64,
}

impl Run {
    /// A run that begins now.
    pub fn begin(sql: &str) -> Run {
        Run { id: Uuid::now_v7(), sql: sql.to_owned(), rows: 0 }
    }
}

/// A view as a job.
pub struct Job<'a> {
    pub namespace: &'a str,
    pub name: &'a ViewName,
    /// Whether its run goes on until it is stopped.
    pub is_endless: bool,
}

/// An event. What the program says of the view is not known before it was planned; `message` says why the run failed.
pub fn event(
    kind: Kind,
    time: &str,
    run: &Run,
    job: &Job<'_>,
    view: Option<&View>,
    outputs: &[Dataset],
    message: Option<&str>,
) -> Value {
    let mut run_facets = Map::new();
    let engine = json!({ "name": "tidegate", "version": env!("CARGO_PKG_VERSION") });
    put(&mut run_facets, "processing_engine", "1-1-1/ProcessingEngineRunFacet", engine);
    if let Some(message) = message {
        let error = json!({ "message": message, "programmingLanguage": "Rust" });
        put(&mut run_facets, "errorMessage", "1-0-1/ErrorMessageRunFacet", error);
    }
    let mut job_facets = Map::new();
    put(&mut job_facets, "sql", "1-1-0/SQLJobFacet", json!({ "query": run.sql, "dialect": "duckdb" }));
    let processing = if job.is_endless { "STREAMING" } else { "BATCH" };
    let of = json!({ "processingType": processing, "integration": "TIDEGATE", "jobType": "VIEW" });
    put(&mut job_facets, "jobType", "2-0-4/JobTypeJobFacet", of);
    let inputs = view.into_iter().flat_map(|view| &view.inputs).map(|(dataset, columns)| {
        let mut facets = Map::new();
        put(&mut facets, "schema", "1-2-0/SchemaDatasetFacet", fields(columns));
        json!({ "namespace": dataset.namespace, "name": dataset.name, "facets": facets })
    });
    let outputs = outputs.iter().map(|dataset| {
        let mut facets = Map::new();
        if let Some(view) = view {
            put(&mut facets, "schema", "1-2-0/SchemaDatasetFacet", fields(&view.columns));
            put(&mut facets, "columnLineage", "1-2-0/ColumnLineageDatasetFacet", column_lineage(view));
        }
        let mut output_facets = Map::new();
        if kind != Kind::Start {
            let statistics = json!({ "rowCount": run.rows });
            put(&mut output_facets, "outputStatistics", "1-0-2/OutputStatisticsOutputDatasetFacet", statistics);
        }
        json!({
            "namespace": dataset.namespace, "name": dataset.name, "facets": facets, "outputFacets": output_facets
        })
    });
    json!({
        "eventType": kind.as_str(),
        "eventTime": time,
        "producer": PRODUCER,
        "schemaURL": EVENT,
        "run": { "runId": run.id.to_string(), "facets": run_facets },
        "job": { "namespace": job.namespace, "name": job.name.as_str(), "facets": job_facets },
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
    })
}

/// Adds a facet of the specification: `version/name`.
fn put(facets: &mut Map<String, Value>, key: &str, schema: &str, mut facet: Value) {
    let name = schema.split('/').next_back().unwrap_or_default();
    facet["_producer"] = json!(PRODUCER);
    facet["_schemaURL"] = json!(format!("https://openlineage.io/spec/facets/{schema}.json#/$defs/{name}"));
    facets.insert(key.to_owned(), facet);
}

fn fields(columns: &[Column]) -> Value {
    let field = |(name, of): &Column| json!({ "name": name, "type": of });
    json!({ "fields": columns.iter().map(field).collect::<Vec<_>>() })
}

/// What each column is computed from; filters, joins and groups are not in it.
fn column_lineage(view: &View) -> Value {
    let direct = json!([{ "type": "DIRECT" }]);
    let columns = view.columns.iter().zip(&view.origins).map(|((name, _), origins)| {
        let input = |(dataset, field): &(Dataset, String)| {
            let (namespace, name) = (&dataset.namespace, &dataset.name);
            json!({ "namespace": namespace, "name": name, "field": field, "transformations": direct })
        };
        (name.clone(), json!({ "inputFields": origins.iter().map(input).collect::<Vec<_>>() }))
    });
    json!({ "fields": columns.collect::<Map<_, _>>() })
}
