//! Eight nonces at a time with AVX2, which puts together of several instructions what AVX-512 does in one.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use crate::hash::SHA256_INITIAL;
use crate::miner::kernel::Kernel;
use crate::miner::lanes;
use crate::miner::prepared::{INNER_VARIES, LAST_A, NONCE_WORD, OUTER_CONSTANTS, OUTER_VARIES, Prepared};

pub(super) const KERNEL: Kernel = Kernel { name: "avx2", is_available: || is_x86_feature_detected!("avx2"), search };

fn search(prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
    assert!((KERNEL.is_available)());
    lanes::find(prepared, nonces, 8, |word| {
        // SAFETY: the processor has the feature: it was asked above.
        unsafe { candidates(prepared, word) }
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word as i32)
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: __m256i, y: __m256i) -> __m256i {
    _mm256_add_epi32(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const N: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(shift::<N>(x), _mm256_sll_epi32(x, _mm_cvtsi32_si128(32 - N)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn shift<const N: i32>(x: __m256i) -> __m256i {
    _mm256_srli_epi32::<N>(x)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(x: __m256i, y: __m256i) -> __m256i {
    _mm256_xor_si256(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn and(x: __m256i, y: __m256i) -> __m256i {
    _mm256_and_si256(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(xor(x, y), z)
}

#[target_feature(enable = "avx2")]
#[inline]
fn choice(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(and(xor(y, z), x), z)
}

#[target_feature(enable = "avx2")]
#[inline]
fn majority(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    // The compiler keeps `x ^ y` for the next round, where it is this `y ^ z`.
    xor(and(xor(x, y), xor(y, z)), y)
}

/// The vector itself, of which the compiler knows no more than that it is made here.
#[target_feature(enable = "avx2")]
#[inline]
fn pin(x: __m256i) -> __m256i {
    let pinned;
    // SAFETY: it has no instruction; its one comment makes use of the register.
    unsafe { asm!("/* {0} */", inlateout(ymm_reg) x => pinned, options(nomem, nostack, preserves_flags)) }
    pinned
}

/// The nonce words of a group: nonces count in the word's highest byte.
#[target_feature(enable = "avx2")]
#[inline]
fn nonces(first: u32) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    add(splat(first), _mm256_slli_epi32::<24>(lanes))
}

/// A bit for each lane in which all bits of `mask` are zero.
#[target_feature(enable = "avx2")]
#[inline]
fn zeros(words: __m256i, mask: u32) -> u32 {
    let zero = _mm256_cmpeq_epi32(_mm256_and_si256(words, splat(mask)), splat(0));
    _mm256_movemask_ps(_mm256_castsi256_ps(zero)) as u32
}

lanes::candidates!("avx2", __m256i);
