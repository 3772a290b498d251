//! The trial behind ADR 0002: which row format should the engine's circuits use?
//!
//! `cargo run --release -p tidegate-engine-row --example row_trial` prints one line for every shape
//! and format; with a number, the shape of so many columns alone. A row goes through what it goes through in a view: encoded from Arrow, joined with
//! a dimension, aggregated, decoded.

mod formats;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use dbsp::Runtime;
use dbsp::utils::Tup2;
use formats::{BoxedRow, ByteRow, Format};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use size_of::SizeOf;
use tidegate_engine_row::{Accumulator, WordRow};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKERS: usize = 2;
const BATCH_ROWS: usize = 100_000;
const STEP_ROWS: usize = 1_000;
const STEPS: usize = 40;
const CODINGS: usize = 20;
const RUNS: usize = 5;
const CUSTOMERS: i64 = 20_000;

/// Columns in the manner of TPC-H's `orders` (3, 4 and 8 columns) and `lineitem` (16).
fn shape(columns: usize) -> Vec<(&'static str, DataType, bool)> {
    use DataType::{Date32, Decimal128, Int32, Int64, Utf8};
    let money = || Decimal128(15, 2);
    let mut shape = vec![("custkey", Int64, false), ("price", money(), false), ("orderdate", Date32, false)];
    match columns {
        3 => {}
        4 => shape.push(("orderkey", Int64, false)),
        8 => shape.extend([
            ("orderkey", Int64, false),
            ("status 1", Utf8, false),
            ("priority 15", Utf8, false),
            ("clerk 15", Utf8, false),
            ("shippriority", Int32, true),
        ]),
        _ => shape.extend([
            ("orderkey", Int64, false),
            ("suppkey", Int64, false),
            ("linenumber", Int32, false),
            ("quantity", money(), false),
            ("discount", money(), true),
            ("tax", money(), true),
            ("shipdate", Date32, false),
            ("receiptdate", Date32, true),
            ("flag 1", Utf8, false),
            ("status 1", Utf8, false),
            ("instruct 17", Utf8, false),
            ("mode 6", Utf8, false),
            ("comment 40", Utf8, true),
        ]),
    }
    shape
}

fn column(rng: &mut StdRng, name: &str, data_type: &DataType, nullable: bool, first: i64, rows: usize) -> ArrayRef {
    let valid: Vec<bool> = (0..rows).map(|_| !nullable || rng.random_range(0..10) > 0).collect();
    let mut number = |index: usize, limit: i64| valid[index].then(|| rng.random_range(0..limit));
    match data_type {
        DataType::Int64 if name == "custkey" => {
            Arc::new((0..rows).map(|i| number(i, CUSTOMERS)).collect::<Int64Array>())
        }
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(first..first + rows as i64)),
        DataType::Int32 => Arc::new((0..rows).map(|i| number(i, 7).map(|n| n as i32)).collect::<Int32Array>()),
        DataType::Date32 => Arc::new((0..rows).map(|i| number(i, 2_500).map(|n| n as i32)).collect::<Date32Array>()),
        DataType::Utf8 => {
            let length: usize = name.split(' ').nth(1).unwrap().parse().unwrap();
            let text = |n: i64| format!("{n:0>2}TAKE BACK RETURN the regular deposits of")[..length].to_owned();
            Arc::new((0..rows).map(|i| number(i, 100).map(text)).collect::<StringArray>())
        }
        _ => {
            let money = (0..rows).map(|i| number(i, 10_000_000).map(i128::from)).collect::<Decimal128Array>();
            Arc::new(money.with_data_type(data_type.clone()))
        }
    }
}

/// Seconds that all threads of the process have computed: other programs on the machine do not
/// count.
fn cpu_seconds() -> f64 {
    let nanos = |task: std::io::Result<std::fs::DirEntry>| {
        let statistics = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse::<f64>().ok()
    };
    std::fs::read_dir("/proc/self/task").expect("Linux").filter_map(nanos).sum::<f64>() / 1e9
}

/// Figures of one run, in the order of the table's columns.
fn trial<F: Format>(shape: &[(&'static str, DataType, bool)], rows: usize) -> [f64; 6] {
    let fields: Vec<FieldRef> =
        shape.iter().map(|(n, t, null)| Arc::new(Field::new(*n, t.clone(), *null)) as _).collect();
    let bitmap = usize::from(shape.iter().any(|(.., nullable)| *nullable));
    let mut rng = StdRng::seed_from_u64(1);
    let mut batch = |first: usize, rows: usize| -> Vec<ArrayRef> {
        shape.iter().map(|(name, t, null)| column(&mut rng, name, t, *null, first as i64, rows)).collect()
    };
    let (codec, key_codec) = (F::codec(&fields), F::codec(&fields[..1]));
    let nation = Arc::new(Field::new("nation", DataType::Utf8, false)) as FieldRef;
    let nation_codec = F::codec(std::slice::from_ref(&nation));

    // Before there are threads of a circuit, whose work would be counted.
    let columns = batch(0, BATCH_ROWS);
    let values = F::encode(&codec, &columns);
    let coded = (CODINGS * BATCH_ROWS) as f64;
    let bytes = values.size_of().total_bytes() as f64 / BATCH_ROWS as f64;
    let start = cpu_seconds();
    (0..CODINGS).for_each(|_| assert_eq!(F::encode(&codec, &columns).len(), BATCH_ROWS));
    let encode = (cpu_seconds() - start) / coded * 1e9;
    let start = cpu_seconds();
    (0..CODINGS).for_each(|_| assert_eq!(F::decode(&codec, &values).len(), columns.len()));
    let decode = (cpu_seconds() - start) / coded * 1e9;

    let (mut circuit, (facts, dimension, output)) = Runtime::init_circuit(WORKERS, move |circuit| {
        let (facts, facts_input) = circuit.add_input_indexed_zset::<F, F>();
        let (customers, customers_input) = circuit.add_input_indexed_zset::<F, F>();
        let joined = facts.join_index(&customers, |_, fact, nation| Some((nation.clone(), F::concat(fact, nation))));
        let sums = joined.aggregate_linear(move |row| {
            let mut sums = Accumulator::new();
            sums.add_int(0, 1);
            sums.add_int(1, row.amount(bitmap));
            sums
        });
        Ok((facts_input, customers_input, sums.accumulate_output()))
    })
    .unwrap();

    let customers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..CUSTOMERS));
    let nations: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..CUSTOMERS).map(|n| format!("NATION {}", n % 25))));
    let keys = F::encode(&key_codec, &[customers]).into_iter();
    let nations = F::encode(&nation_codec, &[nations]);
    dimension.append(&mut keys.zip(nations).map(|(key, nation)| Tup2(key, Tup2(nation, 1))).collect());
    circuit.transaction().unwrap();

    let mut step = |first: usize, rows: usize| {
        let columns = batch(first, rows);
        let keys = F::encode(&key_codec, &columns[..1]).into_iter();
        let values = F::encode(&codec, &columns);
        let mut changes: Vec<_> = keys.zip(values).map(|(key, value)| Tup2(key, Tup2(value, 1))).collect();
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        facts.append(&mut changes);
        circuit.transaction().unwrap();
        assert!(dbsp::NumEntries::num_entries_shallow(&output.concat()) > 0);
        (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu)
    };
    let load: f64 = (0..rows).step_by(BATCH_ROWS).map(|first| step(first, BATCH_ROWS).1).sum();
    let (mut walls, cpus): (Vec<f64>, Vec<f64>) = (0..STEPS).map(|i| step(rows + i * STEP_ROWS, STEP_ROWS)).unzip();
    walls.sort_by(f64::total_cmp);
    circuit.kill().unwrap();
    let cpu = cpus.iter().sum::<f64>() / STEPS as f64;
    [encode, decode, load / rows as f64 * 1e9, cpu * 1e3, walls[STEPS / 2] * 1e3, bytes]
}

/// The least of each figure over a few runs: what disturbs a run only adds to it.
fn print<F: Format>(columns: usize, rows: usize) {
    let shape = shape(columns);
    let runs = (0..RUNS).map(|_| trial::<F>(&shape, rows));
    let [encode, decode, load, cpu, wall, bytes] =
        runs.reduce(|least, run| std::array::from_fn(|i| least[i].min(run[i]))).expect("there are runs");
    let name = F::NAME;
    println!("| {columns} | {name} | {encode:.0} | {decode:.0} | {load:.0} | {cpu:.2} | {wall:.2} | {bytes:.0} |");
}

fn main() {
    println!("| columns | format | encode ns | decode ns | load ns | step ms | step ms by the clock | bytes |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let only: Option<usize> = std::env::args().nth(1).map(|columns| columns.parse().expect("a number of columns"));
    for (columns, rows) in [(3, 1_000_000), (4, 1_000_000), (8, 500_000), (16, 300_000)] {
        if only.is_some_and(|only| only != columns) {
            continue;
        }
        print::<WordRow<2>>(columns, rows);
        print::<WordRow<3>>(columns, rows);
        print::<WordRow<4>>(columns, rows);
        print::<WordRow<8>>(columns, rows);
        print::<BoxedRow>(columns, rows);
        print::<ByteRow>(columns, rows);
    }
}
