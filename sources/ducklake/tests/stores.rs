//! Lakes whose files are in an object store, and what the store may do to a reader.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_core::ErrorKind;
use tidegate_duck::lake::{S3Access, Storage};
use tidegate_testkit::seed::{histories, seed};
use tidegate_testkit::{Catalog, Lake, S3};

use crate::follower::{Answer, Follower, block_on, connect};
use crate::ranges::{History, mix};
use crate::reading::Tally;

/// Histories that CI reads.
const HISTORIES: u64 = 2;
/// Ranges that they must come to.
const RANGES_MIN: u64 = 60;

fn storage(variables: [(&'static str, String); 5]) -> Storage {
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    Storage::new(variable, Vec::new())
}

fn lake(s3: &S3, folder: &Path, prefix: &str) -> Lake {
    Lake::create_on(&storage(s3.environment()), &s3.url(prefix), Catalog::sqlite(folder))
}

/// The model checker of `ranges`, with every file of the lake read from a store.
#[test]
fn ranges_of_lakes_in_an_object_store() {
    let s3 = S3::start();
    let test = "ranges in an object store";
    let mut tally = Tally::default();
    let sequences = histories(test, HISTORIES, |seed, folder| {
        let lake = lake(&s3, folder, &format!("lake{seed}/"));
        let source = |lake: &Lake| vec![connect(lake, "native").with_storage(&storage(s3.environment()))];
        tally.add(&History::run(seed, lake, folder, mix, &source)[0]);
    });
    println!("{test}: {sequences} histories, {tally}");
    if sequences >= HISTORIES {
        assert!(tally.ranges >= RANGES_MIN, "{test}: {tally}");
    }
}

/// Requests are refused, answered slowly or in part: a poll answers what is right, or that it should be asked again.
#[test]
fn a_store_with_faults_is_asked_again() {
    let (s3, folder) = (S3::start_with(seed("faults of a store")), tempfile::tempdir().unwrap());
    let lake = lake(&s3, folder.path(), "lake/");
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0); CREATE TABLE lake.t (i INTEGER)");
    let source = connect(&lake, "native").with_storage(&storage(s3.faulty_environment()));
    let mut follower = Follower::load_from(source, &lake, &["t"]);
    for round in 0..12 {
        lake.execute(&format!("INSERT INTO lake.t SELECT i FROM range({round} * 10, {round} * 10 + 10) r(i)"));
        lake.execute(&format!("DELETE FROM lake.t WHERE i % 7 = {round} % 7"));
        let answer = loop {
            match follower.try_poll(u64::MAX) {
                Ok(answer) => break answer,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
        };
        assert_eq!(answer, Answer::Changes);
        follower.contents[0].multiset().assert_equals(&lake.rows("t", None), "what the lake holds now");
    }
    assert!(s3.faults() > 0, "no request was answered wrongly");
}

#[test]
fn encrypted_lakes_in_an_object_store() {
    let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
    let storage = storage(s3.environment());
    let lake = Lake::create_encrypted_on(&storage, &s3.url("lake/"), Catalog::sqlite(folder.path()));
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0); CREATE TABLE lake.t (i INTEGER, v VARCHAR)");
    let mut follower = Follower::load_from(connect(&lake, "native").with_storage(&storage), &lake, &["t"]);
    for sql in ["INSERT INTO lake.t SELECT i, 'v' || i FROM range(100) r(i)", "DELETE FROM lake.t WHERE i % 3 = 1"] {
        lake.execute(sql);
        follower.expect(Answer::Changes);
        follower.contents[0].multiset().assert_equals(&lake.rows("t", None), "what the lake holds now");
    }
}

#[test]
fn what_is_missing_in_a_store_is_named() {
    let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
    let lake = lake(&s3, folder.path(), "lake/");
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0); CREATE TABLE lake.t (i INTEGER)");
    let source = connect(&lake, "native").with_storage(&storage(s3.environment()));
    let mut follower = Follower::load_from(source, &lake, &["t"]);
    lake.execute("INSERT INTO lake.t SELECT i FROM range(10) r(i)");
    let mut name = String::new();
    block_on(async {
        let store: std::sync::Arc<dyn ObjectStore> = s3.store();
        let listed = store.list_with_delimiter(Some(&"lake/main/t".into())).await.unwrap();
        for object in listed.objects {
            name = object.location.filename().unwrap_or_default().to_owned();
            store.delete(&object.location).await.unwrap();
        }
    });
    let error = follower.try_poll(10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
    assert!(!name.is_empty() && error.to_string().contains(&name), "{error}");
}

/// A store that forbids is not asked again: a person has to say who may.
#[test]
fn what_a_store_forbids_is_named() {
    let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
    let lake = lake(&s3, folder.path(), "lake/");
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0); CREATE TABLE lake.t (i INTEGER)");
    let forbidding = S3Access {
        below: s3.url("lake"),
        endpoint: Some(format!("http://127.0.0.1:{}", forbid())),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("me".to_owned()),
        secret_access_key: Some("hush-hush".to_owned()),
        session_token: Some("silence".to_owned()),
    };
    let source = connect(&lake, "native").with_storage(&Storage::new(|_| None, vec![forbidding]));
    let mut follower = Follower::load_from(source, &lake, &["t"]);
    lake.execute("INSERT INTO lake.t SELECT i FROM range(10) r(i)");
    let error = follower.try_poll(10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let text = error.to_string();
    assert!(text.contains(&s3.url("lake/main/t/")), "{text}");
    assert!(!text.contains("hush-hush") && !text.contains("silence"), "{text}");
}

/// A server that forbids everything, on a port that is answered. It goes with the process.
fn forbid() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 8192]);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}
