//! Data files on S3, with what the AWS environment says; in a process of its own, which has that
//! environment.

use serde_json::json;
use tidegate_core::{RowIdentity, Sink};
use tidegate_duck::lake::Storage;
use tidegate_duck::{Duck, Extension};
use tidegate_testkit::S3;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::lake::{self, Catalog};
use tidegate_testkit::process::Program;

use crate::lakes::{sink_with, table};
use crate::rows::commit;

/// The folder of the catalog, for the other process.
const FOLDER: &str = "TIDEGATE_TEST_REMOTE_FOLDER";

#[tokio::test(flavor = "multi_thread")]
async fn files_lie_on_s3() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else {
        let (folder, s3) = (tempfile::tempdir().unwrap(), S3::start());
        let arguments = ["--exact", "remote::files_lie_on_s3", "--nocapture", "--test-threads=1"];
        let program = Program::new(std::env::current_exe().unwrap()).arguments(arguments);
        let program =
            s3.environment().into_iter().fold(program, |program, (name, value)| program.variable(name, value));
        let program = program.variable(FOLDER, folder.path().to_string_lossy());
        program.variable("TIDEGATE_TEST_URL", s3.url("lake")).run().expect(0);
        assert!(!folder.path().join("s3:").exists());
        return;
    };
    let catalog = Catalog::sqlite(&folder);
    let keys = json!({ "data_path": std::env::var("TIDEGATE_TEST_URL").unwrap() });
    let mut view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    for (epoch, keys_until) in [(1, 200), (2, 150)] {
        // The second time by what the catalog says about its files.
        let mut target = if epoch == 1 {
            sink_with(&catalog, &folder, &keys)
        } else {
            let config = serde_json::from_value(json!({ "catalog": catalog.uri() })).unwrap();
            let spill = folder.join("spill");
            tidegate_sink_ducklake::DucklakeSink::new("lake", &config, &folder, &spill, crate::lakes::clock()).unwrap()
        };
        target.open(&[view.info().clone()]).await.unwrap();
        let values: Vec<_> = (0..keys_until).map(|k| format!("({k}, '{epoch}')")).collect();
        let delta = view.change_to(&values.join(", "));
        commit(&mut target, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
        target.maintain().await.unwrap();
    }
    let duck = Duck::open_in_memory().unwrap();
    duck.load(Extension::Httpfs).unwrap();
    Storage::of_environment().make_available(&duck).unwrap();
    lake::attach(&duck, &catalog, "lake", &[]).unwrap();
    table(&duck, &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
}
