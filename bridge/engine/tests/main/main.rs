//! The engine against the oracle: random changes, every view after every epoch, names, types and
//! exact multisets.

mod harness;
mod keyed;
mod random;
mod rebuild;
