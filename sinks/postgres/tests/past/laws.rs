//! Random histories: whatever comes, the versions are those of the model, and what is asked as of an epoch or a moment is what
//! the view held then.

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Commit, CommitOutcome, Epoch, EpochHeader, Micros, RowIdentity, Sink, ViewCommit};
use tidegate_testkit::{Postgres, PostgresVersion, rows, seed};

use super::{Past, copies};
use crate::suite::{database, shared, sink_to};

const ROWS: usize = 24;
/// Rows of the pool under one key.
const OF_KEY: usize = 4;

struct Story {
    past: Past,
    pool: RecordBatch,
    random: StdRng,
    held: Vec<usize>,
}

impl Story {
    fn new(seed: u64, keyed: bool) -> Story {
        let columns = [("id", "INTEGER"), ("g", "DOUBLE"), ("h", "VARCHAR"), ("epoch", "INTERVAL")];
        let identity = if keyed { RowIdentity::Key(vec![0, 1]) } else { RowIdentity::WholeRow };
        let past = Past::new("A \"View\"", &columns, identity);
        let row = |index: usize| {
            let id = index / OF_KEY;
            let first = if id == 0 { "NULL".to_owned() } else { id.to_string() };
            let second = ["'nan'", "NULL", ["0.0", "'-0.0'"][index % 2]][id % 3];
            let third = ["NULL", "''", "'it''s'"][index % 3];
            let fourth = ["'1 month'", "'30 days'"][index % 2];
            format!("({first}::INTEGER, {second}::DOUBLE, {third}::VARCHAR, {fourth}::INTERVAL)")
        };
        let pool = rows::batch(past.view.schema(), &(0..ROWS).map(row).collect::<Vec<_>>().join(", "));
        Story { past, pool, random: StdRng::seed_from_u64(seed), held: vec![0; ROWS] }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// The next epoch's header: clocks of sources stand still, jump, or say nothing at first.
    fn header(&mut self) -> EpochHeader {
        let mut header = self.past.next();
        let last = self.past.epochs.last().map(|(last, _)| last.clone());
        let step = [1, 1, 7, 3_600_000_000][self.below(4)];
        header.time = Micros(last.as_ref().map_or(header.time, |last| last.time).0 + step);
        header.latest_commit = match last.and_then(|last| last.latest_commit) {
            None if self.below(2) == 0 => None,
            None => Some(Micros(header.time.0 - 5_000_000)),
            Some(latest) => Some(Micros(latest.0 + [0, 0, 1, 1_000_000][self.below(4)])),
        };
        header
    }

    fn epoch(&mut self) -> (EpochHeader, tidegate_core::DeltaBatch) {
        let touched = [0, 1, 3, ROWS][self.below(4)];
        for _ in 0..touched {
            let row = self.below(ROWS);
            if matches!(self.past.view.info().identity, RowIdentity::Key(_)) {
                let key = row / OF_KEY;
                self.held[key * OF_KEY..(key + 1) * OF_KEY].fill(0);
                self.held[row] = self.below(2);
            } else {
                self.held[row] = self.below(4);
            }
        }
        let indices: UInt64Array =
            self.held.iter().enumerate().flat_map(|(row, n)| std::iter::repeat_n(row as u64, *n)).collect();
        let rows = take_record_batch(&self.pool, &indices).unwrap();
        let header = self.header();
        self.past.becomes_at(header, &rows)
    }

    /// The next one to four epochs, as changes or as a whole.
    fn part(&mut self, whole: bool) -> ViewCommit {
        let mut deltas = Vec::new();
        for _ in 0..1 + self.below(4) {
            let (header, delta) = self.epoch();
            if !whole {
                self.past.note(&copies(&self.past.view), &header);
            }
            if !delta.is_empty() {
                deltas.push((header, delta));
            }
        }
        let last = self.past.epochs.last().unwrap().0.clone();
        if !whole {
            return self.past.part(self.past.view.changes(deltas));
        }
        self.past.note(&copies(&self.past.view), &last);
        self.past.part(self.past.view.replacement(last))
    }
}

/// What people ask, compared with the epochs of the model that the sink has seen one by one.
fn ask(server: &Postgres, name: &str, story: &mut Story, unseen: &[Epoch]) {
    let since: u64 = server.value(name, "SELECT since_epoch FROM _tidegate_history").parse().unwrap();
    let epochs = story.past.epochs.clone();
    let count = |sql: &str| server.client(name).try_query(&format!("SELECT count(*) FROM {sql}"));
    for _ in 0..6 {
        let at = story.below(epochs.len());
        let (header, rows) = &epochs[at];
        let epoch = header.epoch.0;
        if unseen.contains(&header.epoch) {
            continue;
        }
        let found = count(&format!("\"A \"\"View\"\"_asof\"({epoch})"));
        if epoch < since {
            assert!(found.unwrap_err().contains(&format!("holds epochs {since} to")));
        } else {
            assert_eq!(found.unwrap(), [[Some(rows.len().to_string())]], "as of epoch {epoch}");
        }
        // Around the moment of the epoch.
        let Some(latest) = header.latest_commit else { continue };
        let moment = latest.0 - 1 + story.below(3) as i64;
        let meant = epochs.iter().rev().find(|(header, _)| header.latest_commit.is_none_or(|at| at.0 <= moment));
        let sql = format!("timestamptz 'epoch' + interval '{moment} microseconds'");
        let found = count(&format!("\"A \"\"View\"\"_asof_ts\"({sql})"));
        match meant {
            Some((meant, _)) if unseen.contains(&meant.epoch) => {}
            Some((meant, rows)) if meant.epoch.0 >= since => {
                assert_eq!(found.unwrap(), [[Some(rows.len().to_string())]], "as of {moment}, epoch {}", meant.epoch);
                let (this, that) =
                    (format!("\"A \"\"View\"\"_asof_ts\"({sql})"), format!("\"A \"\"View\"\"_asof\"({})", meant.epoch));
                for (one, other) in [(&this, &that), (&that, &this)] {
                    let differ = format!("(SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}) differ");
                    assert_eq!(count(&differ).unwrap(), [[Some("0".to_owned())]]);
                }
                if matches!(story.past.view.info().identity, RowIdentity::Key(_)) {
                    keys(server, name, &sql, &this);
                }
            }
            _ => assert!(found.unwrap_err().contains("begins at")),
        }
    }
}

/// The row under each key that ever was, at a moment.
fn keys(server: &Postgres, name: &str, moment: &str, asof: &str) {
    let sql = format!(
        "SELECT count(*) FROM (SELECT DISTINCT id, g FROM \"A \"\"View\"\"_history\") k WHERE \
         tidegate_asof_pk('A \"View\"', jsonb_build_object('id', k.id, 'g', k.g), {moment}) IS DISTINCT FROM \
         (SELECT to_jsonb(a.*) FROM {asof} a WHERE a.id IS NOT DISTINCT FROM k.id AND a.g IS NOT DISTINCT FROM k.g)"
    );
    assert_eq!(server.value(name, &sql), "0", "rows under a key at {moment}");
}

async fn run(server: &Postgres, seed: u64, keyed: bool) {
    let name = database(server);
    let url = server.url(&name);
    let mut sink = sink_to(&url);
    let mut story = Story::new(seed, keyed);
    let mut unseen = Vec::new();
    for round in 0..12 {
        let after = story.past.last();
        let whole = story.below(5) == 0;
        let part = story.part(whole);
        let header = story.past.epochs.last().unwrap().0.clone();
        if whole {
            unseen.extend((after.0 + 1..header.epoch.0).map(Epoch));
        }
        if story.below(4) == 0 && after > Epoch::ZERO {
            // Of a range that does not follow from what is held, nothing is written.
            let views = vec![story.past.part(story.past.view.changes([]))];
            let outcome = sink.commit(Commit { after: Epoch(after.0 + 50), header: header.clone(), views }).await;
            assert!(matches!(outcome.unwrap(), CommitOutcome::Conflict { .. }));
        }
        story.past.commit(&mut sink, after, part).await;
        if story.below(3) == 0 {
            sink = sink_to(&url);
            let found = sink.open(&[story.past.info()]).await.unwrap();
            assert_eq!(found.into_values().next().unwrap().unwrap().epoch, header.epoch);
        }
        story.past.check(&mut sink).await;
        if round % 3 == 2 {
            ask(server, &name, &mut story, &unseen);
        }
    }
    let laws = "SELECT count(*) FROM \"A \"\"View\"\"_history\" WHERE valid_from >= valid_to \
                OR _valid_from_epoch >= _valid_to_epoch OR (valid_to IS NULL) <> (_valid_to_epoch IS NULL)";
    assert_eq!(server.value(&name, laws), "0", "intervals are half-open and not empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_pasts() {
    let seed = seed::seed("random_pasts");
    for sequence in 0..seed::sequences(2) {
        let seed = seed.wrapping_add(sequence);
        println!("random_pasts: TIDEGATE_SEED={seed} TIDEGATE_SEQUENCES=1");
        // Each server sees both kinds in turn.
        let servers: Vec<_> = PostgresVersion::ALL.into_iter().map(shared).collect();
        run(&servers[seed as usize % servers.len()], seed, false).await;
        run(&servers[(seed as usize + 1) % servers.len()], seed, true).await;
    }
}
