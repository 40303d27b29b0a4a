//! The faces of sendlift: the command line ([`cli`]) and the HTTP API ([`http`]).
//!
//! **Architecture invariant:** this crate computes nothing. Both faces hand requests to the engine and its answers to the
//! user, and both give the same JSON, made by one serialiser.

pub mod cli;
pub mod http;
