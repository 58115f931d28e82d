//! Test support: a chain that makes valid blocks, a disk that fails on purpose, the real program, lines that a page shows, its interface's page and
//! schemas, a strict reader of its metrics, a network of real engines under virtual time, experiments on it, real distance between real programs, and networks
//! of such programs, peers without manners for them, and fuzz targets.

pub mod chain;
pub mod far;
pub mod fault;
pub mod fuzz;
pub mod network;
pub mod page;
pub mod pattern;
pub mod peer;
pub mod program;
pub mod random;
pub mod results;
pub mod schema;
pub mod scrape;
pub mod sim;
pub mod vectors;
pub mod wan;
