//! `address`: the text of an address under a chain's prefix.

use drystone_core::address::{AddressError, MAX_PREFIX, decode_address, encode_address, is_valid_prefix};
use drystone_core::key::AccountId;

use super::bytes::Bytes;

/// The characters of bech32 after its separator (BIP-173).
const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const PREFIXES: [&str; 4] = ["dry", "tdry", "x", "abcdefghijklmnop"];

/// What decodes is the one spelling of its account, in lower or in upper case; what is encoded decodes under its prefix
/// alone, and with no two characters changed.
pub(super) fn address(input: &[u8]) -> bool {
    let mut bytes = Bytes::new(input);
    let prefix = PREFIXES[bytes.below(PREFIXES.len())];
    let text = String::from_utf8_lossy(bytes.rest());
    let mut script = Bytes::new(text.as_bytes());
    any_account(prefix, &mut script);
    match decode_address(prefix, &text) {
        Ok(account) => {
            assert_eq!(encode_address(prefix, &account), text.to_ascii_lowercase());
            assert_eq!(decode_address(prefix, &text.to_ascii_uppercase()), Ok(account));
            true
        }
        Err(AddressError::WrongPrefix { expected, found }) => {
            assert_eq!(expected, prefix);
            assert_ne!(found, prefix);
            // Of another chain, if one may have such a prefix.
            if let Ok(account) = decode_address(&found, &text)
                && is_valid_prefix(&found)
            {
                assert_eq!(encode_address(&found, &account), text.to_ascii_lowercase());
            }
            true
        }
        Err(AddressError::WrongLength(length)) => {
            assert_ne!(length, 32);
            true
        }
        Err(AddressError::Malformed) => false,
    }
}

fn any_account(prefix: &str, script: &mut Bytes<'_>) {
    let account = AccountId(script.array());
    let text = encode_address(prefix, &account);
    assert!(text.len() <= MAX_PREFIX + 1 + 52 + 6 && text.is_ascii());
    assert_eq!(decode_address(prefix, &text), Ok(account));
    // The checksum finds every change of up to four characters in 89 (BIP-173).
    let mut mistyped = text.clone().into_bytes();
    let data = prefix.len() + 1;
    for _ in 0..2 {
        let place = data + script.below(text.len() - data);
        mistyped[place] = CHARSET[script.below(32)];
    }
    let mistyped = String::from_utf8(mistyped).expect("ASCII");
    assert_eq!(decode_address(prefix, &mistyped).is_ok(), mistyped == text, "{mistyped}");
}
