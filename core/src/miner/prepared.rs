//! A header made ready for searching: everything that no nonce changes, computed once.
//!
//! The nonce is word 12 of the header's second SHA-256 block. So the first block is compressed once, and of the second
//! the first twelve rounds are done once. The message schedule `W[t] = s1(W[t-2]) + W[t-7] + s0(W[t-15]) + W[t-16]`
//! (FIPS 180-4, 6.2.2) is a sum, of which some terms are the same for every nonce: their sum is done once too. Which terms
//! those are follows from where the nonce stands and is known to the compiler.

use sha2::block_api::compress256;

use crate::block::{HEADER_BYTES, Header};
use crate::hash::{BlockHash, SHA256_INITIAL, sha256d};
use crate::pow::Target;

/// The word of the second block at which the nonce stands.
pub(super) const NONCE_WORD: usize = 12;

/// The round constants of SHA-256 (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
pub(super) const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Which words of a block's message schedule change with the nonce, given which of its first sixteen do.
const fn varying(first: [bool; 16]) -> [bool; 64] {
    let mut varies = [false; 64];
    let mut t = 0;
    while t < 64 {
        varies[t] = if t < 16 { first[t] } else { varies[t - 2] | varies[t - 7] | varies[t - 15] | varies[t - 16] };
        t += 1;
    }
    varies
}

/// Which words change in the second block of the inner hash: its word 12 is the nonce.
pub(super) const INNER_VARIES: [bool; 64] = {
    let mut first = [false; 16];
    first[NONCE_WORD] = true;
    varying(first)
};

/// Which words change in the one block of the outer hash: its first eight are the inner digest.
pub(super) const OUTER_VARIES: [bool; 64] = {
    let mut first = [false; 16];
    let mut t = 0;
    while t < 8 {
        first[t] = true;
        t += 1;
    }
    varying(first)
};

/// The last round of the outer hash whose `a` is needed. The digest's last word, the only one that is looked at, is the `e`
/// of round 60; an `a` becomes part of an `e` as `d`, four rounds later.
pub(super) const LAST_A: usize = 56;

/// What no nonce changes in the schedule of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
    /// What each round adds, beside its word if that varies: the round constant, with the word if that is constant.
    pub(super) keys: [u32; 64],
    /// The sum of the constant terms of each word that varies.
    pub(super) terms: [u32; 64],
}

const fn constants(block: [u32; 16], varies: &[bool; 64]) -> Constants {
    // Varying words count as zero, and so do both functions of them: what remains of each sum are its constant terms.
    let mut words = [0u32; 64];
    let (mut keys, mut terms) = (K, [0; 64]);
    let mut t = 0;
    while t < 64 {
        let sum = if t < 16 {
            block[t]
        } else {
            let (x, y) = (words[t - 2], words[t - 15]);
            let s1 = x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10);
            let s0 = y.rotate_right(7) ^ y.rotate_right(18) ^ (y >> 3);
            s1.wrapping_add(words[t - 7]).wrapping_add(s0).wrapping_add(words[t - 16])
        };
        if varies[t] {
            terms[t] = sum;
        } else {
            words[t] = sum;
            keys[t] = K[t].wrapping_add(sum);
        }
        t += 1;
    }
    Constants { keys, terms }
}

/// The constants of the outer hash: 32 bytes of digest, a set bit, and the length of 256 bits.
pub(super) const OUTER_CONSTANTS: Constants = {
    let mut block = [0; 16];
    block[8] = 0x8000_0000;
    block[15] = 256;
    constants(block, &OUTER_VARIES)
};

/// A header made ready for searching.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    header: [u8; HEADER_BYTES],
    target: Target,
    /// The SHA-256 state after the header's first 64 bytes.
    pub(super) midstate: [u32; 8],
    /// The header's other 52 bytes, with a nonce of zero, and SHA-256's padding.
    pub(super) tail: [u8; 64],
    /// The state before the round that takes in the nonce.
    pub(super) state: [u32; 8],
    /// The state after that round, with a nonce of zero: its `a` and its `e` are to have the nonce added.
    pub(super) next_state: [u32; 8],
    /// The constants of the inner hash's second block.
    pub(super) constants: Constants,
    /// Bits of the digest's last word that are zero in every hash that meets the target.
    pub(super) zeros: u32,
}

impl Prepared {
    /// Computes what all nonces of `header` share.
    pub fn new(header: &Header, target: Target) -> Prepared {
        let header = Header { nonce: 0, ..*header }.to_bytes();
        let (first, rest) = header.split_first_chunk::<64>().expect("a header has 116 bytes");
        let mut midstate = SHA256_INITIAL;
        compress256(&mut midstate, &[*first]);
        let mut tail = [0; 64];
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()] = 0x80;
        tail[56..].copy_from_slice(&(8 * header.len() as u64).to_be_bytes());

        let mut block = [0; 16];
        for (word, bytes) in block.iter_mut().zip(tail.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let constants = constants(block, &INNER_VARIES);
        let mut state = midstate;
        constants.keys[..NONCE_WORD].iter().for_each(|keyed| round(&mut state, *keyed));
        let mut next_state = state;
        round(&mut next_state, constants.keys[NONCE_WORD]);

        // The hash is a little-endian number: its top word is the digest's last, with the bytes swapped.
        let top = (target.value() >> 224usize).to::<u32>();
        let zeros = u32::MAX.checked_shl(u32::BITS - top.leading_zeros()).unwrap_or(0).swap_bytes();
        Prepared { header, target, midstate, tail, state, next_state, constants, zeros }
    }

    /// Whether the header meets the target with this nonce, by the plain digest.
    pub fn is_met_by(&self, nonce: u32) -> bool {
        let mut bytes = self.header;
        bytes[HEADER_BYTES - 4..].copy_from_slice(&nonce.to_le_bytes());
        self.target.is_met_by(&BlockHash(sha256d(&bytes)))
    }
}

/// One round of SHA-256; `keyed` is the word with the round constant added.
fn round(state: &mut [u32; 8], keyed: u32) {
    let [a, b, c, d, e, f, g, h] = *state;
    let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let choice = (e & f) ^ (!e & g);
    let majority = (a & b) ^ (a & c) ^ (b & c);
    let sum = h.wrapping_add(keyed).wrapping_add(s1).wrapping_add(choice);
    *state = [sum.wrapping_add(s0).wrapping_add(majority), a, b, c, d.wrapping_add(sum), e, f, g];
}
