//! The engine against the oracle: random changes, every view after every epoch, names, types and
//! exact multisets.

mod asof;
mod asof_types;
mod declared_keys;
mod fork;
mod generator;
mod groups;
mod harness;
mod joins;
mod keyed;
mod names;
mod nexmark;
mod parts;
mod random;
mod rebuild;
mod recursion;
mod recursive_uses;
mod scalars;
mod sharing;
mod states;
mod thresholds;
mod time;
mod told;
mod tpcds;
mod tpch;
mod unnest;
mod window_aggregates;
mod windows;
mod zoned;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
