//! What others call the tables of a connector: the names that OpenLineage gives data sets, so that what different programs say
//! of one table meets (<https://openlineage.io/docs/spec/naming>). No password is in any.

use std::path::{Component, Path, PathBuf};

use tidegate_duck::lake::LakeIdentity;

use crate::place::Place;

/// Where the tables of a connector are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datasets {
    /// The store that they are in.
    pub namespace: String,
    naming: Naming,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Naming {
    /// Each is called this and its own name.
    Before(String),
    /// All of them are this one.
    Whole(String),
}

impl Datasets {
    fn new(namespace: impl Into<String>, before: impl Into<String>) -> Datasets {
        Datasets { namespace: namespace.into(), naming: Naming::Before(before.into()) }
    }

    /// The name of a table: `schema.table` of a source, or the view of a sink.
    pub fn name(&self, table: &str) -> String {
        match &self.naming {
            Naming::Before(before) => format!("{before}{table}"),
            Naming::Whole(name) => name.clone(),
        }
    }

    /// Files or folders below a place.
    pub fn of_place(place: &Place) -> Datasets {
        match place {
            Place::Folder(folder) => Datasets::new("file", format!("{}/", plain(folder).display())),
            Place::Store { url, .. } => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("s3", url));
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.trim_matches('/');
                let before = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                Datasets::new(format!("{scheme}://{bucket}"), before)
            }
        }
    }

    /// One file that holds all of them.
    pub fn of_file(path: &Path) -> Datasets {
        Datasets { namespace: "file".to_owned(), naming: Naming::Whole(plain(path).display().to_string()) }
    }

    /// Tables in a DuckDB file, as dbt's integration names them.
    pub fn of_duckdb(path: &Path) -> Datasets {
        let path = plain(path);
        let database = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Datasets::new(format!("duckdb://{}", path.display()), format!("{database}.main."))
    }

    /// Tables of a lake, in one schema or named with it.
    pub fn of_lake(lake: &LakeIdentity, schema: Option<&str>) -> Datasets {
        Datasets::new(lake.uri(), schema.map(|schema| format!("{schema}.")).unwrap_or_default())
    }

    /// Tables of a database, in one schema or named with it.
    #[cfg(feature = "postgres")]
    pub fn of_postgres(connection: &tidegate_postgres::Connection, schema: Option<&str>) -> Datasets {
        // A socket's folder is no host.
        let host = if connection.host().starts_with('/') { "localhost" } else { connection.host() };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let schema = schema.map(|schema| format!("{schema}.")).unwrap_or_default();
        Datasets::new(format!("postgres://{host}:{}", connection.port()), format!("{}.{schema}", connection.database()))
    }
}

/// A path without `.` and `..`, whether or not there is something.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => _ = plain.pop(),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_duck::lake::LakeCatalog;

    use super::*;

    #[track_caller]
    fn is(datasets: Datasets, table: &str, namespace: &str, name: &str) {
        assert_eq!((datasets.namespace.as_str(), datasets.name(table).as_str()), (namespace, name));
    }

    #[test]
    fn files_and_objects() {
        is(Datasets::of_place(&Place::Folder("/p/./a/../out".into())), "v", "file", "/p/out/v");
        is(Datasets::of_file(Path::new("/p/./x.jsonl")), "v", "file", "/p/x.jsonl");
        is(Datasets::of_duckdb(Path::new("/p/./mart.duckdb")), "v", "duckdb:///p/mart.duckdb", "mart.main.v");
        let store = Arc::new(object_store::aws::AmazonS3Builder::new().with_bucket_name("b").build().unwrap());
        let objects = |url: &str| Place::Store { store: store.clone(), prefix: "".into(), url: url.to_owned() };
        is(Datasets::of_place(&objects("s3://b/a/b")), "v", "s3://b", "a/b/v");
        is(Datasets::of_place(&objects("s3://b")), "v", "s3://b", "v");
    }

    #[test]
    fn tables_without_passwords() {
        let lake = LakeCatalog::parse("ducklake:postgres:dbname=l host=h password=hush", Path::new("/")).unwrap();
        let lake = lake.identity(None);
        is(Datasets::of_lake(&lake, None), "main.orders", "ducklake:postgres:h:5432/l", "main.orders");
        is(Datasets::of_lake(&lake, Some("out")), "v", "ducklake:postgres:h:5432/l", "out.v");
        let url = "postgres://ann:hush@db.example:6543/app";
        let connection = tidegate_postgres::Connection::parse(url, Path::new("/")).unwrap();
        let namespace = "postgres://db.example:6543";
        is(Datasets::of_postgres(&connection, None), "public.orders", namespace, "app.public.orders");
        is(Datasets::of_postgres(&connection, Some("marts")), "v", namespace, "app.marts.v");
    }
}
