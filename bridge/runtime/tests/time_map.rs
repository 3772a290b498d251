//! The time map of a pipeline: what moments mean after runs, resyncs and losses. Random histories are tested beside the code.

use tidegate_core::{Committed, Epoch, EpochHash, Frontier, Micros};
use tidegate_runtime::{Moment, TimeMap, Unresolved};

use crate::harness::{Harness, rows};

const SECOND: i64 = 1_000_000;

/// What each of these moments means: an epoch, or nothing.
fn meant(h: &Harness, moments: &[Moment]) -> Vec<Option<u64>> {
    let map = TimeMap::look(&h.state_dir()).unwrap();
    let epoch = |moment| match map.resolve(moment) {
        Ok(entry) => Some(entry.epoch.0),
        Err(Unresolved::TooEarly { .. } | Unresolved::Coming { .. } | Unresolved::Empty) => None,
        Err(error) => panic!("{moment}: {error}"),
    };
    moments.iter().map(epoch).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_mean_epochs_whatever_is_lost() {
    let h = Harness::new();
    assert_eq!(meant(&h, &[Moment::Epoch(Epoch(1))]), [None]);
    h.once().await.unwrap();
    let start = TimeMap::look(&h.state_dir()).unwrap().last().unwrap().latest_commit.unwrap();
    let at = |seconds: i64| Moment::Timestamp(Micros(start.0 + seconds * SECOND));
    let mut frontiers: Vec<Frontier> = Vec::new();
    // The clock steps back once.
    for (id, seconds) in [(10, 100), (11, 50), (12, 200)] {
        h.source.commit_at(Micros(start.0 + seconds * SECOND), [rows("t", &[id], 1)]);
        frontiers.push(h.once().await.unwrap().frontier);
    }
    let times = [at(-1), at(0), at(60), at(99), at(100), at(199), at(200), Moment::Timestamp(Micros(i64::MAX))];
    assert_eq!(meant(&h, &times), [None, Some(1), Some(1), Some(1), Some(3), Some(3), Some(4), Some(4)]);
    let numbers = [0, 1, 4, 5].map(|epoch| Moment::Epoch(Epoch(epoch)));
    assert_eq!(meant(&h, &numbers), [None, Some(1), Some(4), None]);

    // A resync leaves numbers out, and stands where the epoch before it stood.
    h.sinks[0].overwrite_committed(&"a".into(), Committed { epoch: Epoch(9), hash: EpochHash([1; 32]) });
    h.once().await.unwrap_err();
    assert_eq!(h.resync("mart").await.unwrap().epoch, Epoch(10));
    let mut moments = times.to_vec();
    moments.extend(numbers);
    moments.extend([7, 10].map(|epoch| Moment::Epoch(Epoch(epoch))));
    moments.extend(frontiers.into_iter().map(Moment::Frontier));
    let expected = [
        [None, Some(1), Some(1), Some(1), Some(3), Some(3), Some(10), Some(10)].as_slice(),
        [None, Some(1), Some(4), Some(4), Some(4), Some(10)].as_slice(),
        [Some(2), Some(3), Some(10)].as_slice(),
    ]
    .concat();
    assert_eq!(meant(&h, &moments), expected);

    let folder = h.state_dir().join("time_map");
    std::fs::remove_dir_all(&folder).unwrap();
    h.once().await.unwrap();
    assert_eq!(meant(&h, &moments), expected, "made anew from the log");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    for harm in [whole[..whole.len() / 2].to_vec(), vec![0xFF; whole.len()]] {
        std::fs::write(&file, harm).unwrap();
        h.once().await.unwrap();
        assert_eq!(meant(&h, &moments), expected, "mended from the log");
    }

    // The same as a long map has it, in several files, of which one in the middle is damaged, and one is lost.
    std::fs::remove_file(&file).unwrap();
    for record in entries(&whole) {
        let entry: serde_json::Value = serde_json::from_slice(&record[32..record.len() - 64]).unwrap();
        let name = format!("map-{:020}.log", entry["epoch"].as_u64().unwrap());
        std::fs::write(folder.join(name), record).unwrap();
    }
    assert_eq!(meant(&h, &moments), expected, "in several files");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut harmed = std::fs::read(&files[1]).unwrap();
    harmed[40] ^= 1;
    std::fs::write(&files[1], harmed).unwrap();
    std::fs::remove_file(&files[3]).unwrap();
    let map = TimeMap::look(&h.state_dir()).unwrap();
    let told = map.resolve(&moments[4]).unwrap_err().to_string();
    assert!(told.contains("start the pipeline again"), "{told}");
    h.once().await.unwrap();
    assert_eq!(meant(&h, &moments), expected, "mended in the middle");
}

/// The records of a file, each as it lies there: a preamble of 32 bytes with the length of the header, the header, and two
/// hashes of 32 bytes.
fn entries(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let header = u64::from_le_bytes(rest[8..16].try_into().unwrap()) as usize;
        let (entry, after) = rest.split_at(32 + header + 64);
        entries.push(entry);
        rest = after;
    }
    entries
}
