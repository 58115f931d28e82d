//! SHA-256d of many nonces at a time, one in each lane of a vector: the part that no instruction set changes.
//!
//! A kernel brings a vector type and functions for it: `splat`, `add`, `xor3`, `choice`, `majority`, `rotate`, `shift`,
//! `pin`, `nonces` and `zeros`. The macro writes the hash around them. It is a macro because a function that is compiled for
//! some feature of the processor cannot be generic over that feature.

use std::ops::Range;

use crate::miner::prepared::Prepared;

/// Finds the lowest nonce in a range by groups of `lanes`, a power of two up to 32. `candidates` is given the nonce word of
/// a group's first nonce and returns a bit for each lane whose hash may meet the target.
pub(super) fn find(
    prepared: &Prepared,
    nonces: Range<u64>,
    lanes: u64,
    candidates: impl Fn(u32) -> u32,
) -> Option<u32> {
    let mut group = nonces.start - nonces.start % lanes;
    while group < nonces.end {
        let mut bits = candidates((group as u32).swap_bytes());
        while bits != 0 {
            let nonce = group + u64::from(bits.trailing_zeros());
            if nonces.contains(&nonce) && prepared.is_met_by(nonce as u32) {
                return Some(nonce as u32);
            }
            bits &= bits - 1;
        }
        group += lanes;
    }
    None
}

/// Writes `candidates`, the search of one group of nonces, for one kind of vector.
macro_rules! candidates {
    ($feature:literal, $vector:ty) => {
        /// Puts word `T + 1` of the message in place of the word sixteen before it, if it varies and is not there already.
        #[target_feature(enable = $feature)]
        #[inline]
        fn extend<const OUTER: bool, const T: usize>(words: &mut [$vector; 16], terms: &[u32; 64]) {
            let varies = const { if OUTER { OUTER_VARIES } else { INNER_VARIES } };
            let t = const { T + 1 };
            if !(16..64).contains(&t) || !varies[t] {
                return;
            }
            let mut sum = splat(0);
            if !(varies[t - 16] && varies[t - 15] && varies[t - 7] && varies[t - 2]) {
                sum = add(sum, splat(terms[t]));
            }
            if varies[t - 16] {
                sum = add(sum, words[t % 16]);
            }
            if varies[t - 7] {
                sum = add(sum, words[(t - 7) % 16]);
            }
            if varies[t - 15] {
                let word = words[(t - 15) % 16];
                sum = add(sum, xor3(rotate::<7>(word), rotate::<18>(word), shift::<3>(word)));
            }
            if varies[t - 2] {
                let word = words[(t - 2) % 16];
                sum = add(sum, xor3(rotate::<17>(word), rotate::<19>(word), shift::<10>(word)));
            }
            words[t % 16] = sum;
        }

        /// Round `T`, and the next round's word meanwhile: the order in which the processor waits least. The words of the
        /// state stay where they are and change their names: the `a` of round `T` is at index `-T`. The new `a` is pinned, or
        /// else the compiler moves rounds into each other, which costs AVX-512 2 % and AVX2 7 %.
        #[target_feature(enable = $feature)]
        #[inline]
        fn round<const OUTER: bool, const T: usize>(
            state: &mut [$vector; 8],
            words: &mut [$vector; 16],
            keys: &[u32; 64],
            terms: &[u32; 64],
        ) {
            let [a, b, c, d, e, f, g, h] = const {
                let mut names = [0; 8];
                let mut i = 0;
                while i < 8 {
                    names[i] = (i + 64 - T) % 8;
                    i += 1;
                }
                names
            };
            let varies = const { if OUTER { OUTER_VARIES } else { INNER_VARIES } };
            let mut sum = add(state[h], splat(keys[T]));
            if varies[T] {
                sum = add(sum, words[T % 16]);
            }
            extend::<OUTER, T>(words, terms);
            sum = add(sum, choice(state[e], state[f], state[g]));
            sum = add(sum, xor3(rotate::<6>(state[e]), rotate::<11>(state[e]), rotate::<25>(state[e])));
            state[d] = add(state[d], sum);
            if !OUTER || T <= LAST_A {
                sum = add(sum, majority(state[a], state[b], state[c]));
                let sum = add(sum, xor3(rotate::<2>(state[a]), rotate::<13>(state[a]), rotate::<22>(state[a])));
                state[h] = pin(sum);
            }
        }

        /// Hashes the header with a group of nonces, of which the first is given as a word of the message, and returns a
        /// bit for each lane whose hash may meet the target.
        #[target_feature(enable = $feature)]
        fn candidates(prepared: &Prepared, nonce_word: u32) -> u32 {
            let mut words = [splat(0); 16];
            words[NONCE_WORD] = nonces(nonce_word);
            let mut state = [splat(0); 8];
            for (i, word) in prepared.next_state.iter().enumerate() {
                let place = (i + 63 - NONCE_WORD) % 8;
                state[place] = if i % 4 == 0 { add(splat(*word), words[NONCE_WORD]) } else { splat(*word) };
            }
            $crate::miner::lanes::rounds!(false (&mut state, &mut words, &prepared.constants.keys, &prepared.constants.terms)
                13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37
                38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
            for (i, word) in prepared.midstate.iter().enumerate() {
                words[i] = add(state[i], splat(*word));
            }
            // A known constant the compiler would add last, where the next round waits for it: 1 %.
            let keys = std::hint::black_box(&OUTER_CONSTANTS.keys);
            let mut state = SHA256_INITIAL.map(|word| splat(word));
            $crate::miner::lanes::rounds!(true (&mut state, &mut words, keys, &OUTER_CONSTANTS.terms)
                0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30
                31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60);
            // What is `e` after round 60 is the digest's last word, less the initial one, after round 63.
            zeros(add(state[7], splat(SHA256_INITIAL[7])), prepared.zeros)
        }
    };
}
pub(super) use candidates;

/// Rounds of the inner (`false`) or outer hash.
macro_rules! rounds {
    ($outer:literal $arguments:tt $($t:literal)*) => {
        $(round::<$outer, $t> $arguments;)*
    };
}
pub(super) use rounds;
