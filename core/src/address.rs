//! Addresses: an account id in bech32m (BIP-350) under the prefix that the chain's genesis names.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};

use crate::key::AccountId;

/// The longest prefix in characters, so that an address stays within the 90 characters that the checksum protects.
pub const MAX_PREFIX: usize = 16;

/// Why a text is not an address of this chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A mistyped character, a missing one, or no address at all.
    #[error("not an address: the checksum or a character is wrong")]
    Malformed,
    /// An address of another chain.
    #[error("an address of another chain: it starts with {found}1, this chain's with {expected}1")]
    WrongPrefix {
        /// The prefix of this chain.
        expected: String,
        /// The prefix found.
        found: String,
    },
    /// The checksum holds, but the data are not 32 bytes.
    #[error("not an address: it holds {0} bytes where an account id has 32")]
    WrongLength(usize),
}

/// Whether `prefix` can stand before addresses: 1 to 16 lower-case ASCII letters.
pub fn is_valid_prefix(prefix: &str) -> bool {
    (1..=MAX_PREFIX).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// The address of `account` under `prefix`, in lower case.
///
/// # Panics
/// If `prefix` is not valid; the parameters of a chain hold only valid ones.
pub fn encode_address(prefix: &str, account: &AccountId) -> String {
    let hrp = Hrp::parse(prefix).expect("a chain's prefix was checked with its parameters");
    bech32::encode::<Bech32m>(hrp, &account.0).expect("32 bytes are within the code length")
}

/// The account of an address that must carry `prefix`; all upper or all lower case.
pub fn decode_address(prefix: &str, text: &str) -> Result<AccountId, AddressError> {
    let parsed = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| AddressError::Malformed)?;
    let found = parsed.hrp().to_lowercase();
    if found != prefix {
        return Err(AddressError::WrongPrefix { expected: prefix.to_owned(), found });
    }
    // Spare bits that are not zero would give one account sixteen spellings (BIP-173).
    parsed.validate_segwit_padding().map_err(|_| AddressError::Malformed)?;
    let bytes: Vec<u8> = parsed.byte_iter().collect();
    let length = bytes.len();
    bytes.try_into().map(AccountId).map_err(|_| AddressError::WrongLength(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        let account = AccountId([7; 32]);
        let address = encode_address("dry", &account);
        assert!(address.starts_with("dry1"));
        assert_eq!(decode_address("dry", &address), Ok(account));
        assert_eq!(decode_address("dry", &address.to_uppercase()), Ok(account));
    }

    #[test]
    fn bad_addresses_are_told_apart() {
        let address = encode_address("dry", &AccountId([7; 32]));
        let wrong = AddressError::WrongPrefix { expected: "tdry".into(), found: "dry".into() };
        assert_eq!(decode_address("tdry", &address), Err(wrong));
        for i in 0..address.len() {
            let mut mistyped = address.clone().into_bytes();
            mistyped[i] = if mistyped[i] == b'q' { b'p' } else { b'q' };
            let mistyped = String::from_utf8(mistyped).expect("ASCII");
            assert_eq!(decode_address("dry", &mistyped), Err(AddressError::Malformed), "character {i}");
        }
        let short = bech32::encode::<Bech32m>(Hrp::parse("dry").expect("valid"), &[0; 20]).expect("short");
        assert_eq!(decode_address("dry", &short), Err(AddressError::WrongLength(20)));
        assert_eq!(decode_address("dry", ""), Err(AddressError::Malformed));
        // The checksum holds, but a spare bit of the last character is set: a second spelling of one account.
        let spare = "dry1crqu9s7ychrv0jxfet9uenwwelgdr5kn6n2ad47cm8ddhhxamm035je3le";
        assert_eq!(decode_address("dry", spare), Err(AddressError::Malformed));
    }
}
