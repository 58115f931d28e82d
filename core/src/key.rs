//! Keys and the exact signature rule, single and in batches.
//!
//! The rule (consensus): with signature `(R, s)` and key `A`, refuse
//! 1. an `A` or `R` whose encoding is not canonical (`y >= p`, or `x = 0` with the sign bit set),
//! 2. an `A` or `R` of small order,
//! 3. `s >= l`,
//!
//! then require `[8][s]B = [8]R + [8][k]A` (ZIP-215). Implementations of ed25519 disagree on crafted signatures
//! (Chalkias, Garillot, Nikolaenko: "Taming the many EdDSAs", 2020), and so do single and batched verification of most
//! of them; with these refusals and the cofactored equation both answers are one. `ed25519-dalek` signs,
//! `ed25519-zebra` verifies.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use ed25519_zebra::batch;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::ZeroizeOnDrop;

use crate::hash::{BATCH_SEED, DEV_KEY, HexError, byte_type, deserialize_array, parse_hex, serialize_array};

byte_type!(
    /// An account: an ed25519 public key. Where money is sent to, any 32 bytes.
    AccountId, 32, false
);
byte_type!(
    /// An ed25519 signature: `R` then `s`, 64 bytes.
    Signature, 64, false
);

/// Signatures verified together: past about a thousand the saving per signature stops growing.
pub const BATCH_SIZE: usize = 1024;

/// The y coordinates of the small-order points, in canonical encoding; the sign bit is masked off before comparing.
/// The eight points have five distinct y: 1 (order 1), -1 (order 2), 0 (order 4) and two of order 8.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    small_y(1),
    p_minus(1),
    small_y(0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// The group order `l = 2^252 + 27742317777372353535851937790883648493`, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

const fn small_y(y: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = y;
    bytes
}

/// `p - n` for `p = 2^255 - 19`, little-endian; `n` small.
const fn p_minus(n: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed - n;
    bytes[31] = 0x7f;
    bytes
}

/// Whether `a < b` as little-endian numbers.
fn less(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// Why a signature does not authorise a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key's encoding is not canonical.
    #[error("the key is not canonically encoded")]
    NonCanonicalKey,
    /// The key has small order: anyone could sign for it.
    #[error("the key has small order")]
    SmallOrderKey,
    /// R's encoding is not canonical.
    #[error("the signature's R is not canonically encoded")]
    NonCanonicalR,
    /// R has small order.
    #[error("the signature's R has small order")]
    SmallOrderR,
    /// s is not below the group order.
    #[error("the signature's s is not reduced")]
    UnreducedS,
    /// A point does not decompress or the equation does not hold.
    #[error("the signature does not match")]
    Mismatch,
}

/// A signature with what it signs, ready to be verified.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    /// Who signed.
    pub signer: AccountId,
    /// The signature.
    pub signature: Signature,
    /// The exact bytes that were signed.
    pub message: Vec<u8>,
}

impl SignedMessage {
    /// Refuses what needs no curve arithmetic to refuse: rules 1 to 3.
    pub fn check_encoding(&self) -> Result<(), SignatureError> {
        let (r, s) = self.signature.0.split_at(32);
        let r: [u8; 32] = r.try_into().expect("half of 64 bytes");
        let s: [u8; 32] = s.try_into().expect("half of 64 bytes");
        check_point(&self.signer.0, SignatureError::NonCanonicalKey, SignatureError::SmallOrderKey)?;
        check_point(&r, SignatureError::NonCanonicalR, SignatureError::SmallOrderR)?;
        if less(&s, &ORDER) { Ok(()) } else { Err(SignatureError::UnreducedS) }
    }

    /// Verifies this signature alone.
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.check_encoding()?;
        self.item().verify_single().map_err(|_| SignatureError::Mismatch)
    }

    fn item(&self) -> batch::Item {
        let signature = ed25519_zebra::Signature::from_bytes(&self.signature.0);
        batch::Item::from((self.signer.0.into(), signature, &self.message))
    }
}

fn check_point(bytes: &[u8; 32], noncanonical: SignatureError, small: SignatureError) -> Result<(), SignatureError> {
    let sign = bytes[31] >> 7 == 1;
    let mut y = *bytes;
    y[31] &= 0x7f;
    let x_is_zero = y == small_y(1) || y == p_minus(1);
    if !less(&y, &p_minus(0)) || (sign && x_is_zero) {
        return Err(noncanonical);
    }
    if SMALL_ORDER_Y.contains(&y) { Err(small) } else { Ok(()) }
}

/// Verifies all of `items` on all cores of the current rayon pool, in batches grouped by signer.
///
/// The batch equation's coefficients come from ChaCha20, seeded with a tagged hash of `secret` (32 bytes that no peer
/// knows) and of the batch itself, so that nobody can craft signatures whose errors cancel. A batch that fails is
/// checked again one by one.
///
/// # Errors
/// The lowest index of a signature that fails, and why.
pub fn verify_batch(items: &[SignedMessage], secret: &[u8; 32]) -> Result<(), (usize, SignatureError)> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by_key(|&i| (items[i].signer, i));
    order
        .par_chunks(BATCH_SIZE)
        .map(|chunk| verify_chunk(items, chunk, secret))
        .reduce_with(|a, b| match (a, b) {
            (Err(a), Err(b)) => Err(if a.0 <= b.0 { a } else { b }),
            (Ok(()), other) | (other, Ok(())) => other,
        })
        .unwrap_or(Ok(()))
}

fn verify_chunk(items: &[SignedMessage], chunk: &[usize], secret: &[u8; 32]) -> Result<(), (usize, SignatureError)> {
    let singly = || {
        let failure = |&i: &usize| items[i].verify().err().map(|error| (i, error));
        chunk.iter().filter_map(failure).min_by_key(|(i, _)| *i).map_or(Ok(()), Err)
    };
    let mut verifier = batch::Verifier::new();
    // Each message is told by its length from what follows it, so no two batches share a seed.
    let lengths: Vec<[u8; 8]> = chunk.iter().map(|&i| (items[i].message.len() as u64).to_le_bytes()).collect();
    let mut parts: Vec<&[u8]> = vec![secret];
    for (&i, length) in chunk.iter().zip(&lengths) {
        if items[i].check_encoding().is_err() {
            return singly();
        }
        parts.extend([&items[i].signer.0[..], &items[i].signature.0[..], length, &items[i].message[..]]);
        verifier.queue(items[i].item());
    }
    let rng = ChaCha20Rng::from_seed(BATCH_SEED.hash(&parts));
    if verifier.verify(rng).is_ok() { Ok(()) } else { singly() }
}

/// A secret signing key: an ed25519 seed of 32 bytes, wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key of a seed (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The secret key of funded account `index` of the embedded development chain. Everyone knows it.
    pub fn dev(index: u8) -> SecretKey {
        SecretKey::from_seed(&DEV_KEY.hash(&[&[index]]))
    }

    /// The account that the key signs for.
    pub fn account(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.account())
    }
}

#[cfg(test)]
mod tests;
