//! The sources' constructors.

use std::path::Path;

use tidegate_runtime::SourceSlot;

use super::{Datasets, Made, Surroundings};
use crate::file::Section;

#[cfg(feature = "ducklake")]
pub(super) fn ducklake(around: &Surroundings<'_>, mut section: Section<'_>) -> Option<Made<SourceSlot>> {
    use tidegate_duck::lake::LakeCatalog;
    use tidegate_source_ducklake::{AttachValue, Config, DucklakeSource};
    section.not_built("keep_input");
    section.configured(|config: Config| {
        let source = DucklakeSource::new(around.name, &config, around.folder)?.with_storage(around.storage);
        let (poll_interval, wake) = (source.poll_interval(), source.wake());
        let made = Made::of(SourceSlot { source: Box::new(source), poll_interval, wake });
        let schema = config.attach.iter().find_map(|(key, value)| match value {
            AttachValue::Text(schema) if key.eq_ignore_ascii_case("metadata_schema") => Some(schema.as_str()),
            _ => None,
        });
        Ok(match LakeCatalog::parse(&config.catalog, around.folder) {
            Ok(catalog) => {
                let lake = catalog.identity(schema);
                made.at(lake.to_string(), None).called(Datasets::of_lake(&lake, None))
            }
            Err(_) => made,
        })
    })
}

#[cfg(feature = "postgres")]
pub(super) fn postgres(around: &Surroundings<'_>, section: Section<'_>) -> Option<Made<SourceSlot>> {
    use tidegate_source_postgres::{Config, PostgresSource};
    section.configured(|config: Config| {
        let folder = around.state.join("sources");
        let source = PostgresSource::new(around.name, &config, around.pipeline, around.folder, &folder)?;
        let (poll_interval, wake) = (source.poll_interval(), Some(source.wake()));
        let made = Made::of(SourceSlot { source: Box::new(source), poll_interval, wake });
        Ok(match database(&config.url, around.folder) {
            Some((home, connection)) => made.at(home, None).called(Datasets::of_postgres(&connection, None)),
            None => made,
        })
    })
}

/// The database that a URL leads to, however it is written, and the way there.
#[cfg(feature = "postgres")]
pub(super) fn database(url: &str, folder: &Path) -> Option<(String, tidegate_postgres::Connection)> {
    let connection = tidegate_postgres::Connection::parse(url, folder).ok()?;
    let host = match connection.host() {
        "127.0.0.1" | "::1" => "localhost",
        host => host,
    };
    let home = format!("postgres:{}:{}/{}", host.to_ascii_lowercase(), connection.port(), connection.database());
    Some((home, connection))
}
