//! Proof of work: compact targets, 256-bit targets and the work they stand for.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use ruint::aliases::U256;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::{BlockHash, deserialize_array, parse_hex, serialize_array};

/// A target in the compact form of Bitcoin's `nBits`: one exponent byte, then 23 bits of mantissa under a sign bit.
/// In JSON eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CompactTarget(pub u32);

/// Why compact bits stand for no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// The sign bit is set.
    #[error("negative target")]
    Negative,
    /// The target is zero.
    #[error("zero target")]
    Zero,
    /// The target exceeds 256 bits.
    #[error("target over 256 bits")]
    Overflow,
}

impl CompactTarget {
    /// Expands to the 256-bit target: `mantissa * 256^(exponent - 3)`.
    pub fn to_target(self) -> Result<Target, BitsError> {
        let exponent = (self.0 >> 24) as usize;
        let mantissa = U256::from(self.0 & 0x007f_ffff);
        if self.0 & 0x0080_0000 != 0 {
            return Err(BitsError::Negative);
        }
        let target = if exponent <= 3 {
            mantissa >> (8 * (3 - exponent))
        } else {
            let shift = 8 * (exponent - 3);
            if mantissa.bit_len() + shift > 256 && !mantissa.is_zero() {
                return Err(BitsError::Overflow);
            }
            mantissa << shift
        };
        if target.is_zero() { Err(BitsError::Zero) } else { Ok(Target(target)) }
    }
}

impl fmt::Display for CompactTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for CompactTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CompactTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u32(self.0) }
    }
}

impl<'de> Deserialize<'de> for CompactTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let digits = text.strip_prefix("0x").unwrap_or(&text);
            parse_hex(digits).map(u32::from_be_bytes).map(Self).map_err(D::Error::custom)
        } else {
            u32::deserialize(deserializer).map(Self)
        }
    }
}

/// The largest block hash, as a number, that satisfies a header. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(pub(crate) U256);

impl Target {
    /// The hardest target.
    pub const MIN: Target = Target(U256::ONE);

    /// A target from a number; zero becomes [`Target::MIN`].
    pub fn new(value: U256) -> Target {
        Target(value.max(U256::ONE))
    }

    /// The target as a number.
    pub fn value(self) -> U256 {
        self.0
    }

    /// The compact form, rounded down to 23 bits of mantissa.
    pub fn to_compact(self) -> CompactTarget {
        let mut size = self.0.bit_len().div_ceil(8);
        let mut mantissa: u32 =
            if size <= 3 { (self.0 << (8 * (3 - size))).to() } else { (self.0 >> (8 * (size - 3))).to() };
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size += 1;
        }
        CompactTarget(mantissa | (size as u32) << 24)
    }

    /// Whether `hash`, read as a little-endian number, is at or below the target.
    pub fn is_met_by(self, hash: &BlockHash) -> bool {
        U256::from_le_bytes(hash.0) <= self.0
    }

    /// The expected number of hashes to meet the target: `2^256 / (target + 1)`, rounded down.
    pub fn work(self) -> Work {
        match self.0.checked_add(U256::ONE) {
            // 2^256 / (t + 1) = (2^256 - 1 - t) / (t + 1) + 1, which fits in 256 bits.
            Some(divisor) => Work(!self.0 / divisor + U256::ONE),
            None => Work(U256::ONE),
        }
    }
}

/// An amount of work in expected hashes: 256 bits, 32 bytes little-endian in the encoding, 64 hex digits big-endian in JSON.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work(pub(crate) U256);

impl Work {
    /// No work.
    pub const ZERO: Work = Work(U256::ZERO);

    /// The work of `hashes` expected hashes.
    pub fn from_hashes(hashes: u64) -> Work {
        Work(U256::from(hashes))
    }

    /// The number of expected hashes.
    pub fn value(self) -> U256 {
        self.0
    }

    /// The 32 little-endian bytes of the encoding.
    pub fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }

    /// Reads the 32 little-endian bytes of the encoding.
    pub fn from_le_bytes(bytes: [u8; 32]) -> Work {
        Work(U256::from_le_bytes(bytes))
    }

    /// The sum; it saturates, which no chain can reach.
    pub fn saturating_add(self, other: Work) -> Work {
        Work(self.0.saturating_add(other.0))
    }

    /// The work of `count` such; it saturates.
    pub fn saturating_mul(self, count: u64) -> Work {
        Work(self.0.saturating_mul(U256::from(count)))
    }

    /// The difference, zero where it would be negative.
    pub fn saturating_sub(self, other: Work) -> Work {
        Work(self.0.saturating_sub(other.0))
    }
}

impl Add for Work {
    type Output = Work;
    fn add(self, other: Work) -> Work {
        self.saturating_add(other)
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(iter: I) -> Work {
        iter.fold(Work::ZERO, Work::saturating_add)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serialize_array(&self.to_le_bytes(), serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Work {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            parse_hex(&text).map(|bytes: [u8; 32]| Work(U256::from_be_bytes(bytes))).map_err(D::Error::custom)
        } else {
            deserialize_array(deserializer).map(Work::from_le_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_expands_as_in_bitcoin() {
        let expands = |bits: u32| CompactTarget(bits).to_target().map(|target| target.0);
        assert_eq!(expands(0x1d00_ffff), Ok(U256::from(0xffffu64) << 208));
        assert_eq!(expands(0x0300_1234), Ok(U256::from(0x1234u64)));
        assert_eq!(expands(0x0200_1234), Ok(U256::from(0x12u64)));
        assert_eq!(expands(0x0480_0001), Err(BitsError::Negative));
        assert_eq!(expands(0x0100_1234), Err(BitsError::Zero));
        assert_eq!(expands(0x2000_0000), Err(BitsError::Zero));
        assert_eq!(expands(0x2100_ffff), Ok(U256::from(0xffffu64) << 240));
        assert_eq!(expands(0x2101_0000), Err(BitsError::Overflow));
        assert_eq!(expands(0xff12_3456), Err(BitsError::Overflow));
    }

    #[test]
    fn compact_round_trips() {
        for bits in [0x1d00_ffff, 0x1e00_ffff, 0x207f_ffff, 0x0101_0000, 0x0300_8000, 0x0500_8000] {
            assert_eq!(CompactTarget(bits).to_target().map(Target::to_compact), Ok(CompactTarget(bits)));
        }
        assert_eq!(Target(U256::MAX).to_compact(), CompactTarget(0x2100_ffff));
    }

    #[test]
    fn work_is_expected_hashes() {
        let work = |bits: u32| CompactTarget(bits).to_target().map(|target| target.work().0);
        assert_eq!(work(0x1d00_ffff), Ok(U256::from(0x1_0001_0001u64)));
        assert_eq!(work(0x207f_ffff), Ok(U256::from(2u64)));
        assert_eq!(Target(U256::MAX).work().0, U256::ONE);
        assert_eq!(Target(U256::ONE).work().0, U256::ONE << 255);
    }

    #[test]
    fn the_target_itself_is_met() {
        let target = Target(U256::from(5u64));
        let hash = |n: u64| BlockHash(U256::from(n).to_le_bytes());
        assert!(target.is_met_by(&hash(5)));
        assert!(!target.is_met_by(&hash(6)));
    }
}
