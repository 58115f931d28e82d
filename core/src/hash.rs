//! The hashes: one tag per purpose, one type per meaning, so that no hash can stand where another is meant.
//!
//! `H_tag(m) = SHA256(SHA256(tag) || SHA256(tag) || m)` as in BIP-340. The two tag digests fill exactly one
//! SHA-256 block, so each tag keeps the state after that block and a short message costs no more than its own blocks.
//! The block hash alone is SHA-256d of the header, as in Bitcoin.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// The initial state of SHA-256 (FIPS 180-4, 5.3.3).
pub const SHA256_INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A domain: what a hash is for, and the SHA-256 state after its prefix.
pub struct Tag {
    name: &'static str,
    midstate: OnceLock<[u32; 8]>,
}

macro_rules! tags {
    ($($(#[$doc:meta])* $id:ident = $name:literal;)*) => {
        $($(#[$doc])* pub static $id: Tag = Tag { name: $name, midstate: OnceLock::new() };)*

        /// Every tag of the protocol, in the order of PROTOCOL.md.
        pub static TAGS: &[&Tag] = &[$(&$id),*];
    };
}

tags! {
    /// The identity of a transaction for people: its body without the signature.
    TXID = "drystone/txid";
    /// The identity of a transaction on the wire: all its bytes.
    WIRE_ID = "drystone/wire-id";
    /// A leaf of a block's transaction tree.
    TX_LEAF = "drystone/tx-leaf";
    /// An inner node of a block's transaction tree.
    TX_NODE = "drystone/tx-node";
    /// The state key of an account.
    ACCOUNT_KEY = "drystone/account-key";
    /// The state key of a reward that has not matured.
    REWARD_KEY = "drystone/reward-key";
    /// The state key of the history root.
    HISTORY_KEY = "drystone/history-key";
    /// A leaf of the state tree.
    STATE_LEAF = "drystone/state-leaf";
    /// An inner node of the state tree.
    STATE_NODE = "drystone/state-node";
    /// A leaf of the history range: an ancestor's hash and cumulative work.
    HISTORY_LEAF = "drystone/history-leaf";
    /// An inner node of the history range.
    HISTORY_NODE = "drystone/history-node";
    /// The chain parameters, which the genesis header carries as its parent.
    PARAMS = "drystone/params";
    /// The seed of a signature batch's coefficients (local, not part of the protocol's bytes).
    BATCH_SEED = "drystone/batch-seed";
    /// The secret keys of a development chain's funded accounts.
    DEV_KEY = "drystone/dev-key";
}

impl Tag {
    /// The tag's text.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Hashes the concatenation of `parts` under this tag.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut state = *self.midstate.get_or_init(|| {
            let digest: [u8; 32] = Sha256::digest(self.name.as_bytes()).into();
            let mut block = [0; 64];
            block[..32].copy_from_slice(&digest);
            block[32..].copy_from_slice(&digest);
            let mut state = SHA256_INITIAL;
            compress256(&mut state, &[block]);
            state
        });
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length <= 64 {
            compress256(&mut state, short_blocks(parts, length, &mut [[0; 64]; 2]));
            return state_bytes(&state);
        }
        let mut block = [0u8; 64];
        let mut filled = 0;
        let mut total = 64u64;
        for part in parts {
            total += part.len() as u64;
            let mut rest = *part;
            while !rest.is_empty() {
                let take = rest.len().min(64 - filled);
                block[filled..filled + take].copy_from_slice(&rest[..take]);
                filled += take;
                rest = &rest[take..];
                if filled == 64 {
                    compress256(&mut state, &[block]);
                    filled = 0;
                }
            }
        }
        block[filled] = 0x80;
        block[filled + 1..].fill(0);
        if filled >= 56 {
            compress256(&mut state, &[block]);
            block = [0; 64];
        }
        block[56..].copy_from_slice(&(total * 8).to_be_bytes());
        compress256(&mut state, &[block]);
        state_bytes(&state)
    }
}

/// Lays out a message of at most 64 bytes after a tag's block, with its padding. Nodes and leaves of trees are this short,
/// and one pass over a fixed buffer costs them a sixth less than the general loop.
fn short_blocks<'a>(parts: &[&[u8]], length: usize, blocks: &'a mut [[u8; 64]; 2]) -> &'a [[u8; 64]] {
    let bytes = blocks.as_flattened_mut();
    let mut filled = 0;
    for part in parts {
        bytes[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    bytes[length] = 0x80;
    let end = if length < 56 { 64 } else { 128 };
    bytes[end - 8..end].copy_from_slice(&(8 * (64 + length as u64)).to_be_bytes());
    &blocks[..end / 64]
}

/// A SHA-256 state as digest bytes.
pub(crate) fn state_bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// SHA-256 applied twice, as Bitcoin hashes a header.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Text that is not the hex of the right number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hex digits")]
pub struct HexError {
    /// How many hex digits the type prints.
    pub expected: usize,
}

/// Parses exactly `2 * N` hex digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).map_err(|_| HexError { expected: 2 * N })?;
    Ok(out)
}

/// Writes a fixed array as its bytes, with no length before them. It goes to the encoder in little-endian words of eight
/// bytes, which are the same bytes in the canonical encoding at an eighth of the calls.
pub(crate) fn serialize_array<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    const { assert!(N.is_multiple_of(8), "whole words") };
    let mut tuple = serializer.serialize_tuple(N / 8)?;
    for word in bytes.as_chunks::<8>().0 {
        tuple.serialize_element(&u64::from_le_bytes(*word))?;
    }
    tuple.end()
}

/// Reads a fixed array from its bytes.
pub(crate) fn deserialize_array<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    struct Bytes<const N: usize>;
    impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
        type Value = [u8; N];
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut out = [0; N];
            for (i, bytes) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let word: u64 = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(i, &self))?;
                *bytes = word.to_le_bytes();
            }
            Ok(out)
        }
    }
    deserializer.deserialize_tuple(N / 8, Bytes::<N>)
}

/// Defines a fixed-size byte type: hex in text (reversed where the type is read as a little-endian number), raw in the encoding.
macro_rules! byte_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $reversed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut bytes = self.0;
                if $reversed {
                    bytes.reverse();
                }
                f.write_str(&hex::encode(bytes))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes: [u8; $bytes] = parse_hex(text)?;
                if $reversed {
                    bytes.reverse();
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serialize_array(&self.0, serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    deserialize_array(deserializer).map(Self)
                }
            }
        }
    };
}
pub(crate) use byte_type;

byte_type!(
    /// SHA-256d of a header. Printed as a big-endian number, so that the leading zeros of its work show.
    BlockHash, 32, true
);
byte_type!(
    /// The root of the state tree after a block.
    StateRoot, 32, false
);
byte_type!(
    /// The root of a block's transaction tree.
    TxRoot, 32, false
);
byte_type!(
    /// A transaction's body hash: what people quote. Several signatures can share it.
    Txid, 32, false
);
byte_type!(
    /// The hash of all bytes of a transaction, signature included.
    WireId, 32, false
);
byte_type!(
    /// The root of the history range over a block's ancestors.
    HistoryRoot, 32, false
);

impl BlockHash {
    /// Stands where no block is: before any chain exists.
    pub const ZERO: BlockHash = BlockHash([0; 32]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word, without the midstate.
    fn plain(tag: &str, message: &[u8]) -> [u8; 32] {
        let digest = Sha256::digest(tag.as_bytes());
        Sha256::new().chain_update(digest).chain_update(digest).chain_update(message).finalize().into()
    }

    #[test]
    fn tagged_hash_is_the_definition_at_every_length_and_split() {
        let message: Vec<u8> = (0..=255u8).collect();
        for length in 0..=message.len() {
            let split = length / 3;
            let parts = [&message[..split], &message[split..length]];
            assert_eq!(TXID.hash(&parts), plain(TXID.name(), &message[..length]), "length {length}");
        }
    }

    #[test]
    fn tags_are_distinct() {
        let mut names: Vec<_> = TAGS.iter().map(|tag| tag.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TAGS.len());
    }

    #[test]
    fn block_hash_prints_reversed_and_other_hashes_do_not() {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        assert!(BlockHash(bytes).to_string().ends_with("01"));
        assert!(StateRoot(bytes).to_string().starts_with("01"));
        assert_eq!(BlockHash(bytes).to_string().parse(), Ok(BlockHash(bytes)));
        assert!("00".parse::<Txid>().is_err());
    }
}
