//! `tidegate asof --key`: one row as it was, from marts with one and with ten million versions of a million keys. A real
//! pipeline made them: a lake, a tracked table, a DuckDB sink. The program is asked as a person asks it; what it takes to
//! start it is measured beside. Its question alone is asked inside this process, in a file just opened and in an open one.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_duck::{Duck, quote_literal};
use tidegate_testkit::bench::{median, percentile, settle, timed};
use tidegate_testkit::{Catalog, Lake};

use crate::Bench;

const KEYS: u64 = 1_000_000;
/// How many in a hundred keys change, epoch by epoch; the last ones stay where versions that ended lately are.
const ROUNDS: [u64; 10] = [100, 100, 100, 100, 100, 100, 100, 100, 60, 40];
const ASKS: u64 = 41;
const LIMIT_MS: f64 = 10.0;

struct Mart {
    folder: tempfile::TempDir,
    lake: Lake,
    keys: u64,
}

impl Mart {
    fn new(keys: u64) -> Mart {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
        lake.execute("CREATE TABLE lake.orders (id BIGINT, region VARCHAR, amount BIGINT, note VARCHAR)");
        lake.execute(&format!(
            "INSERT INTO lake.orders SELECT i, 'region ' || i % 50, 0, 'note ' || hash(i) % 1000000 FROM range({keys}) r(i)"
        ));
        let mart = Mart { folder, lake, keys };
        let quoted = |path: PathBuf| format!("{:?}", path.to_string_lossy());
        let text = format!(
            "[pipeline]\nname = \"bench\"\nstate_dir = {}\n\n[sources.lake]\ntype = \"ducklake\"\ncatalog = {:?}\n\n\
             [track.\"lake.orders\"]\nkey = [\"id\"]\n\n[sinks.mart]\ntype = \"duckdb\"\npath = {}\n",
            quoted(mart.folder.path().join("state")),
            mart.lake.uri(),
            quoted(mart.path()),
        );
        std::fs::write(mart.file(), text).expect("the pipeline file is written");
        mart.tidegate(&["run", &mart.file(), "--once"]);
        mart
    }

    fn file(&self) -> String {
        self.folder.path().join("pipeline.toml").to_string_lossy().into_owned()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mart.duckdb")
    }

    /// What the program writes, and the milliseconds it takes.
    fn timed(&self, arguments: &[&str]) -> (f64, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let (ms, output) = timed(|| command.args(arguments).output().expect("the program starts"));
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tidegate {}: {problem}", arguments.join(" "));
        (ms, String::from_utf8(output.stdout).expect("it writes UTF-8"))
    }

    fn tidegate(&self, arguments: &[&str]) -> String {
        self.timed(arguments).1
    }

    /// Makes the versions: an epoch for each round.
    fn change(&self) {
        for percent in ROUNDS {
            // Not those that are side by side.
            self.lake.execute(&format!("UPDATE lake.orders SET amount = amount + 1 WHERE id * 37 % 100 < {percent}"));
            self.tidegate(&["run", &self.file(), "--once"]);
        }
    }

    /// The time of each epoch's latest commit, as a person would write it.
    fn commits(&self, epochs: u64) -> Vec<String> {
        let at = |epoch: u64| {
            let epoch = epoch.to_string();
            let asked = ["asof", &self.file(), "lake.orders", "--at", &epoch, "--key", "id=0", "--format", "json"];
            let answer: serde_json::Value = serde_json::from_str(&self.tidegate(&asked)).expect("JSON");
            answer["at"]["latest_commit"].as_str().expect("a lake's snapshots have times").to_owned()
        };
        (1..=epochs).map(at).collect()
    }
}

/// The question that the program asks, in this process.
fn ask(duck: &Duck, key: u64, epoch: u64) -> i64 {
    let connection = duck.connection();
    connection.execute("SET VARIABLE tidegate_key_0 = CAST(? AS BIGINT)", [key.to_string()]).expect("a key");
    let sql = format!(
        "SELECT id, region, amount, note FROM lake_orders_history WHERE _valid_from_epoch <= {epoch} \
         AND (_valid_to_epoch IS NULL OR _valid_to_epoch > {epoch}) AND id = getvariable('tidegate_key_0') ORDER BY id"
    );
    connection.query_row(&sql, [], |row| row.get(2)).expect("the key was there")
}

fn opened(path: &Path) -> Duck {
    let duck = Duck::open_in_memory().expect("DuckDB opens");
    let path = quote_literal(&path.to_string_lossy());
    duck.execute(&format!("ATTACH {path} AS tidegate_mart (READ_ONLY); USE tidegate_mart")).expect("the mart opens");
    duck
}

fn ask_all(bench: &mut Bench, mart: &Mart, epochs: u64) {
    let commits = mart.commits(epochs);
    let versions: i64 = {
        let duck = opened(&mart.path());
        let count = "SELECT count(*) FROM lake_orders_history";
        duck.connection().query_row(count, [], |row| row.get(0)).expect("a count")
    };
    settle();
    let (mut starts, mut programs, mut opens, mut fresh, mut warm) = (vec![], vec![], vec![], vec![], vec![]);
    let open = opened(&mart.path());
    for n in 0..ASKS {
        let key = n * 2_654_435_761 % mart.keys;
        let epoch = n % epochs + 1;
        // Rounds before that epoch in which the key changed.
        let changed = ROUNDS.iter().take(epoch as usize - 1).filter(|percent| key * 37 % 100 < **percent).count();
        starts.push(mart.timed(&["--version"]).0);
        let (condition, file) = (format!("id={key}"), mart.file());
        let at = &commits[epoch as usize - 1];
        let (ms, answer) =
            mart.timed(&["asof", &file, "lake.orders", "--at", at, "--key", &condition, "--format", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["rows"][0]["amount"], changed, "key {key} at epoch {epoch}");
        programs.push(ms);
        let (open_ms, duck) = timed(|| opened(&mart.path()));
        let (ask_ms, amount) = timed(|| ask(&duck, key, epoch));
        assert_eq!(amount, changed as i64);
        opens.push(open_ms);
        fresh.push(ask_ms);
        warm.push(timed(|| ask(&open, key, epoch)).0);
    }
    let p90 = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        percentile(&times, 0.9)
    };
    let (start, program) = (median(starts), median(programs.clone()));
    let asked = median(fresh.clone());
    let figures = [
        ("program_ms", program),
        ("program_p90_ms", p90(programs)),
        ("start_ms", start),
        ("less_start_ms", program - start),
        ("open_file_ms", median(opens)),
        ("fresh_ask_ms", asked),
        ("fresh_p90_ms", p90(fresh)),
        ("warm_ask_ms", median(warm)),
    ];
    let keys = mart.keys;
    bench.report.measure(format!("asof --key, {versions} versions of {keys} keys"), &figures);
    let gate = |what: &str| format!("asof --key, {versions} versions, p50 of {what}, ms");
    bench.report.gate(gate("the question in a file just opened"), asked, LIMIT_MS);
    bench.report.gate(gate("the program less its start"), program - start, LIMIT_MS);
}

pub fn measure(bench: &mut Bench) {
    let mart = Mart::new(bench.scaled(KEYS));
    ask_all(bench, &mart, 1);
    let (changes_ms, ()) = timed(|| mart.change());
    println!("asof: the changes took {:.0} s", changes_ms / 1e3);
    ask_all(bench, &mart, 1 + ROUNDS.len() as u64);
}
