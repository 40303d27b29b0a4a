//! Clusters on the loopback address, each process a real one: the answers are those of one node, also when a worker is
//! killed, and a cluster that is not there is said in time.

use std::path::Path;
use std::process::{Command, Output};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sendlift"));
    command.current_dir(folder).env_remove("SENDLIFT_STORE").env_remove("SENDLIFT_HASH_KEY").args(arguments);
    command
}

fn sendlift(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[cfg(not(feature = "cluster"))]
#[test]
fn a_build_without_clusters_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["report", "--cluster", "df://127.0.0.1:50050"][..],
        &["sql", "SELECT 1", "--cluster", "df://127.0.0.1:50050"],
        &["experiment", "analyze", "x", "--cluster", "df://127.0.0.1:50050"],
        &["cluster", "scheduler"],
    ] {
        let output = sendlift(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("--features cluster"), "{arguments:?}: {}", stderr(&output));
    }
}

#[cfg(feature = "cluster")]
mod with_clusters {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;

    /// A folder with a store of generated logs.
    fn sample(messages: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let output = sendlift(folder.path(), arguments);
            assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        };
        run(&["generate", "--out", "logs", "--messages", messages, "--seed", "5", "--format", "parquet"]);
        let logs = ["recipients", "assignments", "sends", "deliveries", "clicks", "conversions", "replies", "opt_outs"];
        let logs: Vec<String> = logs.iter().map(|log| format!("{log}=logs/{log}.parquet")).collect();
        let arguments: Vec<&str> = std::iter::once("ingest").chain(logs.iter().map(String::as_str)).collect();
        run(&arguments);
        folder
    }

    /// A process that is killed when it goes out of scope.
    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(folder: &Path, name: &str, arguments: &[&str]) -> Process {
        let log = File::create(folder.join(format!("{name}.log"))).unwrap();
        let child = command(folder, arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Process(child)
    }

    struct TestCluster {
        port: u16,
        _scheduler: Process,
        workers: Vec<Process>,
    }

    impl TestCluster {
        fn start(folder: &Path, workers: usize) -> Self {
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let scheduler = start(folder, "scheduler", &["cluster", "scheduler", "--listen", &address]);
            let worker = |number: usize| {
                let arguments = ["cluster", "worker", "--scheduler", &address, "--tasks", "2", "--memory", "1024"];
                let arguments = [&arguments[..], &["--work-dir", "work"]].concat();
                start(folder, &format!("worker-{number}"), &arguments)
            };
            let workers = (0..workers).map(worker).collect::<Vec<_>>();
            let cluster = Self { port, _scheduler: scheduler, workers };
            let expected = format!("ready: {} executors", cluster.workers.len());
            wait_for(|| cluster.readiness().is_some_and(|answer| answer.contains(&expected)));
            cluster
        }

        fn url(&self) -> String {
            format!("df://127.0.0.1:{}", self.port)
        }

        fn readiness(&self) -> Option<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer.replace("not ready: 0/1", "ready: 0"))
        }
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn wait_for(mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_mins(1);
        while !holds() {
            assert!(Instant::now() < until, "it did not come to hold within a minute");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn json(output: &Output) -> Value {
        assert!(output.status.success(), "{}", stderr(output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Numbers equal to nine digits, everything else as it is.
    fn assert_same(found: &Value, expected: &Value, place: &str) {
        match (found, expected) {
            (Value::Object(found), Value::Object(expected)) => {
                let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
                assert_eq!(keys(found), keys(expected), "{place}");
                for (key, expected) in expected {
                    assert_same(&found[key], expected, &format!("{place}.{key}"));
                }
            }
            (Value::Array(found), Value::Array(expected)) => {
                assert_eq!(found.len(), expected.len(), "{place}");
                for (position, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert_same(found, expected, &format!("{place}[{position}]"));
                }
            }
            (Value::Number(found), Value::Number(expected)) => {
                let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
                let far = (found - expected).abs() > 1e-9 * expected.abs().max(1.0);
                assert!(!far, "{place}: {found} and {expected}");
            }
            _ => assert_eq!(found, expected, "{place}"),
        }
    }

    /// Both answer with the same JSON.
    fn assert_equal_answers(folder: &Path, cluster: &str, arguments: &[&str]) {
        let here = json(&sendlift(folder, &[arguments, &["--format", "json"]].concat()));
        let there = json(&sendlift(folder, &[arguments, &["--format", "json", "--cluster", cluster]].concat()));
        assert_same(&there, &here, &arguments.join(" "));
    }

    #[test]
    fn a_cluster_answers_as_one_node_does() {
        let folder = sample("30000");
        let cluster = TestCluster::start(folder.path(), 2);
        let url = cluster.url();
        for arguments in [
            &["report"][..],
            &["report", "--by", "campaign_id,variant"],
            // A column of the contacts, one made of the moment, the recipients' own clock.
            &["report", "--by", "country,age_band"],
            &["report", "--by", "day", "--time-zone", "Asia/Kathmandu"],
            &["report", "--by", "hour", "--campaign", "flash-sale-w1"],
            &["report", "--at", "1"],
            &["experiment", "analyze", "flash-sale-copy"],
            &[
                "experiment",
                "analyze",
                "flash-sale-copy",
                "--segment",
                "age_band,country",
                "--metric",
                "conversion,revenue",
            ],
        ] {
            assert_equal_answers(folder.path(), &url, arguments);
        }
        for query in [
            "SELECT count(*) AS n, min(sent_at) AS first, sum(cost) AS cost FROM message_facts",
            "SELECT * FROM message_facts ORDER BY message_id LIMIT 20",
            "SELECT date_part('hour', local_time(sent_at, time_zone)) AS hour, count(*) AS n FROM message_facts \
             GROUP BY 1 ORDER BY 1",
            "SELECT sent_date, count(DISTINCT recipient_id) AS n FROM message_facts GROUP BY 1 ORDER BY 1",
            "SELECT count(*) AS n FROM message_facts WHERE sent_at >= '2026-03-01' AND sent_date < '2027-01-01'",
            // A log without rows, alone and beside one that has some.
            "SELECT count(*) AS n FROM opens",
            "SELECT count(*) AS n FROM sends AS s LEFT JOIN opens AS o ON o.message_id = s.message_id \
             WHERE o.message_id IS NULL",
            "SELECT count(*) AS n FROM sends WHERE message_id NOT IN (SELECT message_id FROM clicks)",
            "SELECT message_id, row_number() OVER (PARTITION BY campaign_id ORDER BY sent_at, message_id) AS place \
             FROM sends ORDER BY message_id LIMIT 10",
            "SELECT variant FROM sends GROUP BY variant UNION SELECT status FROM deliveries GROUP BY status ORDER BY 1",
            "SELECT count(*) AS n FROM sends WHERE sent_at > (SELECT min(clicked_at) FROM clicks)",
            // Nothing of the store, the catalogue, and both together.
            "SELECT 1 + 1 AS two",
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_name = 'sends' ORDER BY 2",
            "SELECT t.table_name, count(*) AS n FROM sends CROSS JOIN information_schema.tables AS t \
             WHERE t.table_name IN ('sends', 'clicks') GROUP BY 1 ORDER BY 1",
        ] {
            assert_equal_answers(folder.path(), &url, &["sql", query]);
        }
        // Read only, and in the same words.
        for (query, status) in [("DROP TABLE sends", 2), ("SELECT nothing FROM sends", 2), ("SELECT 1 FROM nowhere", 2)]
        {
            let here = sendlift(folder.path(), &["sql", query]);
            let there = sendlift(folder.path(), &["sql", query, "--cluster", &url]);
            assert_eq!(there.status.code(), Some(status), "{}", stderr(&there));
            assert_eq!(stderr(&there), stderr(&here));
        }
        // A query that fails is not asked again and again.
        let started = Instant::now();
        let failed = sendlift(
            folder.path(),
            &["sql", "SELECT sum(1 / (receipts - receipts)) FROM message_facts", "--cluster", &url],
        );
        assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
        let message = stderr(&failed).to_lowercase().replace(' ', "");
        assert!(message.contains("dividebyzero") && started.elapsed() < Duration::from_secs(30), "{message}");

        // New rows are seen by the next query.
        let more = "message_id,campaign_id,variant,recipient_id,sent_at\nnew-1,new,A,r1,2026-03-02T10:00:00Z\n";
        std::fs::write(folder.path().join("more.csv"), more).unwrap();
        assert!(sendlift(folder.path(), &["ingest", "sends=more.csv"]).status.success());
        assert_equal_answers(folder.path(), &url, &["report", "--campaign", "new"]);
    }

    /// A report with its rows by what they are of, so that a difference names its row and none is there twice.
    fn by_key(mut report: Value) -> Value {
        let Value::Array(rows) = report["rows"].take() else { panic!("no rows: {report}") };
        let number = rows.len();
        let keyed = rows.into_iter().map(|row| (format!("{}, {}", row["campaign_id"], row["age_band"]), row));
        let keyed: serde_json::Map<String, Value> = keyed.collect();
        assert_eq!(keyed.len(), number, "a row is there twice");
        report["rows"] = Value::Object(keyed);
        report
    }

    /// Whether a worker keeps rows of this stage of any query: `work/WORKER/QUERY/STAGE`.
    fn has_rows_of(work: &Path, stage: &str) -> bool {
        let inside = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>()
        };
        inside(work).iter().flat_map(|worker| inside(worker)).any(|query| query.join(stage).exists())
    }

    /// When a worker is killed.
    #[derive(Debug)]
    enum Moment {
        Milliseconds(u64),
        /// A query's rows of this stage are being kept; from the fourth on some were handed on before.
        Stage(&'static str),
    }

    #[test]
    fn a_killed_worker_changes_no_answer() {
        let folder = sample("60000");
        let arguments = ["report", "--by", "campaign_id,age_band", "--format", "json"];
        let expected = by_key(json(&sendlift(folder.path(), &arguments)));
        let moments = [
            Moment::Milliseconds(100),
            Moment::Milliseconds(1500),
            Moment::Stage("2"),
            Moment::Stage("3"),
            Moment::Stage("4"),
            Moment::Stage("4"),
            Moment::Stage("5"),
            Moment::Stage("5"),
        ];
        for moment in moments {
            let mut cluster = TestCluster::start(folder.path(), 2);
            let url = cluster.url();
            let asked = [&arguments[..], &["--cluster", &url]].concat();
            // Asked once more when a worker is gone: the other one must have all its room.
            for is_first in [true, false] {
                let answer = folder.path().join("answer.json");
                let said = folder.path().join("said.txt");
                let asking = command(folder.path(), &asked)
                    .stdout(File::create(&answer).unwrap())
                    .stderr(File::create(&said).unwrap())
                    .spawn();
                let mut asking = Process(asking.unwrap());
                if is_first {
                    match moment {
                        Moment::Milliseconds(delay) => std::thread::sleep(Duration::from_millis(delay)),
                        Moment::Stage(stage) => {
                            while asking.0.try_wait().unwrap().is_none()
                                && !has_rows_of(&folder.path().join("work"), stage)
                            {
                                std::thread::sleep(Duration::from_millis(2));
                            }
                        }
                    }
                    // Without a chance to say goodbye.
                    cluster.workers[0].0.kill().unwrap();
                }
                // Longer than it takes to notice a worker that is gone.
                wait_for(|| asking.0.try_wait().unwrap().is_some());
                let place = format!("killed at {moment:?}, {}", if is_first { "then" } else { "afterwards" });
                let said = std::fs::read_to_string(&said).unwrap();
                assert!(asking.0.wait().unwrap().success(), "{place}: {said}");
                let found = serde_json::from_slice(&std::fs::read(&answer).unwrap()).unwrap();
                assert_same(&by_key(found), &expected, &place);
            }
            drop(cluster);
            // What a killed worker leaves behind is not the next one's.
            std::fs::remove_dir_all(folder.path().join("work")).unwrap();
        }
    }

    #[test]
    fn a_worker_that_is_asked_to_end_leaves_nothing_behind() {
        let folder = sample("2000");
        let mut cluster = TestCluster::start(folder.path(), 2);
        let url = cluster.url();
        assert_equal_answers(folder.path(), &url, &["report"]);
        let folders = || std::fs::read_dir(folder.path().join("work")).unwrap().count();
        assert_eq!(folders(), 2);
        let worker = &mut cluster.workers[0].0;
        assert!(Command::new("kill").args(["-TERM", &worker.id().to_string()]).status().unwrap().success());
        wait_for(|| worker.try_wait().unwrap().is_some());
        assert_eq!(folders(), 1);
        assert_equal_answers(folder.path(), &url, &["report"]);
    }

    #[test]
    fn a_cluster_that_is_not_there_is_said_in_time() {
        let folder = sample("2000");
        let asked = |url: &str| {
            let started = Instant::now();
            let output = sendlift(folder.path(), &["report", "--cluster", url]);
            (output.status.code(), stderr(&output), started.elapsed())
        };
        let nobody = format!("df://127.0.0.1:{}", free_port());
        let (status, message, time) = asked(&nobody);
        assert_eq!(status, Some(1), "{message}");
        assert!(message.contains(&nobody) && message.contains("sendlift cluster scheduler"), "{message}");
        assert!(time < Duration::from_secs(10), "{time:?}");

        let alone = TestCluster::start(folder.path(), 0);
        let (status, message, time) = asked(&alone.url());
        assert_eq!(status, Some(1), "{message}");
        let advice = format!("sendlift cluster worker --scheduler 127.0.0.1:{}", alone.port);
        assert!(message.contains("it has no worker") && message.contains(&advice), "{message}");
        assert!(time < Duration::from_secs(30), "{time:?}");

        let (status, message, _) = asked("127.0.0.1:50050");
        assert_eq!(status, Some(2), "{message}");
        assert!(message.contains("df://HOST:PORT"), "{message}");
        let arguments = ["report", "--logs", "sends=logs/sends.parquet", "--cluster", &nobody];
        assert_eq!(sendlift(folder.path(), &arguments).status.code(), Some(2));
    }
}
