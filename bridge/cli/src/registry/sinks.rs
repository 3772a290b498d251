//! The sinks' constructors.

use std::sync::Arc;

use tidegate_core::{ConnectorError, Micros, Sink};

use super::{Datasets, Made, StandardOutput, Surroundings};
use crate::file::Section;
use crate::place::{self, Place};

type Boxed = Made<Box<dyn Sink>>;

#[cfg(feature = "parquet")]
pub(super) fn parquet(around: &Surroundings<'_>, section: Section<'_>) -> Option<Boxed> {
    use tidegate_sink_parquet::{Location, ParquetConfig, ParquetSink};
    section.configured(|config: ParquetConfig| {
        let place = place::resolve(around.folder, around.storage, &config.path)?;
        let datasets = Datasets::of_place(&place);
        let location = match place {
            Place::Folder(folder) => Location::Folder(folder),
            Place::Store { store, prefix, url } => Location::Store { store, prefix, url },
        };
        let sink = ParquetSink::new(around.name, location).with_pipeline(around.pipeline);
        Ok(boxed(sink.with_options(config.options()?))?.called(datasets))
    })
}

#[cfg(feature = "duckdb")]
pub(super) fn duckdb(around: &Surroundings<'_>, section: Section<'_>) -> Option<Boxed> {
    use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
    section.configured(|config: DuckdbConfig| {
        let config = DuckdbConfig { path: around.folder.join(&config.path), ..config };
        let mart = Some(config.path.clone());
        let sink = DuckdbSink::new(around.name, config, Arc::new(wall_clock)).with_memory_limit(around.memory_limit);
        let datasets = mart.as_deref().map(Datasets::of_duckdb);
        Ok(Made { mart, datasets, ..boxed(sink)? })
    })
}

#[cfg(feature = "delta")]
pub(super) fn delta(around: &Surroundings<'_>, section: Section<'_>) -> Option<Boxed> {
    use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location};
    section.configured(|config: DeltaConfig| {
        let place = place::resolve(around.folder, around.storage, &config.path)?;
        let datasets = Datasets::of_place(&place);
        let location = match place {
            Place::Folder(folder) => Location::Folder(folder),
            Place::Store { store, prefix, url } => Location::Store { store, prefix, url },
        };
        let sink = DeltaSink::new(around.name, around.pipeline, location, config, Arc::new(wall_clock));
        Ok(boxed(sink)?.called(datasets))
    })
}

#[cfg(feature = "ducklake")]
pub(super) fn ducklake(around: &Surroundings<'_>, section: Section<'_>) -> Option<Boxed> {
    use tidegate_sink_ducklake::{DucklakeConfig, DucklakeSink};
    section.configured(|config: DucklakeConfig| {
        let spill = around.state.join("sinks").join(around.name);
        let sink = DucklakeSink::new(around.name, &config, around.folder, &spill, Arc::new(wall_clock))?
            .with_pipeline(around.pipeline)
            .with_storage(around.storage)
            .with_memory_limit(around.memory_limit);
        let target = config.target(around.folder);
        let (lake, schema) =
            target.map_err(|error| ConnectorError::new(tidegate_core::ErrorKind::Reconfigure, error.to_string()))?;
        Ok(boxed(sink)?.at(lake.to_string(), Some(schema)).called(Datasets::of_lake(&lake, Some(schema))))
    })
}

#[cfg(feature = "postgres")]
pub(super) fn postgres(around: &Surroundings<'_>, section: Section<'_>) -> Option<Boxed> {
    use tidegate_sink_postgres::{PostgresConfig, PostgresSink};
    section.configured(|config: PostgresConfig| {
        let made = boxed(PostgresSink::new(around.name, &config, around.folder, Arc::new(wall_clock))?)?;
        Ok(match super::sources::database(&config.url, around.folder) {
            Some((home, connection)) => {
                let datasets = Datasets::of_postgres(&connection, Some(&config.schema));
                made.at(home, Some(&config.schema)).called(datasets)
            }
            None => made,
        })
    })
}

#[cfg(feature = "jsonl")]
pub(super) fn jsonl(around: &Surroundings<'_>, section: Section<'_>) -> Option<Boxed> {
    use tidegate_sink_jsonl::{JsonlConfig, JsonlSink};
    section.configured(|config: JsonlConfig| {
        if config.is_stdout() {
            let made = boxed(JsonlSink::new(around.name, &config, Arc::new(wall_clock))?)?;
            return Ok(Made { standard_output: StandardOutput::Connector, ..made });
        }
        let config = JsonlConfig { path: around.folder.join(config.path) };
        let datasets = Datasets::of_file(&config.path);
        Ok(boxed(JsonlSink::new(around.name, &config, Arc::new(wall_clock))?)?.called(datasets))
    })
}

fn boxed(sink: impl Sink + 'static) -> Result<Boxed, ConnectorError> {
    Ok(Made::of(Box::new(sink) as Box<dyn Sink>))
}

/// The machine's time, for columns that people read.
fn wall_clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
