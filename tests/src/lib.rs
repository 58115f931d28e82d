//! Test support: a chain that makes valid blocks, a disk that fails on purpose, the real program, a strict reader of its
//! metrics, and a network of real engines under virtual time.

pub mod chain;
pub mod fault;
pub mod program;
pub mod random;
pub mod scrape;
pub mod sim;
pub mod vectors;
