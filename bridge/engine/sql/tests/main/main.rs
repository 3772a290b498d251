//! The planner against DuckDB: expressions value by value, whole views row by row, refusals by
//! their words.

mod aggregates;
mod constructs;
mod corpora;
mod corpus;
mod expressions;
mod functions;
mod interpreter;
mod plans;
mod programs;
mod refusals;
mod views;
mod world;
