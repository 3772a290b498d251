//! The engine against the oracle: random changes, every view after every epoch, names, types and
//! exact multisets.

mod groups;
mod harness;
mod joins;
mod keyed;
mod names;
mod parts;
mod random;
mod rebuild;
mod states;
mod told;
mod tpch;
mod windows;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
