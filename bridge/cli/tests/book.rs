//! The book and the README: every block of code on their pages is run, read, compared, or says why not. `docs/README.md` has the
//! marks by which a page says what becomes of a block.

mod blocks;
mod fragments;
mod session;
mod validator;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use blocks::{Block, Fate, Language, Page};
use session::Session;

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    /// DuckDB or a shell ran it, or the program read or checked it.
    Run,
    /// What the block before it printed is what it shows.
    Compared,
    /// It is a file of the repository, or another test runs it.
    Held,
    /// It can be parsed as what it says it is.
    Parsed,
    /// It is prose in another font: nothing can be run.
    Text,
    /// It is not run, and says why.
    Ignored,
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every page that is held: the book's, and the README.
fn pages() -> Vec<Page> {
    let mut files = vec![repository().join("README.md")];
    let mut folders = vec![repository().join("docs/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files.iter().map(|file| Page::read(&repository(), file)).collect()
}

/// What a mark that names a file of the repository finds there.
fn named_file(file: &str) -> Result<String, String> {
    fs::read_to_string(repository().join(file)).map_err(|error| format!("{file} cannot be read: {error}"))
}

/// Does with a block what it asks for.
fn take(page: &Page, block: &Block, session: &mut Session) -> Result<Became, String> {
    match &block.fate {
        Fate::Ignored => return Ok(Became::Ignored),
        Fate::Held(test) => {
            let name = Path::new(&page.name).file_name().unwrap_or_default().to_string_lossy();
            return match named_file(test)?.contains(&*name) {
                true => Ok(Became::Held),
                false => Err(format!("{test} shall hold this block, and does not name {name}")),
            };
        }
        Fate::Same(file) => {
            return match named_file(file)? == block.text {
                true => Ok(Became::Held),
                false => Err(format!("this is not {file} any more: copy the one that is right")),
            };
        }
        Fate::Run => {}
    }
    if let Some(file) = &block.file {
        session.write(file, &block.text)?;
    }
    match block.language {
        Language::Toml => fragments::read(&block.text, block.value.as_ref(), session).map(|_| Became::Run),
        Language::Sql if block.view => session.views(&block.text).map(|()| Became::Run),
        // It is for the pipeline file that names it.
        Language::Sql | Language::Sh if block.file.is_some() => Ok(Became::Run),
        Language::Sql => session.sql(&block.text).map(|()| Became::Run),
        Language::Sh => session.sh(&block.text, block.exit).map(|()| Became::Run),
        Language::Console => session.console(&block.text).map(|()| Became::Run),
        Language::Json => parsed(&block.text).map(|()| Became::Parsed),
        Language::Text if block.output => session.printed(&block.text).map(|()| Became::Compared),
        Language::Text => Ok(Became::Text),
        Language::Other => Err("nothing here runs this language: mark it `same=`, `held=` or `ignore=`".to_owned()),
    }
}

/// One JSON value, or one a line.
fn parsed(text: &str) -> Result<(), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    values.try_for_each(|value| value.map(|_| ())).map_err(|error| error.to_string())
}

/// Runs a page from its beginning to its end; a block that fails ends it.
fn run(page: &Page) -> (Vec<Became>, Vec<String>) {
    let mut faults = page.faults.clone();
    let mut became = Vec::new();
    let mut session = Session::begin(page.needs_postgres);
    for block in &page.blocks {
        match take(page, block, &mut session) {
            Ok(one) => became.push(one),
            Err(fault) => {
                faults.push(format!("{}:{}: {fault}", page.name, block.line));
                break;
            }
        }
    }
    (became, faults)
}

#[test]
fn the_blocks_of_the_book_are_run() {
    let only = std::env::var("TIDEGATE_BOOK_PAGE").ok();
    let mut pages = pages();
    pages.retain(|page| only.as_ref().is_none_or(|only| page.name.ends_with(only.as_str())));
    assert!(!pages.is_empty(), "there is no such page: {only:?}");
    // Those that run something take longest.
    pages.sort_by_key(|page| page.blocks.iter().filter(|block| block.fate == Fate::Run).count());
    let queue = Mutex::new(pages);
    let found = Mutex::new((BTreeMap::<Became, usize>::new(), Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(page) = { queue.lock().unwrap().pop() } {
                    let begin = Instant::now();
                    let (became, faults) = run(&page);
                    let mut found = found.lock().unwrap();
                    let blocks = page.blocks.len();
                    found.2.push(format!("{:5.1} s  {blocks:3} blocks  {}", begin.elapsed().as_secs_f64(), page.name));
                    became.iter().for_each(|one| *found.0.entry(*one).or_default() += 1);
                    found.1.extend(faults);
                }
            });
        }
    });
    let (counts, mut faults, mut times) = found.into_inner().unwrap();
    times.sort_by(|one, other| other.cmp(one));
    println!("{}", times.join("\n"));
    println!("blocks: {counts:?}");
    faults.sort();
    assert!(faults.is_empty(), "{} faults in the book:\n\n{}", faults.len(), faults.join("\n\n"));
}

/// The pipeline files that the repository has, with their names.
fn pipeline_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in ["bridge/cli/src/commands/init/pipeline.toml", "demos/orders/pipeline.toml"] {
        found.push((file.to_owned(), named_file(file).unwrap()));
    }
    for page in pages() {
        for block in page.blocks {
            if block.language == Language::Toml && block.fate == Fate::Run {
                found.push((format!("{}:{}", page.name, block.line), fragments::completed(&block.text).unwrap()));
            }
        }
    }
    found
}

#[test]
fn the_schema_takes_the_pipeline_files_of_the_book() {
    let schema =
        tidegate_testkit::Program::new(env!("CARGO_BIN_EXE_tidegate")).arguments(["schema"]).run().expect(0).json();
    let files = pipeline_files();
    assert!(files.len() > 20, "there are more than {} pipeline files in the book", files.len());
    let texts: Vec<String> = files.iter().map(|(_, text)| text.clone()).collect();
    for ((name, text), faults) in files.iter().zip(validator::faults(&schema, &texts)) {
        assert!(faults.is_empty(), "{name}: {faults:?}\n{text}");
    }
    // A key that is misspelt anywhere is seen: the last key of each file gets another letter.
    let misspelt = |text: &String| {
        let key = text.lines().rfind(|line| {
            line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        });
        let key = key.unwrap_or_else(|| panic!("a file has keys: {text}"));
        let at = text.rfind(key).unwrap_or_default();
        format!("{}x{}", &text[..at], &text[at..])
    };
    let texts: Vec<String> = texts.iter().map(misspelt).collect();
    for (text, faults) in texts.iter().zip(validator::faults(&schema, &texts)) {
        assert!(!faults.is_empty(), "the schema takes this:\n{text}");
    }
}
