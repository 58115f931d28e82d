//! One nonce in each of several chains of the SHA instructions, which wait for each other less than they would alone.
//!
//! `sha256rnds2` does two rounds on a state in two vectors, named for their words from the highest lane down: `abef` and
//! `cdgh`. A round waits for the one before it, so chains of several nonces take turns.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::hash::SHA256_INITIAL;
use crate::miner::kernel::Kernel;
use crate::miner::lanes;
use crate::miner::prepared::{K, Prepared};

pub(super) const KERNEL: Kernel = Kernel { name: "sha-ni", is_available, search };

/// Chains that take turns, a power of two. One and two reach 20 MH/s where four reach 32, and eight, of which most stand in
/// memory, 28.
const WAYS: usize = 4;

fn is_available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")
}

fn search(prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
    assert!(is_available());
    // SAFETY: the processor has the features: it was asked above.
    unsafe { search_with(prepared, nonces) }
}

/// What no nonce changes, in vectors.
struct Shared {
    midstate: State,
    state: State,
    /// The second block with a nonce of zero.
    block: [__m128i; 4],
    /// Words 16 to 19 with a nonce of zero: word 19 alone is to have the nonce added.
    word_16: __m128i,
    /// Words 20 to 23 before `sha256msg2` adds what depends on words 18 to 21.
    word_20: __m128i,
}

/// The state of a chain.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// A chain: its state, and the last sixteen words of its message.
#[derive(Clone, Copy)]
struct Chain {
    state: State,
    words: [__m128i; 4],
}

#[target_feature(enable = "sha,sse4.1")]
fn search_with(prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
    let mut block = prepared.tail.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
    let mut four = || vector([(); 4].map(|()| block.next().expect("sixteen words")));
    let block = [four(), four(), four(), four()];
    let word_16 = next_words(block[0], block[1], block[2], block[3]);
    let word_20 = add(_mm_sha256msg1_epu32(block[1], block[2]), _mm_alignr_epi8::<4>(word_16, block[3]));
    let shared = Shared { midstate: state(&prepared.midstate), state: state(&prepared.state), block, word_16, word_20 };
    lanes::find(prepared, nonces, WAYS as u64, |word| candidates(&shared, word, prepared.zeros))
}

#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn vector(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(|word| word as i32);
    _mm_setr_epi32(a, b, c, d)
}

#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn add(x: __m128i, y: __m128i) -> __m128i {
    _mm_add_epi32(x, y)
}

#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn state(words: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = *words;
    State { abef: vector([f, e, b, a]), cdgh: vector([h, g, d, c]) }
}

/// Four words of the message from the sixteen before them.
#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn next_words(w0: __m128i, w4: __m128i, w8: __m128i, w12: __m128i) -> __m128i {
    let sum = add(_mm_sha256msg1_epu32(w0, w4), _mm_alignr_epi8::<4>(w12, w8));
    _mm_sha256msg2_epu32(sum, w12)
}

/// The round constants of rounds `4 * G` to `4 * G + 3`.
#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn k<const G: usize>() -> __m128i {
    vector([K[4 * G], K[4 * G + 1], K[4 * G + 2], K[4 * G + 3]])
}

/// Four rounds of a chain, with words that have the round constants added.
#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn rounds(state: &mut State, keyed: __m128i) {
    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, keyed);
    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0b11_10>(keyed));
}

/// Rounds `4 * G` to `4 * G + 3` of all chains, with the next four words of their messages.
#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn step<const G: usize>(chains: &mut [Chain; WAYS]) {
    for chain in chains {
        let w = &mut chain.words;
        w[G % 4] = next_words(w[G % 4], w[(G + 1) % 4], w[(G + 2) % 4], w[(G + 3) % 4]);
        rounds(&mut chain.state, add(w[G % 4], k::<G>()));
    }
}

macro_rules! steps {
    ($chains:ident $($group:literal)*) => {
        $(step::<$group>(&mut $chains);)*
    };
}

/// Hashes the header with a group of nonces, of which the first is given as a word of the message, and returns a bit for
/// each whose hash may meet the target.
#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn candidates(shared: &Shared, nonce_word: u32, zeros: u32) -> u32 {
    let mut chains = [Chain { state: shared.state, words: shared.block }; WAYS];
    for (way, chain) in chains.iter_mut().enumerate() {
        let nonce = nonce_word + ((way as u32) << 24);
        let w = &mut chain.words;
        w[3] = add(w[3], vector([nonce, 0, 0, 0]));
        rounds(&mut chain.state, add(w[3], k::<3>()));
        w[0] = add(shared.word_16, vector([0, 0, 0, nonce]));
        rounds(&mut chain.state, add(w[0], k::<4>()));
        w[1] = _mm_sha256msg2_epu32(shared.word_20, w[0]);
        rounds(&mut chain.state, add(w[1], k::<5>()));
    }
    steps!(chains 6 7 8 9 10 11 12 13 14 15);

    let initial = state(&SHA256_INITIAL);
    for chain in &mut chains {
        let abef = add(chain.state.abef, shared.midstate.abef);
        let cdgh = add(chain.state.cdgh, shared.midstate.cdgh);
        chain.words = [
            interleave::<0b10_11_10_11>(abef, cdgh),
            interleave::<0b00_01_00_01>(abef, cdgh),
            vector([0x8000_0000, 0, 0, 0]),
            vector([0, 0, 0, 256]),
        ];
        chain.state = initial;
        let w = &mut chain.words;
        rounds(&mut chain.state, add(w[0], k::<0>()));
        rounds(&mut chain.state, add(w[1], k::<1>()));
        rounds(&mut chain.state, add(w[2], k::<2>()));
        rounds(&mut chain.state, add(w[3], k::<3>()));
        // Words 9 to 12, which would be added, are zero.
        w[0] = _mm_sha256msg2_epu32(_mm_sha256msg1_epu32(w[0], w[1]), w[3]);
        rounds(&mut chain.state, add(w[0], k::<4>()));
    }
    steps!(chains 5 6 7 8 9 10 11 12 13 14);

    let mut bits = 0;
    for (way, chain) in chains.iter().enumerate() {
        // Rounds 60 and 61. What is `e` after round 60, and so `f` after round 61, is the digest's last word, less the
        // initial one, after round 63.
        let w = &chain.words;
        let keyed = add(next_words(w[3], w[0], w[1], w[2]), k::<15>());
        let abef = _mm_sha256rnds2_epu32(chain.state.cdgh, chain.state.abef, keyed);
        let last = (_mm_cvtsi128_si32(abef) as u32).wrapping_add(SHA256_INITIAL[7]);
        bits |= u32::from(last & zeros == 0) << way;
    }
    bits
}

/// Two lanes of `x` below two lanes of `y`.
#[target_feature(enable = "sha,sse4.1")]
#[inline]
fn interleave<const LANES: i32>(x: __m128i, y: __m128i) -> __m128i {
    _mm_castps_si128(_mm_shuffle_ps::<LANES>(_mm_castsi128_ps(x), _mm_castsi128_ps(y)))
}
