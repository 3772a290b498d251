//! Segments roll, tear and mend.

use super::*;

fn open(dir: &Path, roll: u64) -> Segments {
    Segments::open(dir, "input", roll).unwrap()
}

fn append(segments: &mut Segments, epoch: u64, payload: &[u8]) {
    segments.append(Epoch(epoch), epoch.to_string().as_bytes(), &mut &payload[..], payload.len() as u64).unwrap();
}

fn epochs(segments: &Segments, from: u64) -> Vec<u64> {
    segments.scan(Epoch(from)).map(|r| String::from_utf8(r.unwrap().0).unwrap().parse().unwrap()).collect()
}

#[test]
fn rolls_trims_and_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 1);
    (1..=5).for_each(|epoch| append(&mut log, epoch, b"payload"));
    assert_eq!(epochs(&log, 3), [3, 4, 5]);
    assert!(!log.trim(Epoch(3), |_| false).unwrap());
    assert!(log.trim(Epoch(2), |_| true).unwrap());
    assert_eq!(epochs(&log, 1), [3, 4, 5]);
    let at = log.scan(Epoch(4)).next().unwrap().unwrap().1;
    log.cut(&at).unwrap();
    append(&mut log, 4, b"again");
    drop(log);
    let mut log = open(dir.path(), 1);
    assert_eq!(epochs(&log, 1), [3, 4]);
    assert!(log.trim(Epoch(9), |_| true).unwrap());
    assert_eq!(epochs(&log, 1), [4], "the last segment stays");
    log.clear().unwrap();
    assert_eq!(epochs(&open(dir.path(), 1), 1), [] as [u64; 0]);
}

#[test]
fn a_segment_ends_when_its_first_record_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 1 << 20);
    for epoch in 1..=4 {
        log.end_if(|first| first == b"1").unwrap();
        append(&mut log, epoch, b"payload");
    }
    let firsts: Vec<_> = log.segments.iter().map(|segment| segment.first.0).collect();
    assert_eq!(firsts, [1, 2]);
    assert_eq!(epochs(&log, 1), [1, 2, 3, 4]);
}

#[test]
fn a_segment_ends_after_so_many_epochs_however_small_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Segments { durability: Durability::OnSync, ..open(dir.path(), 1 << 20) };
    (7..=ROLL_EPOCHS + 7).for_each(|epoch| append(&mut log, epoch, b""));
    let firsts: Vec<_> = log.segments.iter().map(|segment| segment.first.0).collect();
    assert_eq!(firsts, [7, ROLL_EPOCHS + 7]);
    drop(log);
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, ROLL_EPOCHS + 8, b"");
    assert_eq!(log.segments.len(), 2, "opened again, it goes on in the last one");
    assert_eq!(epochs(&log, ROLL_EPOCHS + 7), [ROLL_EPOCHS + 7, ROLL_EPOCHS + 8]);
}

#[test]
fn a_torn_tail_is_cut_off_and_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, b"one");
    let one = log.bytes();
    append(&mut log, 2, b"two");
    let path = log.segments[0].path.clone();
    drop(log);
    let whole = fs::read(&*path).unwrap();
    for len in 0..whole.len() as u64 {
        fs::write(&*path, &whole[..len as usize]).unwrap();
        let mut log = open(dir.path(), 1 << 20);
        let kept = if len < one { 0 } else { 1 };
        assert_eq!(epochs(&log, 1).len(), kept, "cut at {len}");
        (kept as u64 + 1..=2).for_each(|epoch| append(&mut log, epoch, b"new"));
        assert_eq!(epochs(&log, 1), [1, 2]);
        for record in log.scan(Epoch(1)) {
            record.unwrap().1.verify().unwrap();
        }
        let _ = fs::remove_file(&*path);
    }
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, b"one");
    append(&mut log, 2, b"two");
    let path = log.segments[0].path.clone();
    drop(log);
    let whole = fs::read(&*path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(&*path, &flipped).unwrap();
        let read = Segments::open(dir.path(), "input", 1 << 20)
            .and_then(|log| log.scan(Epoch(1)).try_for_each(|record| record?.1.verify()));
        let error = read.unwrap_err();
        assert!(error.to_string().contains("input-00000000000000000001.log"), "{error}");
        assert_eq!(fs::read(&*path).unwrap(), flipped, "damage is left as it was found");
    }
}

#[test]
fn a_segment_cut_short_before_the_last_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 1);
    (1..=2).for_each(|epoch| append(&mut log, epoch, b"payload"));
    cut_file(&log.segments[0].path, 40).unwrap();
    let error = open(dir.path(), 1).scan(Epoch(1)).find_map(Result::err).unwrap();
    assert!(error.to_string().contains("byte 0"), "{error}");
}
