//! Files of a bucket.

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tidegate_duck::lake::{S3Access, Storage};
use tidegate_testkit::S3;

use super::World;
use crate::native::parquet::{FileEntry, FileError, Files, Matching, Reading, Wanted};
use tidegate_duck::Flow;

#[test]
fn objects_are_read_as_files_are() {
    let (world, s3) = (World::new(), S3::start());
    world.run("CREATE TABLE lake.t AS SELECT i, 'v' || i AS v FROM range(1000) r(i)");
    let listed = world.data_files("t").remove(0);
    let content = std::fs::read(&listed.path).unwrap();
    let runtime = world.files.runtime();
    runtime.block_on(s3.store().put(&Path::from("lake/p=a b/x.parquet"), content.into())).unwrap();
    let path = s3.url("lake/p=a b/x.parquet");
    let variables = s3.environment();
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let entry =
        FileEntry { path: &path, size: listed.size, footer_size: Some(listed.footer_size), encryption_key: None };
    let place = S3Access { below: s3.url("lake"), ..S3Access::default() };
    for places in [Vec::new(), vec![place]] {
        let files = Files::new(Storage::new(variable, places), runtime.clone());
        let file = files.open(&entry).unwrap();
        let (columns, schema, expected) = world.expected("t");
        let matching = Matching::FieldIds;
        let reading = Reading { columns: &columns, schema: &schema, matching: &matching, wanted: &Wanted::All };
        let mut found = Vec::new();
        let read = files.read(&file, &reading, |batch, _, _| {
            found.push(batch);
            Ok::<_, FileError>(Flow::Continue)
        });
        assert_eq!(read.unwrap(), Flow::Continue);
        assert_eq!(found, [expected]);
        assert_eq!(files.meter().requests(), 2, "a footer, and the columns side by side");
    }
    let files = Files::new(Storage::new(variable, Vec::new()), runtime);
    let missing = s3.url("lake/missing.parquet");
    let error = files.open(&FileEntry { path: &missing, ..entry }).unwrap_err();
    assert!(matches!(error, FileError::Gone { .. }), "{error:?}");
}
