//! Encrypted files.

use tidegate_core::ErrorKind;
use tidegate_testkit::{Catalog, Lake};

use super::World;
use crate::native::parquet::{FileEntry, FileError, Wanted};

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create_encrypted(dir.path(), Catalog::duckdb(dir.path()));
    World::of(dir, lake)
}

const ROWS: &str = "SELECT i::INTEGER AS i, CASE WHEN i % 7 > 0 THEN 'v' || (i % 100) END AS v, i * 1.5::DOUBLE AS d, \
                    DATE '2024-01-01' + (i % 50)::INTEGER AS day, INTERVAL (i) MONTH AS months, [i, NULL] AS l, \
                    {'a': i, 'b': {'c': 'x' || i}} AS s, MAP {'k': i} AS m, i::HUGEINT AS h, (i % 90)::DECIMAL(9, 2) AS n \
                    FROM range(10000) r(i)";

#[test]
fn encrypted_files_are_read_like_others() {
    let world = world();
    for (at, (option, value)) in [
        ("parquet_compression", "snappy"),
        ("parquet_compression", "zstd"),
        ("parquet_compression", "uncompressed"),
        ("parquet_version", "2"),
    ]
    .into_iter()
    .enumerate()
    {
        world.run(&format!(
            "CALL lake.set_option('parquet_row_group_size', 2048); CALL lake.set_option('{option}', '{value}')"
        ));
        world.run(&format!("CREATE TABLE lake.t{at} AS {ROWS}"));
        let table = format!("t{at}");
        let listed = world.data_files(&table);
        assert!(listed.iter().all(|file| file.key.is_some()) && world.open(&listed[0]).groups().len() > 3);
        world.check(&table);
    }
}

#[test]
fn rows_by_position_cost_their_row_groups() {
    let world = world();
    world.run("CALL lake.set_option('parquet_row_group_size', 2048)");
    world.run(&format!("CREATE TABLE lake.t AS {ROWS}"));
    let (_, _, expected) = world.expected("t");
    let listed = world.data_files("t").remove(0);
    world.open(&listed);
    let before = world.files.meter().bytes();
    let (found, positions, _) = world.read("t", &listed, &Wanted::Positions(vec![1, 2047])).unwrap();
    let read = world.files.meter().bytes() - before;
    assert_eq!(positions, [1, 2047]);
    assert_eq!((found.slice(0, 1), found.slice(1, 1)), (expected.slice(1, 1), expected.slice(2047, 1)));
    assert!(read > 0 && read * 3 < listed.size, "{read} of {} bytes were read", listed.size);
}

#[test]
fn encrypted_delete_files_are_read_like_others() {
    let world = world();
    world.run(&format!("CREATE TABLE lake.t AS {ROWS}"));
    world.run("DELETE FROM lake.t WHERE i IN (3, 5)");
    world.run("DELETE FROM lake.t WHERE i = 4");
    let listed = world.delete_files("t").remove(0);
    let positions = world.files.read_deletes(&world.open(&listed)).unwrap();
    assert_eq!(positions.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn files_that_no_key_opens_are_named_without_the_key() {
    let world = world();
    world.run("CREATE TABLE lake.t AS SELECT i FROM range(1000) r(i)");
    let listed = world.data_files("t").remove(0);
    for key in [None, Some("MDEyMzQ1Njc4OWFiY2RlZg=="), Some("MDEy"), Some("no base64!")] {
        let (path, footer_size) = (listed.path.as_str(), Some(listed.footer_size));
        let entry = FileEntry { path, size: listed.size, footer_size, encryption_key: key };
        let error = world.files.open(&entry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        let message = error.to_string();
        assert!(matches!(error, FileError::Encrypted { .. }) && message.contains(path), "{message}");
        assert!(
            message.contains("reader = \"extension\"") && !key.is_some_and(|key| message.contains(key)),
            "{message}"
        );
    }
    world.check("t");
}

#[test]
fn a_damaged_page_is_no_row() {
    let world = world();
    world.run("CREATE TABLE lake.t AS SELECT i FROM range(1000) r(i)");
    let listed = world.data_files("t").remove(0);
    let (columns, schema, _) = world.expected("t");
    let mut content = std::fs::read(&listed.path).unwrap();
    content[100] ^= 1;
    std::fs::write(&listed.path, content).unwrap();
    let error = world.read_as(&listed, &columns, &schema, &Wanted::All).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("cannot be decrypted"), "{error}");
}
