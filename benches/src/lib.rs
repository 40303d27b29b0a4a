//! Benchmarks: `benches/kernels.rs` times the kernels by criterion; `compare/` runs the whole program beside its peers.
