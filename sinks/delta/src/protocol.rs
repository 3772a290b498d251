//! What a table asks of its readers and writers, and its properties.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::DeltaConfig;
use crate::schema::{self, Mapping};
use crate::shape::Shape;
use crate::table::{HISTORY, Metadata, PIPELINE, Role, VIEW};

/// What writers up to version 4 know without a list.
const LEGACY: [&str; 5] = ["appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"];

/// The protocol for a table of this shape that had another one before. Old readers are shut out only by what they
/// could not read: timestamps without time zone, and mapped columns.
pub(crate) fn protocol(shape: &Shape, before: Option<&Value>) -> Value {
    let mut needed = Vec::new();
    if shape.mapping != Mapping::None {
        needed.push("columnMapping");
    }
    if schema::has_timestamp_ntz(&shape.delta) {
        needed.push("timestampNtz");
    }
    let none = Value::Null;
    let before = before.unwrap_or(&none);
    let list = |key: &str| -> Vec<String> {
        before[key].as_array().into_iter().flatten().filter_map(|f| f.as_str().map(str::to_owned)).collect()
    };
    let has_features = before["minWriterVersion"].as_i64() == Some(7);
    if needed.is_empty() && !has_features {
        let readers = before["minReaderVersion"].as_i64().unwrap_or(1).max(1);
        let writers = before["minWriterVersion"].as_i64().unwrap_or(4).max(4);
        return json!({"minReaderVersion": readers, "minWriterVersion": writers});
    }
    let (mut readers, mut writers) = (list("readerFeatures"), list("writerFeatures"));
    if !has_features {
        let known: &[&str] = if before.is_null() { &["appendOnly", "invariants", "changeDataFeed"] } else { &LEGACY };
        writers.extend(known.iter().map(|feature| (*feature).to_owned()));
    }
    for feature in needed {
        for list in [&mut readers, &mut writers] {
            if !list.iter().any(|known| known == feature) {
                list.push(feature.to_owned());
            }
        }
    }
    let feed = "changeDataFeed".to_owned();
    if !writers.contains(&feed) {
        writers.push(feed);
    }
    if readers.is_empty() && before["minReaderVersion"].as_i64().unwrap_or(1) < 3 {
        return json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": writers});
    }
    json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": readers, "writerFeatures": writers})
}

/// The metadata of a table of this shape that had others before. Properties that people set stay.
pub(crate) fn metadata(
    shape: &Shape,
    config: &DeltaConfig,
    pipeline: &str,
    created_millis: i64,
    before: Option<&Metadata>,
) -> Metadata {
    let mut configuration = before.map(|before| before.configuration.clone()).unwrap_or_default();
    configuration.extend(properties(shape, config, pipeline));
    Metadata {
        id: before.map_or_else(|| uuid::Uuid::new_v4().to_string(), |before| before.id.clone()),
        schema: shape.delta.clone(),
        partition_columns: shape.partition_names(),
        configuration,
        created_time: before.map_or(Some(created_millis), |before| before.created_time),
    }
}

fn properties(shape: &Shape, config: &DeltaConfig, pipeline: &str) -> BTreeMap<String, String> {
    let span = |time: Duration| format!("interval {} seconds", time.as_secs());
    // What changes in a history is what it says: it needs no feed beside it.
    let (feed, mark) = match shape.role {
        Role::Present => ("true", None),
        Role::Past => ("false", Some((HISTORY, "true".to_owned()))),
    };
    let mut properties = BTreeMap::from([
        ("delta.enableChangeDataFeed", feed.to_owned()),
        ("delta.checkpointInterval", config.checkpoint_interval.to_string()),
        ("delta.deletedFileRetentionDuration", span(config.vacuum_retention)),
        ("delta.logRetentionDuration", span(config.log_retention)),
        (PIPELINE, pipeline.to_owned()),
        (VIEW, shape.view.name.to_string()),
    ]);
    properties.extend(mark);
    if let Mapping::ByName(last) = shape.mapping {
        properties.insert("delta.columnMapping.mode", "name".to_owned());
        properties.insert("delta.columnMapping.maxColumnId", last.to_string());
    }
    properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
