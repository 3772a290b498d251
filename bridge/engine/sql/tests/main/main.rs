//! The planner against DuckDB: expressions value by value, whole views row by row, refusals by
//! their words.

mod aggregates;
mod asof;
mod explain;
mod expressions;
mod functions;
mod interpreter;
mod names;
mod programs;
mod recursion;
mod refusals;
mod time;
mod views;
mod volatile;
mod world;
