//! The planner against DuckDB: expressions value by value, whole views row by row, refusals by
//! their words.

mod aggregates;
mod expressions;
mod functions;
mod interpreter;
mod names;
mod programs;
mod refusals;
mod views;
mod world;
