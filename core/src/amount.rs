//! Amounts of money: whole chips, checked arithmetic, and the text that people read and write.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Chips in one stone.
pub const CHIPS_PER_STONE: u64 = 100_000_000;

/// The most that a chain may ever issue: 2^53 - 1 chips, so that every amount is exact in a JSON number too.
pub const MAX_SUPPLY: Amount = Amount((1 << 53) - 1);

/// A number of chips. In the encoding a u64; in JSON a decimal string of chips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u64);

impl Amount {
    /// No chips.
    pub const ZERO: Amount = Amount(0);

    /// The sum, or nothing where it does not fit in 64 bits.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// The difference, or nothing where it would be negative.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// Parses stones with up to eight decimals, such as `12.5`.
    pub fn from_stones(text: &str) -> Result<Amount, AmountError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(AmountError::NotANumber);
        }
        if fraction.len() > 8 {
            return Err(AmountError::TooFine);
        }
        let whole: u64 = whole.parse().map_err(|_| AmountError::TooLarge)?;
        let fraction: u64 = format!("{fraction:0<8}").parse().map_err(|_| AmountError::NotANumber)?;
        whole
            .checked_mul(CHIPS_PER_STONE)
            .and_then(|chips| chips.checked_add(fraction))
            .map(Amount)
            .filter(|amount| *amount <= MAX_SUPPLY)
            .ok_or(AmountError::TooLarge)
    }

    /// The amount in stones, without trailing zeros: `12.5`.
    pub fn to_stones(self) -> String {
        let (whole, fraction) = (self.0 / CHIPS_PER_STONE, self.0 % CHIPS_PER_STONE);
        if fraction == 0 {
            return whole.to_string();
        }
        format!("{whole}.{fraction:08}").trim_end_matches('0').to_owned()
    }
}

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Something else than decimal digits with at most one point.
    #[error("not a decimal amount")]
    NotANumber,
    /// More decimals than a chip has.
    #[error("more than eight decimals")]
    TooFine,
    /// More than can ever be issued.
    #[error("larger than the largest possible supply")]
    TooLarge,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Parses a decimal number of chips; no sign, no leading zero.
    fn from_str(text: &str) -> Result<Amount, AmountError> {
        let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
        if text.is_empty() || !canonical {
            return Err(AmountError::NotANumber);
        }
        text.parse().map(Amount).map_err(|_| AmountError::TooLarge)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Amount)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stones_round_trip() {
        for (text, chips) in [("0", 0), ("1", 100_000_000), ("12.5", 1_250_000_000), ("0.00000001", 1)] {
            assert_eq!(Amount::from_stones(text), Ok(Amount(chips)));
            assert_eq!(Amount(chips).to_stones(), text);
        }
    }

    #[test]
    fn bad_stones_are_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1"] {
            assert_eq!(Amount::from_stones(text), Err(AmountError::NotANumber), "{text}");
        }
        assert_eq!(Amount::from_stones("0.123456789"), Err(AmountError::TooFine));
        for text in ["90071993", "99999999999999999999", "184467440738"] {
            assert_eq!(Amount::from_stones(text), Err(AmountError::TooLarge), "{text}");
        }
        assert_eq!(Amount::from_stones("90071992.54740991"), Ok(MAX_SUPPLY));
    }

    #[test]
    fn chips_have_one_spelling() {
        assert_eq!("18446744073709551615".parse(), Ok(Amount(u64::MAX)));
        for text in ["", "01", "+1", "-1", "1.0", "18446744073709551616"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}
