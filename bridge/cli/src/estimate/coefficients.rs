//! The figures of the model, and how far off its estimates were when they were measured. The page `docs/src/capacity.md` has the
//! same ones for its calculator, which a test holds to these.
//!
//! Measured with pipelines of all the shapes that `cargo xtask bench estimate` runs, on an AMD EPYC with 2 cores, DuckDB 1.5.5, dbsp
//! 0.349.0; epochs with state in files, as after a restart. A test holds them to the loads and epochs of `docs/performance.md`, too.

use serde::Serialize;

/// What a row, a value or a step costs. Bytes are of disks unless the name says memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Coefficients {
    /// Of each trace with rows in it.
    pub trace_bytes: f64,
    /// Of each row of a trace, whatever is in it.
    pub trace_row_bytes: f64,
    /// Of each value of fixed width, compressed with its neighbours.
    pub number_bytes: f64,
    /// Of each byte of text.
    pub text_byte_bytes: f64,
    /// Of each epoch in the input log.
    pub log_record_bytes: f64,
    /// Of each changed table in it.
    pub log_table_bytes: f64,
    /// Of each column of such a table.
    pub log_column_bytes: f64,
    /// Of the process without any state: memory.
    pub memory_base_bytes: f64,
    /// Of each row of a trace while it is loaded: memory.
    pub memory_row_bytes: f64,
    /// Of each of its words beyond four: memory.
    pub memory_word_bytes: f64,
    /// From the start of the process to the first row.
    pub load_start_ms: f64,
    /// To read and encode a row.
    pub load_read_ns: f64,
    /// To sort and merge a row into a trace.
    pub load_trace_ns: f64,
    /// To make a row of a join.
    pub load_join_ns: f64,
    /// To add a row to its group.
    pub load_group_ns: f64,
    /// To keep a row of a view.
    pub load_view_ns: f64,
    /// To write a row of a view into a sink.
    pub load_sink_ns: f64,
    /// How much longer all but that takes where the state does not fit into `memory_limit`.
    pub spill_factor: f64,
    /// Of each view that has changes.
    pub epoch_view_ms: f64,
    /// To read and encode a changed row.
    pub epoch_read_ns: f64,
    /// To keep it in a trace.
    pub epoch_trace_ns: f64,
    /// To find what it meets in one: the rows of a join, or its like under DISTINCT.
    pub epoch_find_ns: f64,
    /// To find a touched group and move its sums.
    pub epoch_group_ns: f64,
    /// To keep a changed row of a view.
    pub epoch_row_ns: f64,
    /// To compute a row of a touched partition anew.
    pub epoch_recompute_ns: f64,
}

/// As they were measured.
pub const COEFFICIENTS: Coefficients = Coefficients {
    trace_bytes: 2_500.0,
    trace_row_bytes: 3.0,
    number_bytes: 5.1,
    text_byte_bytes: 0.9,
    log_record_bytes: 500.0,
    log_table_bytes: 620.0,
    log_column_bytes: 210.0,
    memory_base_bytes: 314_572_800.0,
    memory_row_bytes: 160.0,
    memory_word_bytes: 16.0,
    load_start_ms: 100.0,
    load_read_ns: 20.0,
    load_trace_ns: 450.0,
    load_join_ns: 400.0,
    load_group_ns: 280.0,
    load_view_ns: 200.0,
    load_sink_ns: 400.0,
    spill_factor: 3.0,
    epoch_view_ms: 0.5,
    epoch_read_ns: 150.0,
    epoch_trace_ns: 300.0,
    epoch_find_ns: 3_500.0,
    epoch_group_ns: 4_000.0,
    epoch_row_ns: 200.0,
    epoch_recompute_ns: 12_000.0,
};

/// How far off estimates were, as factors, where the numbers of rows, groups and changes were right.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Error {
    /// How many pipelines were measured.
    pub pipelines: u32,
    /// Bytes of state, log and memory.
    pub bytes: f64,
    /// Times of loads and epochs.
    pub times: f64,
}

/// What the tests and `cargo xtask bench estimate` hold it to.
pub const ERROR: Error = Error { pipelines: 12, bytes: 2.0, times: 3.0 };
