//! What sources say of themselves before they are read.

use tidegate_core::{ErrorKind, Finding, Severity};
use tidegate_runtime::findings;

use crate::harness::Harness;

fn finding(severity: Severity, fact: &str, fix: Option<&str>) -> Finding {
    Finding { severity, fact: fact.to_owned(), fix: fix.map(str::to_owned) }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_keep_a_pipeline_from_starting() {
    let h = Harness::new();
    let all = vec![
        finding(Severity::Good, "the tables can be read", None),
        finding(Severity::Warning, "one slot is left", Some("ALTER SYSTEM SET max_replication_slots = 20")),
        finding(Severity::Fault, "wal_level is replica", Some("ALTER SYSTEM SET wal_level = 'logical'")),
        finding(Severity::Fault, "table t has no replica identity", None),
    ];
    h.source.set_findings(all.clone());
    let error = h.open().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    let expected = "source lake: wal_level is replica\n  fix: ALTER SYSTEM SET wal_level = 'logical'\n\
                    source lake: table t has no replica identity";
    assert_eq!(cause, expected);
    assert!(!h.state_dir().exists(), "nothing was written");
    assert!(h.check().await.sources["lake"].as_ref().unwrap_err().contains(expected));
    assert_eq!(findings(&h.config(), &mut h.connectors()).await["lake"].as_ref().unwrap(), &all);
    h.source.set_findings(all[..2].to_vec());
    h.once().await.unwrap();
    h.assert_current();
}
