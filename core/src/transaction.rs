//! Transactions: a signed transfer from one account to another.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::Amount;
use crate::encode::{Encodable, encode};
use crate::hash::{BlockHash, TXID, Txid, WIRE_ID, WireId};
use crate::key::{AccountId, SecretKey, Signature, SignedMessage};

/// The longest memo in bytes.
pub const MAX_MEMO: usize = 256;

/// The first bytes of every signed message; they keep a transaction's signature from meaning anything else.
pub const SIGNING_TAG: &[u8; 16] = b"drystone/sign/v1";

/// Free bytes that travel with a transfer. In the encoding a u64 length and the bytes; in JSON hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo(pub Vec<u8>);

/// What a transaction does; everything that its signature covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionBody {
    /// Who pays and signs.
    pub from: AccountId,
    /// Who receives: any 32 bytes.
    pub to: AccountId,
    /// What `to` receives; zero is valid.
    pub amount: Amount,
    /// What the block's producer receives; zero is valid.
    pub fee: Amount,
    /// How many transactions `from` has sent before this one.
    pub nonce: u64,
    /// At most [`MAX_MEMO`] bytes.
    pub memo: Memo,
}

/// A signed transaction. Encoded as the body's fields, then the 64 bytes of the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What is signed.
    pub body: TransactionBody,
    /// The signature of `body.from` over [`TransactionBody::signing_message`].
    pub signature: Signature,
}

/// The encoded length in bytes of a transaction with an empty memo.
pub const MIN_TRANSACTION_BYTES: usize = 32 + 32 + 8 + 8 + 8 + 8 + 64;

impl Encodable for Transaction {
    const MAX_BYTES: usize = MIN_TRANSACTION_BYTES + MAX_MEMO;
}

impl TransactionBody {
    /// The bytes that are signed: [`SIGNING_TAG`], the chain id (the genesis hash), the encoded body.
    pub fn signing_message(&self, chain_id: &BlockHash) -> Vec<u8> {
        let mut message = Vec::with_capacity(48 + MIN_TRANSACTION_BYTES - 64 + self.memo.0.len());
        message.extend_from_slice(SIGNING_TAG);
        message.extend_from_slice(&chain_id.0);
        message.extend_from_slice(&encode(self));
        message
    }

    /// The transaction id: a tagged hash of the encoded body.
    pub fn txid(&self) -> Txid {
        Txid(TXID.hash(&[&encode(self)]))
    }

    /// Signs with `key`, which must be the key of `from` for the result to be valid.
    pub fn sign(self, chain_id: &BlockHash, key: &SecretKey) -> Transaction {
        let signature = key.sign(&self.signing_message(chain_id));
        Transaction { body: self, signature }
    }
}

impl Transaction {
    /// The transaction id, which does not depend on the signature.
    pub fn txid(&self) -> Txid {
        self.body.txid()
    }

    /// The tagged hash of all bytes.
    pub fn wire_id(&self) -> WireId {
        WireId(WIRE_ID.hash(&[&encode(self)]))
    }

    /// The encoded length in bytes.
    pub fn encoded_len(&self) -> usize {
        MIN_TRANSACTION_BYTES + self.body.memo.0.len()
    }

    /// The signature with the message it must match on the chain `chain_id`.
    pub fn signed_message(&self, chain_id: &BlockHash) -> SignedMessage {
        let message = self.body.signing_message(chain_id);
        SignedMessage { signer: self.body.from, signature: self.signature, message }
    }
}

impl fmt::Display for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Serialize for Memo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Memo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?).map(Memo).map_err(D::Error::custom)
        } else {
            Vec::deserialize(deserializer).map(Memo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{DecodeError, decode};

    fn transaction(memo: usize) -> Transaction {
        let key = SecretKey::dev(0);
        let body = TransactionBody {
            from: key.account(),
            to: AccountId([9; 32]),
            amount: Amount(1),
            fee: Amount(2),
            nonce: 3,
            memo: Memo(vec![4; memo]),
        };
        body.sign(&BlockHash([5; 32]), &key)
    }

    #[test]
    fn lengths_are_as_stated() {
        for memo in [0, 1, MAX_MEMO] {
            let transaction = transaction(memo);
            let bytes = encode(&transaction);
            assert_eq!(bytes.len(), transaction.encoded_len());
            assert_eq!(decode(&bytes), Ok(transaction));
        }
        let long = encode(&transaction(MAX_MEMO + 1));
        assert!(matches!(decode::<Transaction>(&long), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn the_signature_is_bound_to_the_chain() {
        let transaction = transaction(0);
        assert!(transaction.signed_message(&BlockHash([5; 32])).verify().is_ok());
        assert!(transaction.signed_message(&BlockHash([6; 32])).verify().is_err());
    }

    #[test]
    fn txid_ignores_the_signature_and_wire_id_does_not() {
        let mut other = transaction(0);
        other.signature.0[0] ^= 1;
        assert_eq!(other.txid(), transaction(0).txid());
        assert_ne!(other.wire_id(), transaction(0).wire_id());
    }
}
