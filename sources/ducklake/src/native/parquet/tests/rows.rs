//! Which rows are read, and how much is read for them.

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use parquet::file::metadata::RowGroupMetaData;

use super::World;
use crate::native::parquet::file::Group;
use crate::native::parquet::{DataFile, FileError, Wanted};

const GROUP_ROWS: u64 = 2048;

/// A table of a hundred row groups with a wide struct.
fn many_groups() -> World {
    let world = World::new();
    let wide = (0..40).map(|at| format!("'f{at}': i + {at}")).collect::<Vec<_>>().join(", ");
    world.run(&format!(
        "CALL lake.set_option('parquet_row_group_size', {GROUP_ROWS}); \
         CREATE TABLE lake.t AS SELECT i, 'text ' || i AS v, {{{wide}}} AS s, [i, i + 1] AS l FROM range(204800) r(i)"
    ));
    world
}

fn column_bytes(file: &DataFile, groups: &[u64], leaves: impl Fn(usize) -> bool) -> u64 {
    let bytes = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().enumerate().filter(|(at, _)| leaves(*at));
        columns.map(|(_, column)| column.byte_range().1).sum::<u64>()
    };
    groups.iter().map(|group| bytes(file.reader.metadata().row_group(*group as usize))).sum()
}

#[test]
fn positions_read_their_row_groups_alone() {
    let world = many_groups();
    let listed = world.data_files("t").remove(0);
    let meter = world.files.meter();
    let file = world.open(&listed);
    assert_eq!((file.rows(), file.groups().len()), (204_800, 100));
    assert_eq!((meter.requests(), meter.bytes()), (1, listed.footer_size + 8));
    world.open(&listed);
    assert_eq!(meter.requests(), 1, "the footer is kept");

    let (columns, schema, all) = world.expected("t");
    let wanted = vec![5, 3 * GROUP_ROWS + 7, 3 * GROUP_ROWS + 8];
    let (read, positions, _) = world.read_as(&listed, &columns, &schema, &Wanted::Positions(wanted.clone())).unwrap();
    assert_eq!(positions, wanted);
    assert_eq!(read, take_record_batch(&all, &UInt64Array::from(wanted)).unwrap());
    let expected = column_bytes(&file, &[0, 3], |_| true);
    assert_eq!(meter.bytes() - listed.footer_size - 8, expected);
    assert!(expected * 20 < listed.size, "{expected} of {}", listed.size);
    assert_eq!(meter.requests(), 3, "the chunks of a row group lie side by side");

    // Two of the columns.
    let before = meter.bytes();
    let two = std::sync::Arc::new(schema.project(&[0, 1]).unwrap());
    let (read, _, _) = world.read_as(&listed, &columns[..2], &two, &Wanted::Positions(vec![204_799])).unwrap();
    assert_eq!(read, all.project(&[0, 1]).unwrap().slice(204_799, 1));
    assert_eq!(meter.bytes() - before, column_bytes(&file, &[99], |leaf| leaf < 2));

    let twice = Wanted::Positions(vec![9, 2, 9]);
    assert_eq!(world.read_as(&listed, &columns, &schema, &twice).unwrap().1, [2, 9]);
    let (read, positions, _) = world.read_as(&listed, &columns, &schema, &Wanted::Positions(Vec::new())).unwrap();
    assert_eq!((read.num_rows(), positions.len()), (0, 0));
    let error = world.read_as(&listed, &columns, &schema, &Wanted::Positions(vec![204_800])).unwrap_err();
    assert!(matches!(error, FileError::Contradiction { .. }), "{error}");
    world.check("t");
}

#[test]
fn merged_files_say_when_rows_were_inserted() {
    let world = World::new();
    world.run(
        "CALL lake.set_option('parquet_row_group_size', 2048); CREATE TABLE lake.t (i INTEGER, snapshot_id VARCHAR)",
    );
    let mut inserted = Vec::new();
    for round in 0..4 {
        world.run(&format!("INSERT INTO lake.t SELECT {round} * 10000 + i, 'v' || i FROM range(3000) r(i)"));
        inserted.push(world.lake.snapshot());
    }
    world.run("CALL ducklake_merge_adjacent_files('lake')");
    let files = world.data_files("t");
    assert_eq!(files.len(), 1);
    let file = world.open(&files[0]);
    assert!(file.has_snapshot_ids());
    assert_eq!(file.snapshot_ids_max(), inserted.last().copied());
    assert!(file.groups().len() > 1);
    let all = world.check("t");

    let snapshot_of = |row: usize| inserted[row / 3000];
    let (_, _, snapshots) = world.read("t", &files[0], &Wanted::All).unwrap();
    assert_eq!(snapshots, Some((0..12_000).map(snapshot_of).collect()));
    let (_, _, snapshots) = world.read("t", &files[0], &Wanted::Positions(vec![2999, 3000, 11_999])).unwrap();
    assert_eq!(snapshots, Some(vec![inserted[0], inserted[1], inserted[3]]));

    let (columns, schema, _) = world.expected("t");
    for (after, to) in
        [(0, 1_000_000), (inserted[0], inserted[1]), (inserted[1], inserted[3]), (inserted[3], 1_000_000)]
    {
        let before = world.files.meter().bytes();
        let wanted = Wanted::Snapshots { after, to };
        let (read, positions, snapshots) = world.read_as(&files[0], &columns, &schema, &wanted).unwrap();
        let rows: Vec<u64> = (0..12_000).filter(|row| (after + 1..=to).contains(&snapshot_of(*row as usize))).collect();
        assert_eq!(positions, rows);
        assert_eq!(snapshots, Some(rows.iter().map(|row| snapshot_of(*row as usize)).collect()));
        assert_eq!(read, take_record_batch(&all, &UInt64Array::from(rows.clone())).unwrap());
        let span = |group: &Group| group.first..group.first + group.rows as u64;
        let holds = |group: &&Group| rows.iter().any(|row| span(group).contains(row));
        let groups: Vec<u64> = file.groups().iter().filter(holds).map(|group| group.at as u64).collect();
        // The snapshots are read first, and with them none again.
        assert_eq!(world.files.meter().bytes() - before, column_bytes(&file, &groups, |_| true), "({after}, {to}]");
    }
}

#[test]
fn a_file_without_snapshots_is_not_searched_for_them() {
    let world = World::new();
    // The name alone does not make it the column of the snapshots.
    world.run(
        "CREATE TABLE lake.t (_ducklake_internal_snapshot_id BIGINT, _ducklake_internal_row_id BIGINT, a INTEGER); \
         INSERT INTO lake.t VALUES (1, 2, 3), (3, 4, 5)",
    );
    let files = world.data_files("t");
    let file = world.open(&files[0]);
    assert_eq!((file.has_snapshot_ids(), file.snapshot_ids_max()), (false, None));
    let error = world.read("t", &files[0], &Wanted::Snapshots { after: 0, to: 9 }).unwrap_err();
    assert!(error.to_string().contains("no snapshots of their own"), "{error}");
    world.check("t");
}

#[test]
fn updates_of_merged_files_keep_their_row_ids_out_of_the_way() {
    let world = World::new();
    world.run("CREATE TABLE lake.t AS SELECT i, 'v' || i AS v FROM range(100) r(i)");
    world.run("UPDATE lake.t SET v = 'new' WHERE i < 10");
    for listed in world.data_files("t") {
        world.read("t", &listed, &Wanted::All).unwrap();
    }
    let files = world.data_files("t");
    let (read, _, _) = world.read("t", files.last().unwrap(), &Wanted::All).unwrap();
    assert_eq!((read.num_rows(), read.num_columns()), (10, 2));
}

#[test]
fn delete_files_name_positions() {
    let world = World::new();
    world.run("CREATE TABLE lake.t AS SELECT i FROM range(100000) r(i)");
    world.run("DELETE FROM lake.t WHERE i % 10 = 3");
    let deletes = |at: usize| {
        let listed = world.delete_files("t");
        world.files.read_deletes(&world.open(&listed[at])).unwrap()
    };
    let tens: Vec<_> = (0..10_000).map(|i| (i * 10 + 3, None)).collect();
    assert_eq!(deletes(0), tens);
    let first = world.lake.snapshot();
    world.run("DELETE FROM lake.t WHERE i % 10 = 1");
    let second = world.lake.snapshot();
    // DuckLake replaces the file by one that covers both deletes, or adds another.
    let listed = world.delete_files("t");
    let found: Vec<_> = (0..listed.len()).flat_map(deletes).collect();
    let both: Vec<_> = (0..100_000)
        .filter_map(|i| match i % 10 {
            1 => Some((i, Some(second))),
            3 => Some((i, Some(first))),
            _ => None,
        })
        .collect();
    assert_eq!(found, both);
    let data = world.data_files("t").remove(0);
    assert!(matches!(world.files.read_deletes(&world.open(&data)), Err(FileError::Contradiction { .. })));
}
