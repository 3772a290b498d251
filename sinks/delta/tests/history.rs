//! Random histories of a view over rows of every type.

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::{EpochHeader, RowIdentity, ViewCommit};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::rows;

/// Column types, each with values that are written, compared or grouped in odd ways. NULL comes to
/// every column by itself.
const TYPES: &[(&str, &[&str])] = &[
    ("BIGINT", &["0", "9223372036854775807"]),
    ("HUGEINT", &["-99999999999999999999999999999999999999", "0"]),
    ("DOUBLE", &["'nan'", "'-0.0'", "0.0", "'inf'"]),
    ("FLOAT", &["'-0.0'", "0.1"]),
    ("DECIMAL(38,10)", &["-1234567890123456789012345678.0123456789", "1"]),
    ("VARCHAR", &["''", "'it''s \"ü\" 🦆'", "'NULL'"]),
    ("UUID", &["'00112233-4455-6677-8899-aabbccddeeff'"]),
    ("BLOB", &["''", "'\\x00\\xFF'"]),
    ("BOOLEAN", &["true", "false"]),
    ("DATE", &["'infinity'", "'0001-01-01'"]),
    ("TIMESTAMP", &["'-infinity'", "'1969-12-31 23:59:59.999999'"]),
    ("TIMESTAMP WITH TIME ZONE", &["'infinity'", "'2024-06-01 12:00:00+02'"]),
    ("TIMESTAMP_S", &["'1969-12-31 23:59:59'"]),
    ("TIMESTAMP_NS", &["'1969-12-31 23:59:59.999999999'"]),
    ("TIME", &["'23:59:59.999999'"]),
    ("INTERVAL", &["'1 month'", "'30 days'", "'-14 months 3 days -1 microsecond'"]),
    ("INTERVAL[]", &["['1 month'::INTERVAL, NULL]", "[]"]),
    ("DOUBLE[]", &["['-0.0'::DOUBLE, 'nan', NULL]", "[0.0::DOUBLE, 'nan', NULL]", "[]"]),
    ("INTEGER[2]", &["[1, NULL]"]),
    (
        "STRUCT(a HUGEINT, \"b c\" STRUCT(u UUID, i INTERVAL)[])",
        &[
            "{'a': 1, 'b c': [{'u': '00112233-4455-6677-8899-aabbccddeeff', 'i': '1 day'}, NULL]}",
            "{'a': NULL, 'b c': NULL}",
        ],
    ),
    ("MAP(VARCHAR, DOUBLE)", &["MAP {'k': 0.0::DOUBLE}", "MAP {'k': '-0.0'::DOUBLE}", "MAP {}"]),
    ("JSON", &["'{\"a\": [1, null]}'"]),
];

/// Distinct rows that a history draws from.
const POOL: usize = 60;
/// Different rows under one key.
const VERSIONS: usize = 5;

/// A view, the rows it may have and how often it has each.
pub struct History {
    pub view: ViewModel,
    random: StdRng,
    pool: RecordBatch,
    copies: Vec<usize>,
    epoch: u64,
    /// The rows at the end of each epoch, from epoch 0 on.
    pub past: Vec<Multiset>,
}

impl History {
    /// A view without rows. Under a key, its first two columns are the key.
    pub fn new(name: &str, seed: u64, keyed: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Names that collide with what the sinks use themselves, but for case or a letter.
        let odd = ["epoch", "weight", "copies", "Bits", "from_epoch", "c0", "row", "id", "total", "view", "s", "t"];
        let names: Vec<String> = (0..TYPES.len() + 2)
            .map(|index| odd.get(index).map_or_else(|| format!("Column \"{index}\""), |name| (*name).to_owned()))
            .collect();
        let types = ["INTEGER", "DOUBLE"].into_iter().chain(TYPES.iter().map(|(duckdb_type, _)| *duckdb_type));
        let columns: Vec<_> = names.iter().map(String::as_str).zip(types).collect();
        let identity = if keyed { RowIdentity::Key(vec![0, 1]) } else { RowIdentity::WholeRow };
        let view = ViewModel::new(name, &columns, identity);
        let rows: Vec<String> = (0..POOL).map(|index| row(index, keyed, &mut random)).collect();
        let pool = rows::batch(view.schema(), &rows.join(", "));
        History { view, random, pool, copies: vec![0; POOL], epoch: 0, past: vec![Multiset::new()] }
    }

    /// The last epoch.
    pub fn header(&self) -> EpochHeader {
        header(self.epoch)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// A commit of the next one to three epochs, some of which change nothing.
    pub fn advance(&mut self) -> ViewCommit {
        let mut deltas = Vec::new();
        for _ in 0..self.random.random_range(1..=3) {
            self.epoch += 1;
            self.mutate();
            let indices: UInt64Array =
                self.copies.iter().enumerate().flat_map(|(row, n)| std::iter::repeat_n(row as u64, *n)).collect();
            let rows = take_record_batch(&self.pool, &indices).unwrap();
            let delta = self.view.change_to_batch(&rows);
            if !delta.is_empty() {
                deltas.push((header(self.epoch), delta));
            }
            self.past.push(self.view.multiset());
        }
        self.view.changes(deltas)
    }

    /// A commit of the whole content as the next epoch.
    pub fn replace(&mut self) -> ViewCommit {
        self.epoch += 1;
        self.past.push(self.view.multiset());
        self.view.replacement(self.header())
    }

    fn mutate(&mut self) {
        let touched = *[0, 1, 3, 10, POOL].choose(&mut self.random).unwrap();
        for _ in 0..touched {
            let row = self.below(POOL);
            if matches!(self.view.info().identity, RowIdentity::Key(_)) {
                let key = row / VERSIONS;
                self.copies[key * VERSIONS..(key + 1) * VERSIONS].fill(0);
                self.copies[row] = self.below(2);
            } else {
                self.copies[row] = self.below(4);
            }
        }
    }
}

/// A row as SQL. The first column tells the rows, or the keys, of the pool apart, but for a few
/// rows that are nearly NULL.
fn row(index: usize, keyed: bool, random: &mut StdRng) -> String {
    let id = if keyed { index / VERSIONS } else { index / 2 };
    let first = if id == 0 { "NULL".to_owned() } else { id.to_string() };
    let second = match id % 3 {
        0 => "NULL".to_owned(),
        1 => "'nan'".to_owned(),
        _ => ["0.0", "'-0.0'"][index % 2].to_owned(),
    };
    let mut values = vec![first, second];
    let types = ["INTEGER", "DOUBLE"].into_iter().chain(TYPES.iter().map(|(duckdb_type, _)| *duckdb_type));
    for (_, choices) in TYPES {
        let choice = random.random_range(0..=choices.len());
        values.push(choices.get(choice).copied().unwrap_or("NULL").to_owned());
    }
    let typed = values.iter().zip(types).map(|(value, duckdb_type)| format!("CAST({value} AS {duckdb_type})"));
    format!("({})", typed.collect::<Vec<_>>().join(", "))
}
