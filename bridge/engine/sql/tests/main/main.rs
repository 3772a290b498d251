//! The planner against DuckDB: expressions value by value, whole views row by row, refusals by
//! their words.

mod aggregates;
mod asof;
mod constructs;
mod corpora;
mod corpus;
mod explain;
mod expressions;
mod functions;
mod interpreter;
mod names;
mod plans;
mod programs;
mod recursion;
mod reference;
mod refusals;
mod time;
mod views;
mod virtual_columns;
mod volatile;
mod world;
mod zoned;
