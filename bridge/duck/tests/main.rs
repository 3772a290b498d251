//! Everything that other crates rely on of this one, against the real library.

mod arrow_types;
mod binding;
mod connections;
