//! Sixteen nonces at a time with AVX-512, which rotates in one instruction and has any function of three inputs in one.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use crate::hash::SHA256_INITIAL;
use crate::miner::kernel::Kernel;
use crate::miner::lanes;
use crate::miner::prepared::{INNER_VARIES, LAST_A, NONCE_WORD, OUTER_CONSTANTS, OUTER_VARIES, Prepared};

pub(super) const KERNEL: Kernel =
    Kernel { name: "avx512", is_available: || is_x86_feature_detected!("avx512f"), search };

fn search(prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
    assert!((KERNEL.is_available)());
    lanes::find(prepared, nonces, 16, |word| {
        // SAFETY: the processor has the feature: it was asked above.
        unsafe { candidates(prepared, word) }
    })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word as i32)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(x: __m512i, y: __m512i) -> __m512i {
    _mm512_add_epi32(x, y)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate<const N: i32>(x: __m512i) -> __m512i {
    _mm512_ror_epi32::<N>(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn shift<const N: u32>(x: __m512i) -> __m512i {
    _mm512_srli_epi32::<N>(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<{ 0xf0 ^ 0xcc ^ 0xaa }>(x, y, z)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn choice(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<{ 0xf0 & 0xcc | !0xf0 & 0xaa }>(x, y, z)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn majority(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<{ 0xf0 & 0xcc | 0xf0 & 0xaa | 0xcc & 0xaa }>(x, y, z)
}

/// The vector itself, of which the compiler knows no more than that it is made here.
#[target_feature(enable = "avx512f")]
#[inline]
fn pin(x: __m512i) -> __m512i {
    let pinned;
    // SAFETY: it has no instruction; its one comment makes use of the register.
    unsafe { asm!("/* {0} */", inlateout(zmm_reg) x => pinned, options(nomem, nostack, preserves_flags)) }
    pinned
}

/// The nonce words of a group: nonces count in the word's highest byte.
#[target_feature(enable = "avx512f")]
#[inline]
fn nonces(first: u32) -> __m512i {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    add(splat(first), _mm512_slli_epi32::<24>(lanes))
}

/// A bit for each lane in which all bits of `mask` are zero.
#[target_feature(enable = "avx512f")]
#[inline]
fn zeros(words: __m512i, mask: u32) -> u32 {
    _mm512_testn_epi32_mask(words, splat(mask)).into()
}

lanes::candidates!("avx512f", __m512i);
