//! The shop at the end of `docs/src/cookbook.md`, made as that page says: its pipeline file, six batches, an epoch a batch.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use tempfile::TempDir;
use tidegate_duck::{Access, Duck, Extension, Options};

use crate::pipeline::tidegate;

/// A block of code on a page, without its fence.
#[derive(Debug)]
pub struct Block {
    /// What stands behind the fence.
    pub language: String,
    pub text: String,
    /// The heading above it.
    pub heading: String,
}

/// The page.
pub fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/cookbook.md")
}

/// The blocks of a page, in their order.
pub fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None::<Block>);
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.text += &format!("{line}\n"),
            (None, Some(info)) => {
                let language = info.split(' ').next().unwrap_or_default().to_owned();
                open = Some(Block { language, text: String::new(), heading: heading.clone() });
            }
            (None, None) if line.starts_with('#') => heading = line.trim_start_matches(['#', ' ']).to_owned(),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// The heading under which the pipeline file and the batches stand.
pub const SHOP: &str = "The shop";

/// The folder of the pipeline file, with all six epochs in its outputs.
pub struct Shop {
    folder: TempDir,
}

impl Shop {
    pub fn open() -> Shop {
        let shop = Shop { folder: tempfile::tempdir().unwrap() };
        let blocks = blocks(&fs::read_to_string(page()).unwrap());
        let (mut epoch, mut file) = (0, 0);
        for block in blocks.iter().filter(|block| block.heading == SHOP) {
            match block.language.as_str() {
                "toml" => {
                    fs::write(shop.file(), &block.text).unwrap();
                    file += 1;
                }
                _ => {
                    shop.inside(|| Session::start(&block.text).run());
                    epoch += 1;
                    let told = shop.tidegate("run", &["--once", "--json"]).run().expect(0).json();
                    assert_eq!((&told["epochs"], &told["epoch"]), (&1.into(), &epoch.into()), "{told}");
                }
            }
        }
        assert_eq!((file, epoch), (1, 6), "a pipeline file and six batches stand under `{SHOP}`");
        shop
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("shop.toml")
    }

    /// Changes the pipeline file.
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(from), "{from} stands in\n{text}");
        fs::write(self.file(), text.replace(from, to)).unwrap();
    }

    /// `tidegate VERB shop.toml …`.
    pub fn tidegate(&self, verb: &str, arguments: &[&str]) -> tidegate_testkit::Program {
        tidegate(&[verb, &self.file().to_string_lossy()]).arguments(arguments.iter().copied())
    }

    /// Runs something with the shop as its working folder, which DuckDB's threads share and the other tests do not.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                own_working_folder();
                std::env::set_current_dir(self.path()).unwrap();
                run()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// From now on this thread, and those that it starts, have a working folder of their own (unshare(2), CLONE_FS).
fn own_working_folder() {
    unsafe extern "C" {
        fn unshare(flags: std::ffi::c_int) -> std::ffi::c_int;
    }
    const CLONE_FS: std::ffi::c_int = 0x200;
    // SAFETY: the call takes a number and touches no memory of the program; without CLONE_FILES it leaves files as they are.
    assert_eq!(unsafe { unshare(CLONE_FS) }, 0, "{}", std::io::Error::last_os_error());
}

/// DuckDB, started as the first line of a block says, and the statements that follow.
pub struct Session {
    duck: Duck,
    statements: String,
}

impl Session {
    /// Reads `-- duckdb [-readonly] [FILE]`, and what follows.
    pub fn start(block: &str) -> Session {
        let (first, statements) = block.split_once('\n').unwrap_or_default();
        let words: Vec<&str> = first.split_whitespace().collect();
        let (access, file) = match words[..] {
            ["--", "duckdb"] => (Access::ReadWrite, None),
            ["--", "duckdb", "-readonly", file] => (Access::ReadOnly, Some(file)),
            ["--", "duckdb", file] => (Access::ReadWrite, Some(file)),
            _ => panic!("a block begins with how DuckDB is started: {block}"),
        };
        let options = Options { access, ..Options::default() };
        let duck = match file {
            Some(file) => Duck::open(Path::new(file), &options).unwrap(),
            None => Duck::open_in_memory().unwrap(),
        };
        // What DuckDB's command line fetches by itself.
        for extension in [Extension::Ducklake, Extension::SqliteScanner, Extension::Delta] {
            duck.load(extension).unwrap();
        }
        let mut text = String::new();
        for line in statements.lines() {
            match line.strip_prefix(".read ") {
                Some(file) => text += &fs::read_to_string(file).unwrap(),
                None => text += &format!("{line}\n"),
            }
        }
        Session { duck, statements: text }
    }

    /// Runs the statements.
    pub fn run(&self) {
        self.execute(&self.statements);
    }

    fn execute(&self, sql: &str) {
        self.duck.execute(sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
    }

    /// Runs the statements; the last is a query, whose rows are given as a table.
    pub fn answer(&self) -> String {
        let sql = self.statements.trim().strip_suffix(';').expect("a statement ends with ;");
        let (before, query) = sql.rsplit_once(";\n").unwrap_or(("", sql));
        self.execute(before);
        let columns = self.duck.describe_columns(query).unwrap_or_else(|error| panic!("{query}\n{error}"));
        let texts = format!("SELECT coalesce(CAST(COLUMNS(*) AS VARCHAR), 'NULL') FROM ({query})");
        let (_, batches) = self.duck.query(&texts).unwrap_or_else(|error| panic!("{texts}\n{error}"));
        let mut rows = vec![columns.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>()];
        for batch in &batches {
            rows.extend((0..batch.num_rows()).map(|row| {
                batch.columns().iter().map(|column| column.as_string::<i32>().value(row).to_owned()).collect()
            }));
        }
        let right: Vec<bool> = columns.iter().map(|(_, duckdb_type, _)| is_number(duckdb_type)).collect();
        table(&rows, &right)
    }
}

/// Whether values of a type are shown as numbers are.
fn is_number(duckdb_type: &str) -> bool {
    duckdb_type.ends_with("INT")
        || duckdb_type.starts_with("DECIMAL(")
        || ["INTEGER", "DOUBLE", "FLOAT"].contains(&duckdb_type)
}

/// Columns two blanks apart; those of numbers end below each other.
fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..right.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).zip(right).map(|((cell, &width), right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
