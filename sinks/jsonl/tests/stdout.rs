//! Standard output: it begins with everything, takes nothing back, and may be closed by its reader.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tidegate_core::{Commit, CommitOutcome, ConnectorError, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_sink_jsonl::{JsonlConfig, JsonlSink};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::suite::clock;

/// What has been written, and how much room is left.
#[derive(Clone, Default)]
struct Pipe {
    text: Arc<Mutex<Vec<u8>>>,
    room: Option<Arc<Mutex<usize>>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.as_ref().map_or(bytes.len(), |room| *room.lock().unwrap());
        let taken = bytes.len().min(room);
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(room) = &self.room {
            *room.lock().unwrap() -= taken;
        }
        self.text.lock().unwrap().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    /// What each line is: its kind and its epoch, as far as it has one.
    fn kinds(&self) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let kind = |line: &str| {
            let Ok(json) = serde_json::from_str::<serde_json::Value>(line) else { return "torn".to_owned() };
            let kinds = ["columns", "replace", "change", "commit", "rollback"];
            let kind = kinds.into_iter().find(|kind| json.get(kind).is_some()).unwrap();
            let epoch = json.get("epoch").or(json.get("commit")).or(json.get("rollback"));
            format!("{kind} {}", epoch.map_or(String::new(), ToString::to_string))
        };
        text.lines().map(kind).collect()
    }
}

fn view() -> ViewModel {
    ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow)
}

fn commit(view: &mut ViewModel, epoch: u64, values: &str) -> Commit {
    let delta = view.change_to(values);
    let views = vec![view.changes([(header(epoch), delta)])];
    Commit { after: Epoch(epoch - 1), header: header(epoch), views }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_with_all_rows_and_goes_on_with_changes() {
    let pipe = Pipe::default();
    let mut view = view();
    view.change_to("(1), (2)");
    let infos = [view.info().clone()];
    let mut sink = JsonlSink::to_stream("lines", Box::new(pipe.clone()), clock());
    assert_eq!(sink.open(&infos).await.unwrap()[&infos[0].name], None);
    let views = vec![view.replacement(header(7))];
    sink.commit(Commit { after: Epoch(0), header: header(7), views }).await.unwrap();
    sink.commit(commit(&mut view, 8, "(1)")).await.unwrap();
    // Within the process it knows what it has written.
    let held = sink.open(&infos).await.unwrap()[&infos[0].name].unwrap();
    assert_eq!((held.epoch, held.hash), (Epoch(8), header(8).hash));
    let gap = sink.commit(commit(&mut view.clone(), 11, "(9)")).await.unwrap();
    assert!(matches!(gap, CommitOutcome::Conflict { .. }));
    let expected = ["columns ", "replace 7", "change 7", "change 7", "commit 7", "change 8", "commit 8"];
    assert_eq!(pipe.kinds(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_halfway_is_called_void() {
    let pipe = Pipe { room: Some(Arc::new(Mutex::new(usize::MAX))), ..Pipe::default() };
    let mut view = view();
    let mut sink = JsonlSink::to_stream("lines", Box::new(pipe.clone()), clock());
    sink.commit(commit(&mut view, 1, "(1)")).await.unwrap();
    // A stream of changes that fails.
    let mut ahead = view.clone();
    let delta = ahead.change_to("(2)");
    let failing = view.failing([(header(2), delta)], ConnectorError::new(ErrorKind::Retry, "cannot be read"));
    sink.commit(Commit { after: Epoch(1), header: header(2), views: vec![failing] }).await.unwrap_err();
    // A disk that is full in the middle of a line.
    *pipe.room.as_ref().unwrap().lock().unwrap() = 100;
    let error = sink.commit(commit(&mut view.clone(), 2, "(2)")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    *pipe.room.as_ref().unwrap().lock().unwrap() = usize::MAX;
    sink.commit(commit(&mut view, 2, "(2)")).await.unwrap();
    let kinds = pipe.kinds();
    assert_eq!(kinds[..4], ["columns ", "replace 1", "change 1", "commit 1"]);
    assert_eq!(kinds[kinds.len() - 4..], ["rollback 2", "change 2", "change 2", "commit 2"]);
    assert!(kinds.contains(&"torn".to_owned()), "{kinds:?}");
}

#[test]
fn two_sinks_do_not_share_it() {
    let config: JsonlConfig = serde_json::from_str(r#"{"path": "-"}"#).unwrap();
    let first = JsonlSink::new("one", &config, clock()).unwrap();
    let error = JsonlSink::new("two", &config, clock()).err().expect("standard output is taken");
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("sink two: another sink writes to standard output already"), "{error}");
    drop(first);
    assert!(JsonlSink::new("two", &config, clock()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_the_writing_with_an_error() {
    let (reader, writer) = io::pipe().unwrap();
    let mut view = view();
    let mut sink = JsonlSink::to_stream("lines", Box::new(writer), clock());
    sink.commit(commit(&mut view, 1, "(1)")).await.unwrap();
    drop(reader);
    for _ in 0..2 {
        let error = sink.commit(commit(&mut view.clone(), 2, "(2)")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("sink lines: nobody reads standard output any more"), "{error}");
    }
}
