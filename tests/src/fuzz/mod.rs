//! Fuzz targets: plain functions over bytes that assert what must hold for all of them.
//!
//! `tests/fuzz` drives them with libFuzzer, `tests/tests/fuzz.rs` replays their corpora as an ordinary test. A target says
//! whether it understood its input, so that the replay can tell when seeds stop short at the decoder. Whatever it is given,
//! it does the same again: nothing is kept between calls.

mod address;
mod blocks;
mod bytes;
mod chain;
mod engine;
mod genesis;
mod header;
mod keystore;
mod proofs;
mod receipt;
mod rpc;
pub mod seeds;
mod wire;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its binary in `tests/fuzz`, and of its folder of inputs.
    pub name: &'static str,
    /// Gives it an input; whether it understood it.
    pub run: fn(&[u8]) -> bool,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "block", run: blocks::block },
    Target { name: "transaction", run: blocks::transaction },
    Target { name: "header", run: header::header },
    Target { name: "genesis", run: genesis::genesis },
    Target { name: "gossip", run: wire::gossip },
    Target { name: "request", run: wire::request },
    Target { name: "response", run: wire::response },
    Target { name: "account_proof", run: proofs::account_proof },
    Target { name: "history_proof", run: proofs::history_proof },
    Target { name: "rpc", run: rpc::rpc },
    Target { name: "keystore", run: keystore::keystore },
    Target { name: "address", run: address::address },
    Target { name: "receipt", run: receipt::receipt },
    Target { name: "engine", run: engine::engine },
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
