//! Short ids: six bytes that name a transaction inside one announcement.

use std::hash::Hasher;

use drystone_core::hash::{BlockHash, WireId};
use siphasher::sip::SipHasher24;

use crate::engine::wire::ShortId;

/// Makes the short ids of one block. Its key is in the block's hash, so nobody can look for collisions before the block is
/// found, and for each block they are others (as in BIP-152).
pub(crate) struct ShortIdKey(SipHasher24);

/// The key of a block: the first 16 bytes of its hash, which its work leaves random.
pub(crate) fn short_id_key(hash: &BlockHash) -> ShortIdKey {
    ShortIdKey(SipHasher24::new_with_key(hash.0.first_chunk().expect("a hash has 32 bytes")))
}

impl ShortIdKey {
    /// The short id of a transaction.
    pub(crate) fn short_id(&self, id: &WireId) -> ShortId {
        let mut hasher = self.0;
        hasher.write(&id.0);
        *hasher.finish().to_le_bytes().first_chunk().expect("eight bytes have a first six")
    }
}
