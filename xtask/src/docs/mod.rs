//! `cargo xtask docs`: the book, built, looked at and held to what it says. mdBook is fetched by this command alone.

mod links;
mod markup;
mod screens;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{self, Scratch};
use crate::process::{cargo, checkout, child};

/// mdBook's version, as it stands in the cache folder.
const MDBOOK: &str = "0.5.4";

/// Builds the book into `docs/book` of the target folder, checks its links, takes pictures of its pages, and runs its blocks.
pub fn run(target: &Path) -> Result<()> {
    let book = target.join("docs/book");
    build(&book)?;
    links::check(&checkout(), &book)?;
    screens::take(&book, &target.join("docs/screens"))?;
    cargo(["test", "--profile", "tests", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
        .args(["--", "book", "reference", "--nocapture"])
        .run()
}

/// Writes the pages of the reference anew.
pub fn write() -> Result<()> {
    cargo(["test", "--profile", "tests", "--workspace", "--bins", "--tests"])
        .args(["--", "reference"])
        .env("UPDATE_DOCS", "1")
        .run()
}

/// Builds the book, with nothing of an earlier one.
fn build(book: &Path) -> Result<()> {
    if book.exists() {
        fs::remove_dir_all(book).with_context(|| book.display().to_string())?;
    }
    let source = checkout().join("docs");
    child(mdbook()?).args(["build", "--dest-dir"]).args([book, source.as_path()]).run()?;
    println!("the book is in {}", book.display());
    Ok(())
}

/// mdBook, which is compiled where it is not there yet.
fn mdbook() -> Result<PathBuf> {
    let cache = cache::folder()?;
    let place = cache.join(format!("mdbook-{MDBOOK}"));
    if !place.exists() {
        eprintln!("compiling mdBook {MDBOOK} (for the book)");
        let scratch = Scratch::create(&cache)?;
        let installed = scratch.0.join("installed");
        // It builds a small book: a program that is compiled soon is better than a fast one.
        cargo(["install", "mdbook", "--locked", "--version", MDBOOK, "--debug", "--no-track"])
            .args(["--no-default-features", "--features", "search", "--root"])
            .args([&installed])
            .args(["--target-dir"])
            .args([scratch.0.join("target")])
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .run()?;
        cache::put_in_place(&installed, &place)?;
    }
    Ok(place.join("bin/mdbook"))
}
