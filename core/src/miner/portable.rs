//! The kernel that runs everywhere: `sha2` compressions from the midstate, two for each nonce.

use std::ops::Range;

use sha2::block_api::compress256;

use crate::hash::{BlockHash, SHA256_INITIAL, state_bytes};
use crate::miner::Prepared;

/// Where the nonce stands in the second block.
const NONCE: Range<usize> = 48..52;

/// Searches `nonces` one after the other; a [`Kernel`](crate::miner::Kernel).
pub fn search(prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
    let mut tail = prepared.tail;
    let mut digest = digest_block();
    // The hash is a little-endian number: its top word is the digest's last, with the bytes swapped.
    let top = (prepared.target.value() >> 224usize).to::<u32>();
    nonces.map(|nonce| nonce as u32).find(|nonce| {
        tail[NONCE].copy_from_slice(&nonce.to_le_bytes());
        let state = double_hash(prepared, &tail, &mut digest);
        state[7].swap_bytes() <= top && prepared.target.is_met_by(&BlockHash(state_bytes(&state)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{HEADER_BYTES, Header};
    use crate::encode::decode;
    use crate::miner::NONCES;
    use crate::pow::Target;
    use proptest::prelude::*;

    fn headers() -> impl Strategy<Value = Header> {
        proptest::collection::vec(any::<u8>(), HEADER_BYTES).prop_map(|bytes| decode(&bytes).expect("any 116 bytes"))
    }

    /// The target that the hash just meets, and the one below.
    fn around(header: &Header) -> (Target, Target) {
        let value = ruint::aliases::U256::from_le_bytes(header.hash().0);
        (Target::new(value), Target::new(value - ruint::aliases::U256::ONE))
    }

    proptest! {
        #[test]
        fn hashes_as_the_definition(header in headers()) {
            let prepared = Prepared::new(&header, Target::MIN);
            let state = double_hash(&prepared, &prepared.tail, &mut digest_block());
            prop_assert_eq!(BlockHash(state_bytes(&state)), header.hash());
        }

        #[test]
        fn finds_what_meets_the_target_exactly(header in headers()) {
            let own = u64::from(header.nonce)..u64::from(header.nonce) + 1;
            let (met, missed) = around(&header);
            prop_assert_eq!(search(&Prepared::new(&header, met), own.clone()), Some(header.nonce));
            prop_assert_eq!(search(&Prepared::new(&header, missed), own), None);
        }

        #[test]
        fn finds_the_lowest_nonce_of_the_range(header in headers(), start in 0..NONCES - 64, shift in 0..8usize) {
            let target = Target::new(ruint::aliases::U256::MAX >> shift);
            let met = |nonce: &u64| target.is_met_by(&Header { nonce: *nonce as u32, ..header }.hash());
            let brute = (start..start + 64).find(met).map(|nonce| nonce as u32);
            prop_assert_eq!(search(&Prepared::new(&header, target), start..start + 64), brute);
        }
    }
}
