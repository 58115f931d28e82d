//! Test support: a chain that makes valid blocks, a disk that fails on purpose, and the real program.

pub mod chain;
pub mod fault;
pub mod program;
pub mod vectors;
