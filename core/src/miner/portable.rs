//! The kernel that runs everywhere: `sha2` compressions from the midstate, two for each nonce.
//!
//! Whole compressions, because `sha2` has them in hardware on ARM too, which saves more than the rounds that the other kernels leave out.

use std::ops::Range;

use sha2::block_api::compress256;

use crate::hash::{SHA256_INITIAL, state_bytes};
use crate::miner::kernel::Kernel;
use crate::miner::prepared::Prepared;

/// Where the nonce stands in the second block.
const NONCE: Range<usize> = 48..52;

pub(super) const KERNEL: Kernel = Kernel { name: "portable", is_available: || true, search };

fn search(prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
    let mut tail = prepared.tail;
    let mut digest = digest_block();
    nonces.map(|nonce| nonce as u32).find(|nonce| {
        tail[NONCE].copy_from_slice(&nonce.to_le_bytes());
        let state = double_hash(prepared, &tail, &mut digest);
        state[7] & prepared.zeros == 0 && prepared.is_met_by(*nonce)
    })
}

/// The one block of the outer hash: 32 bytes of digest, to be filled in, and the padding.
fn digest_block() -> [u8; 64] {
    let mut block = [0; 64];
    block[32] = 0x80;
    block[56..].copy_from_slice(&256u64.to_be_bytes());
    block
}

/// SHA-256d of the header whose second block is `tail`, as the state words of the outer hash.
fn double_hash(prepared: &Prepared, tail: &[u8; 64], digest: &mut [u8; 64]) -> [u32; 8] {
    let mut inner = prepared.midstate;
    compress256(&mut inner, &[*tail]);
    digest[..32].copy_from_slice(&state_bytes(&inner));
    let mut outer = SHA256_INITIAL;
    compress256(&mut outer, &[*digest]);
    outer
}
