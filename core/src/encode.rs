//! The canonical encoding: the only room that knows bincode.
//!
//! Integers are little-endian and of fixed width, lengths are u64, an option is one byte (0 or 1) before its value, a
//! variant its number (u32) before its fields; nothing else is tagged. Decoding refuses input over the kind's cap before it
//! looks inside, trailing bytes, and anything that does not encode back to the same bytes, so that accepted bytes and
//! values correspond one to one.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError as BincodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most memory that bincode may claim while it decodes. It guards memory and decides nothing: every cap is far below.
const MEMORY_LIMIT: usize = 256 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MEMORY_LIMIT>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MEMORY_LIMIT>();

/// A type with a canonical encoding of bounded length.
pub trait Encodable: Serialize + DeserializeOwned {
    /// The longest encoding in bytes that is ever looked at.
    const MAX_BYTES: usize;
}

/// Why bytes are not the canonical encoding of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input is longer than its kind allows.
    #[error("{length} bytes, at most {max} allowed")]
    TooLong {
        /// The input's length in bytes.
        length: usize,
        /// The cap of the kind in bytes.
        max: usize,
    },
    /// The bytes end early or do not form a value.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// The value has another encoding.
    #[error("not the canonical encoding")]
    NotCanonical,
    /// The text is not an even number of hex digits.
    #[error("not hex")]
    NotHex,
}

/// The canonical bytes of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, CONFIG).expect("encoding to memory fails for no type of the protocol")
}

/// The length in bytes of `value`'s canonical encoding.
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    struct Count(usize);
    impl Writer for Count {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0 += bytes.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    bincode::serde::encode_into_writer(value, &mut count, CONFIG).expect("counting cannot fail");
    count.0
}

/// Decodes a value from exactly its canonical bytes.
pub fn decode<T: Encodable>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_capped(bytes, T::MAX_BYTES)
}

/// Decodes like [`decode`], under a cap of the caller's (a chain's own block size).
pub fn decode_capped<T: Serialize + DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { length: bytes.len(), max });
    }
    let (value, used) = bincode::serde::decode_from_slice::<T, _>(bytes, CONFIG)
        .map_err(|error| DecodeError::Malformed(in_words(&error)))?;
    if used < bytes.len() {
        return Err(DecodeError::Trailing(bytes.len() - used));
    }
    let mut same = Same(bytes);
    bincode::serde::encode_into_writer(&value, &mut same, CONFIG).map_err(|_| DecodeError::NotCanonical)?;
    if same.0.is_empty() { Ok(value) } else { Err(DecodeError::NotCanonical) }
}

/// bincode's errors print its own types; people need less and clearer words.
fn in_words(error: &BincodeError) -> &'static str {
    match error {
        BincodeError::UnexpectedEnd { .. } => "the bytes end early",
        BincodeError::LimitExceeded => "a length claims more than any input holds",
        _ => "a field holds no possible value",
    }
}

/// Decodes a value from the hex of its canonical bytes.
pub fn decode_hex<T: Encodable>(text: &str) -> Result<T, DecodeError> {
    decode(&hex::decode(text).map_err(|_| DecodeError::NotHex)?)
}

/// Compares what is written with what was read, and keeps nothing.
struct Same<'a>(&'a [u8]);

impl Writer for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 = self.0.strip_prefix(bytes).ok_or(EncodeError::Other("differs"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_little_endian_and_lengths_are_u64() {
        assert_eq!(encode(&0x0102_0304u32), [4, 3, 2, 1]);
        assert_eq!(encode(&vec![7u8]), [1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(encoded_len(&vec![7u8]), 9);
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.push(1);
        assert!(matches!(decode_capped::<Vec<u8>>(&bytes, 100), Err(DecodeError::Malformed(_))));
        let bytes = (1u64 << 27).to_le_bytes();
        assert!(matches!(decode_capped::<Vec<u64>>(&bytes, 100), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn caps_and_trailing_bytes_are_errors() {
        assert_eq!(decode_capped::<u8>(&[1, 2], 1), Err(DecodeError::TooLong { length: 2, max: 1 }));
        assert_eq!(decode_capped::<u8>(&[1, 2], 2), Err(DecodeError::Trailing(1)));
        assert!(matches!(decode_capped::<u64>(&[1, 2], 8), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode_capped::<bool>(&[2], 8), Err(DecodeError::Malformed(_))));
    }
}
