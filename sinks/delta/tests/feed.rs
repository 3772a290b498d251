//! The change data feed, as another program reads it.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Commit, Epoch, RowIdentity, Sink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Multiset, seed};

use crate::python::{content, feed};
use crate::random::table;
use crate::suite::sink;

fn pairs(identity: RowIdentity) -> ViewModel {
    ViewModel::new("pairs", &[("k", "BIGINT"), ("v", "VARCHAR")], identity)
}

/// Values for a few keys, or with a few copies.
fn values(random: &mut StdRng, keyed: bool) -> String {
    let mut values = Vec::new();
    for key in 0..12 {
        let copies = if keyed { random.random_range(0..=1) } else { random.random_range(0..=3) };
        let value = random.random_range(0..4);
        values.extend(
            (0..copies).map(|_| if key == 0 { "(NULL, NULL)".to_owned() } else { format!("({key}, 'v{value}')") }),
        );
    }
    values.join(", ")
}

/// Ranges of one to three epochs: the changes between any two versions add up to the difference of the contents,
/// and are labelled as changes of a key are.
async fn run(seed: u64, identity: RowIdentity) {
    let keyed = matches!(identity, RowIdentity::Key(_));
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut view = pairs(identity);
    let mut target = sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    let (mut contents, mut epoch) = (Vec::new(), 0);
    for _ in 0..6 {
        let after = epoch;
        let mut deltas = Vec::new();
        for _ in 0..random.random_range(1..=3) {
            epoch += 1;
            deltas.push((header(epoch), view.change_to(&values(&mut random, keyed))));
        }
        let commit = Commit { after: Epoch(after), header: header(epoch), views: vec![view.changes(deltas)] };
        target.commit(commit).await.unwrap();
        contents.push(view.multiset());
    }
    let table = table(folder.path(), "pairs");
    content(&table).assert_equals(&view.multiset(), "the content as delta-rs reads it");
    let fed = feed(&table, 0);
    let mut sum = Multiset::new();
    for (version, content) in contents.iter().enumerate() {
        let of_version: Vec<_> = fed.iter().filter(|fed| fed.version == version as u64).collect();
        for change in &of_version {
            let sign = match change.change.as_str() {
                "insert" | "update_postimage" => 1,
                "delete" | "update_preimage" => -1,
                other => panic!("an unknown label {other}"),
            };
            sum.add(change.row.clone(), sign);
        }
        sum.assert_equals(content, &format!("changes up to version {version}"));
        let count = |label: &str| of_version.iter().filter(|fed| fed.change == label).count();
        assert_eq!(count("update_preimage"), count("update_postimage"));
        if keyed && version > 0 {
            let before: Vec<_> = contents[version - 1].iter().map(|(row, _)| row[0].clone()).collect();
            let updated =
                content.iter().filter(|(row, _)| before.contains(&row[0]) && contents[version - 1].copies(row) == 0);
            assert_eq!(count("update_postimage"), updated.count(), "updates of version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_add_up_to_the_content() {
    let seed = seed::seed("changes_add_up_to_the_content");
    for sequence in 0..seed::sequences(2) {
        run(seed.wrapping_add(sequence), RowIdentity::Key(vec![0])).await;
        run(seed.wrapping_add(sequence), RowIdentity::WholeRow).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_is_all_rows_out_and_all_rows_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = pairs(RowIdentity::Key(vec![0]));
    let mut target = sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    for (epoch, values) in [(1, "(1, 'a'), (2, 'b')"), (2, "(2, 'b'), (3, 'c')")] {
        view.change_to(values);
        let views = vec![view.replacement(header(epoch))];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
    }
    let fed = feed(&table(folder.path(), "pairs"), 1);
    let count = |label: &str| fed.iter().filter(|fed| fed.change == label).count();
    assert_eq!((fed.len(), count("delete"), count("insert")), (4, 2, 2));
}
