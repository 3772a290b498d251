//! Files that are not there, or not what the catalog says.

use tidegate_core::ErrorKind;

use super::{Listed, World};
use crate::native::parquet::{FileEntry, FileError, Matching, Reading, Wanted};
use tidegate_duck::Flow;

fn world() -> (World, Listed) {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (a INTEGER, s STRUCT(x INTEGER)); INSERT INTO lake.t VALUES (1, {'x': 2}), (NULL, NULL)",
    );
    let listed = world.data_files("t").remove(0);
    (world, listed)
}

#[test]
fn a_file_that_is_gone_is_told_apart() {
    let (world, listed) = world();
    std::fs::remove_file(&listed.path).unwrap();
    let error = world.try_open(&listed).unwrap_err();
    assert!(matches!(&error, FileError::Gone { file } if *file == listed.path), "{error}");
}

#[test]
fn a_file_that_goes_after_its_footer_was_read() {
    let (world, listed) = world();
    world.open(&listed);
    let (columns, schema, _) = world.expected("t");
    std::fs::remove_file(&listed.path).unwrap();
    let error = world.read_as(&listed, &columns, &schema, &Wanted::All).unwrap_err();
    assert!(matches!(error, FileError::Gone { .. }), "{error}");
}

#[test]
fn files_that_are_damaged_are_named() {
    let (world, listed) = world();
    let good = std::fs::read(&listed.path).unwrap();
    let refusal = |content: &[u8], listed: &Listed| {
        std::fs::write(&listed.path, content).unwrap();
        let error = world.try_open(listed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        let message = error.to_string();
        assert!(message.contains(&listed.path), "{message}");
        message
    };
    assert!(refusal(&good[..good.len() - 10], &listed).contains("shorter than"));
    assert!(refusal(&[b"more", &good[..]].concat(), &listed).contains("no Parquet file ends at its byte"));
    assert!(refusal(&vec![0; good.len()], &listed).contains("no Parquet file"));
    let mut bad = good.clone();
    let at = good.len() - 8 - listed.footer_size as usize;
    bad[at..at + 20].fill(0xFF);
    assert!(refusal(&bad, &listed).contains("its footer cannot be read"));
    let other = Listed { footer_size: listed.footer_size - 1, ..listed.clone() };
    assert!(refusal(&good, &other).contains("the catalog says"));
    std::fs::write(&listed.path, &good).unwrap();
    world.open(&listed);

    // Without the size of the footer it is found all the same.
    let entry = FileEntry { path: &listed.path, size: listed.size, footer_size: None, encryption_key: None };
    assert_eq!(world.files.open(&entry).unwrap().rows(), 2);
}

#[test]
fn pages_that_are_damaged_are_no_rows() {
    let (world, listed) = world();
    let (columns, schema, _) = world.expected("t");
    let mut content = std::fs::read(&listed.path).unwrap();
    let data = content.len() - 8 - listed.footer_size as usize;
    content[4..data].fill(0xAB);
    std::fs::write(&listed.path, content).unwrap();
    let error = world.read_as(&listed, &columns, &schema, &Wanted::All).unwrap_err();
    assert!(error.to_string().contains("cannot be decoded"), "{error}");
}

#[test]
fn columns_of_another_shape_are_not_read() {
    let (world, listed) = world();
    let (mut columns, schema, _) = world.expected("t");
    columns.swap(0, 1);
    let error = world.read_as(&listed, &columns, &schema, &Wanted::All).unwrap_err();
    assert!(matches!(error, FileError::Description { .. }), "{error}");
    let id = columns[0].id;
    columns.swap(0, 1);
    (columns[1].id, columns[0].id) = (columns[0].id, id);
    let error = world.read_as(&listed, &columns, &schema, &Wanted::All).unwrap_err();
    let error = tidegate_core::ConnectorError::from(error.in_lake("lake"));
    let message = error.to_string();
    assert!(message.contains("column a is a STRUCT there and INTEGER in the catalog"), "{message}");
    assert!(message.starts_with("source lake: the file ") && message.contains(&listed.path), "{message}");
    assert_eq!(error.kind(), ErrorKind::Stop);
}

#[test]
fn files_without_field_ids_or_a_mapping_are_left_to_the_extension() {
    let world = World::new();
    let path = world.dir.path().join("plain.parquet");
    world.run(&format!("COPY (SELECT 1 AS a) TO '{}' (FORMAT parquet)", path.display()));
    world.run("CREATE TABLE lake.t (a INTEGER)");
    world.run("INSERT INTO lake.t VALUES (1)");
    let (columns, schema, _) = world.expected("t");
    let size = std::fs::metadata(&path).unwrap().len();
    let path = path.to_string_lossy();
    let file = world.files.open(&FileEntry { path: &path, size, footer_size: None, encryption_key: None }).unwrap();
    let matching = Matching::FieldIds;
    let reading = Reading { columns: &columns, schema: &schema, matching: &matching, wanted: &Wanted::All };
    let error = world.files.read(&file, &reading, |_, _, _| Ok::<_, FileError>(Flow::Continue)).unwrap_err();
    assert!(error.to_string().contains("without field ids") && error.to_string().contains("\"extension\""), "{error}");
}

#[test]
fn values_that_do_not_fit_are_refused_without_being_shown() {
    let world = World::new();
    world.run("CREATE TABLE lake.t (a BIGINT, h DOUBLE); INSERT INTO lake.t VALUES (4711471147, 1e39)");
    let listed = world.data_files("t").remove(0);
    let (columns, _, _) = world.expected("t");
    for (at, narrow) in [(0, "INTEGER"), (1, "HUGEINT")] {
        let mut column = columns[at].clone();
        column.field = std::sync::Arc::new(tidegate_core::duckdb_type::field("v", narrow, true).unwrap());
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(vec![column.field.clone()]));
        let error = world.read_as(&listed, &[column], &schema, &Wanted::All).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error:?}");
        let message = tidegate_core::chain(&error);
        assert!(message.contains(&listed.path) && !message.contains("4711") && !message.contains("e39"), "{message}");
    }
}
