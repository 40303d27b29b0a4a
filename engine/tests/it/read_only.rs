//! A user's SQL, stopped in the middle.

use std::time::Duration;

use futures::TryStreamExt as _;
use sendlift_engine::query::run_read_only;

use crate::support::TestStore;

/// Statements that would go on for hours, each out of tables that are read at once.
const ENDLESS: [&str; 3] = [
    "SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b WHERE a.value + b.value > 0",
    "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value % 2 = b.value % 2",
    "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, generate_series(1, 100000) c",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_nobody_waits_for_is_stopped() {
    let store = TestStore::new();
    for sql in ENDLESS {
        let session = store.session().await;
        let running = tokio::spawn(async move {
            let rows = run_read_only(&session, sql).await.unwrap();
            rows.try_collect::<Vec<_>>().await.unwrap();
        });
        // Far enough to be among the rows that are made of rows.
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.abort();
        // The tasks that a query is cut into are there until each has come to a pause.
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let stopped = async {
            while tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(1), stopped).await.is_ok(), "{sql}");
    }
}
