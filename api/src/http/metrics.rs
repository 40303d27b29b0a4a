//! Counts for Prometheus: requests by route and class of status, the time they took, rows taken in and rejected.
//!
//! Routes are counted by their template (`/v1/campaigns/{id}/report`), so that the number of series does not grow with
//! what callers ask for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use sendlift_engine::event::Log;

/// The counters of one server.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// Answers by route and hundreds of the status.
    answers: BTreeMap<(String, u16), u64>,
    /// Answers and seconds by route.
    latencies: BTreeMap<String, (u64, f64)>,
    /// Rows accepted and rejected by log.
    rows: BTreeMap<Log, (u64, u64)>,
}

impl Metrics {
    fn counters(&self) -> MutexGuard<'_, Counters> {
        // Counters are whole whenever the lock is free, also after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answered request.
    pub(super) fn count_request(&self, route: &str, status: StatusCode, latency: Duration) {
        let mut counters = self.counters();
        *counters.answers.entry((route.to_owned(), status.as_u16() / 100)).or_default() += 1;
        let (answers, seconds) = counters.latencies.entry(route.to_owned()).or_default();
        *answers += 1;
        *seconds += latency.as_secs_f64();
    }

    /// Counts the rows of a batch.
    pub(super) fn count_rows(&self, log: Log, accepted: u64, rejected: u64) {
        let mut counters = self.counters();
        let rows = counters.rows.entry(log).or_default();
        rows.0 += accepted;
        rows.1 += rejected;
    }

    /// The counters in the text format of Prometheus (version 0.0.4).
    pub(super) fn render(&self) -> String {
        let counters = self.counters();
        let mut lines = vec![
            "# HELP sendlift_http_requests_total Requests answered.".to_owned(),
            "# TYPE sendlift_http_requests_total counter".to_owned(),
        ];
        for ((route, class), count) in &counters.answers {
            lines.push(format!("sendlift_http_requests_total{{route=\"{route}\",status=\"{class}xx\"}} {count}"));
        }
        lines.push("# HELP sendlift_http_request_duration_seconds Time until the answer began.".to_owned());
        lines.push("# TYPE sendlift_http_request_duration_seconds summary".to_owned());
        for (route, (answers, seconds)) in &counters.latencies {
            lines.push(format!("sendlift_http_request_duration_seconds_sum{{route=\"{route}\"}} {seconds}"));
            lines.push(format!("sendlift_http_request_duration_seconds_count{{route=\"{route}\"}} {answers}"));
        }
        let accepted = counters.rows.iter().map(|(log, rows)| (*log, rows.0));
        push_rows(&mut lines, "accepted", "Rows taken into the store.", accepted);
        let rejected = counters.rows.iter().map(|(log, rows)| (*log, rows.1));
        push_rows(&mut lines, "rejected", "Rows set aside in the quarantine.", rejected);
        lines.push(String::new());
        lines.join("\n")
    }
}

fn push_rows(lines: &mut Vec<String>, name: &str, help: &str, rows: impl Iterator<Item = (Log, u64)>) {
    lines.push(format!("# HELP sendlift_rows_{name}_total {help}"));
    lines.push(format!("# TYPE sendlift_rows_{name}_total counter"));
    lines.extend(rows.map(|(log, count)| format!("sendlift_rows_{name}_total{{log=\"{log}\"}} {count}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_rows_are_counted() {
        let metrics = Metrics::default();
        metrics.count_request("/v1/report", StatusCode::OK, Duration::from_millis(250));
        metrics.count_request("/v1/report", StatusCode::NOT_MODIFIED, Duration::from_millis(250));
        metrics.count_rows(Log::Sends, 10, 1);
        metrics.count_rows(Log::Sends, 5, 0);
        let text = metrics.render();
        for line in [
            "sendlift_http_requests_total{route=\"/v1/report\",status=\"2xx\"} 1",
            "sendlift_http_requests_total{route=\"/v1/report\",status=\"3xx\"} 1",
            "sendlift_http_request_duration_seconds_sum{route=\"/v1/report\"} 0.5",
            "sendlift_http_request_duration_seconds_count{route=\"/v1/report\"} 2",
            "sendlift_rows_accepted_total{log=\"sends\"} 15",
            "sendlift_rows_rejected_total{log=\"sends\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with('\n'));
    }
}
