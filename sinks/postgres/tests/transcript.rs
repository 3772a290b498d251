async fn run(sink: &mut dyn tidegate_core::Sink) {
    use tidegate_core::{Commit, Epoch, RowIdentity};
    use tidegate_testkit::conformance::model::{ViewModel, header};
    let columns = [
        ("region", "VARCHAR"),
        ("orders", "BIGINT"),
        ("revenue", "DECIMAL(38,2)"),
        ("first_seen", "TIMESTAMP"),
        ("products", "VARCHAR[]"),
    ];
    let mut view = ViewModel::new("revenue_by_region", &columns, RowIdentity::Key(vec![0]));
    sink.open(&[view.info().clone()]).await.unwrap();
    let contents = [
        "('east', 2, 30.5, '2024-05-01 09:00:00', ['tea', 'jam']), ('west', 1, 12, '2024-05-01 09:30:00', ['tea']), (NULL, 1, 7.25, '2024-05-02 08:15:00', [])",
        "('east', 3, 49.75, '2024-05-01 09:00:00', ['tea', 'jam', 'rye']), ('west', 1, 12, '2024-05-01 09:30:00', ['tea'])",
    ];
    for (index, values) in contents.into_iter().enumerate() {
        let epoch = index as u64 + 1;
        let delta = view.change_to(values);
        let views = vec![view.changes([(header(epoch), delta)])];
        sink.commit(Commit { after: Epoch(index as u64), header: header(epoch), views }).await.unwrap();
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn transcript() {
    let Ok(url) = std::env::var("TRANSCRIPT") else { return };
    run(&mut crate::suite::sink_to(&url)).await;
}
