//! The faces from the outside: the command line and the HTTP API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod care;
mod cluster;
mod command_line;
mod experiment_options;
mod experiment_plan;
mod http_access;
mod http_jobs;
mod http_logs;
mod http_query;
mod http_reads;
mod http_support;
mod segments;
