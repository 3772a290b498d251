//! The engine against the oracle: random changes, every view after every epoch, names, types and
//! exact multisets.

mod groups;
mod harness;
mod joins;
mod keyed;
mod nexmark;
mod parts;
mod random;
mod rebuild;
mod scalars;
mod states;
mod told;
mod tpcds;
mod tpch;
mod windows;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
