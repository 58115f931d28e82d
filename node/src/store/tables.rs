//! The whole on-disk vocabulary: every table, its key, its value, and the version that they make up.
//!
//! Keys are bytes whose order is the logical order, so numbers in keys are big-endian; numbers in values are
//! little-endian as in the protocol's encoding. docs/STORAGE.md tells the same to people.

use drystone_core::block::{HEADER_BYTES, Header};
use drystone_core::difficulty::ParentTimes;
use drystone_core::encode::decode;
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::pow::Work;
use drystone_core::validation::HeaderContext;
use redb::TableDefinition;

use super::error::{Record, StoreError};

/// The version of everything below. A change to any table's key, value or meaning is a new version, with a step in
/// `migrate.rs`.
pub const FORMAT: u32 = 1;

/// Every known header. Block hash -> header 116, height u64, cumulative work 32, validity 1.
pub(super) const HEADERS: TableDefinition<&[u8; 32], &[u8; HEADER_RECORD_BYTES]> = TableDefinition::new("headers");
/// The heads of the header tree, best last. Cumulative work 32 big-endian, block hash 32 -> nothing.
pub(super) const TIPS: TableDefinition<&[u8; 64], ()> = TableDefinition::new("tips");
/// The chain that the state belongs to. Height -> block hash. Its last entry is the tip.
pub(super) const MAIN: TableDefinition<&[u8; 8], &[u8; 32]> = TableDefinition::new("main");
/// The bodies that are held, of any branch. Height, block hash -> encoded body.
pub(super) const BODIES: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("bodies");
/// How to take back each block of the main chain above genesis. Height, block hash -> encoded undo.
pub(super) const UNDO: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("undo");
/// The state at the tip. State key -> 16 (account), 40 (reward) or 32 (history root) bytes.
pub(super) const LEAVES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("leaves");
/// The stored pages of the state tree at the tip. Page path -> page.
pub(super) const PAGES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pages");
/// The history range at the tip. Level 1, index u64 -> hash.
pub(super) const HISTORY: TableDefinition<&[u8; 9], &[u8; 32]> = TableDefinition::new("history");
/// Where main-chain transactions are. Transaction id -> height u64, number in the block u32. Empty if switched off.
pub(super) const TRANSACTIONS: TableDefinition<&[u8; 32], &[u8; 12]> = TableDefinition::new("transactions");
/// What moved an account on the main chain. Account id 32, height u64, leaf u32 -> role 1. Empty if switched off.
pub(super) const ACCOUNTS: TableDefinition<&[u8; 44], &[u8; 1]> = TableDefinition::new("accounts");
/// The mempool as it was saved last. Number -> encoded transaction.
pub(super) const MEMPOOL: TableDefinition<&[u8; 8], &[u8]> = TableDefinition::new("mempool");
/// Named values: [`META_FORMAT`], [`META_CHAIN`], [`META_INDEXES`], [`META_PEERS`].
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// [`FORMAT`] as u32. This entry keeps its place and shape in every format.
pub(super) const META_FORMAT: &str = "format";
/// The genesis hash, 32 bytes.
pub(super) const META_CHAIN: &str = "chain";
/// Which indexes are kept, one byte: bit 0 transactions, bit 1 account history.
pub(super) const META_INDEXES: &str = "indexes";
/// The address book, its anchors and the bans, as the engine encodes them; absent before the first is saved.
pub(super) const META_PEERS: &str = "peers";

/// The length of a header record in bytes.
pub(super) const HEADER_RECORD_BYTES: usize = HEADER_BYTES + 8 + 32 + 1;

/// What is known of a block whose header was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// The header holds; the body was not connected yet.
    Header,
    /// The block was connected once, so every rule holds.
    Connected,
    /// The body or its connection breaks a rule.
    Invalid,
    /// An ancestor is invalid.
    InvalidAncestor,
}

impl Validity {
    fn to_byte(self) -> u8 {
        match self {
            Validity::Header => 0,
            Validity::Connected => 1,
            Validity::Invalid => 2,
            Validity::InvalidAncestor => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Validity> {
        Some(match byte {
            0 => Validity::Header,
            1 => Validity::Connected,
            2 => Validity::Invalid,
            3 => Validity::InvalidAncestor,
            _ => return None,
        })
    }
}

/// A header with its place in the header tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRecord {
    /// The block hash.
    pub hash: BlockHash,
    /// The header.
    pub header: Header,
    /// How many blocks lie below.
    pub height: u64,
    /// The work of this block and all below it.
    pub work: Work,
    /// What is known of the block.
    pub validity: Validity,
}

impl HeaderRecord {
    /// What the header rules read to judge a child of this block, given the time of its own parent. Genesis has none, and
    /// its children are not asked for it.
    pub fn child_context(&self, grandparent: Option<&HeaderRecord>) -> HeaderContext {
        let time = self.header.time;
        let grandparent_time = grandparent.map_or(time, |record| record.header.time);
        let parent = ParentTimes { bits: self.header.bits, height: self.height, time, grandparent_time };
        HeaderContext { parent_hash: self.hash, parent }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_RECORD_BYTES] {
        let mut bytes = [0; HEADER_RECORD_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(&self.header.to_bytes());
        bytes[HEADER_BYTES..][..8].copy_from_slice(&self.height.to_le_bytes());
        bytes[HEADER_BYTES + 8..][..32].copy_from_slice(&self.work.to_le_bytes());
        bytes[HEADER_RECORD_BYTES - 1] = self.validity.to_byte();
        bytes
    }

    /// The header in the record of `hash`, if it hashes to its key: this is what catches a rotten one.
    pub(super) fn sound_header(hash: &BlockHash, bytes: &[u8; HEADER_RECORD_BYTES]) -> Option<Header> {
        let header: Header = decode(&bytes[..HEADER_BYTES]).ok()?;
        (header.hash() == *hash).then_some(header)
    }

    /// Reads the record of `hash`.
    pub(super) fn from_bytes(hash: &BlockHash, bytes: &[u8; HEADER_RECORD_BYTES]) -> Result<HeaderRecord, StoreError> {
        let rotten = || StoreError::Rotten(Record::Header(*hash));
        let header = HeaderRecord::sound_header(hash, bytes).ok_or_else(rotten)?;
        let rest = &bytes[HEADER_BYTES..];
        let (height, rest) = rest.split_first_chunk().expect("the record's length is fixed");
        let (work, rest) = rest.split_first_chunk().expect("the record's length is fixed");
        let validity = Validity::from_byte(rest[0]).ok_or_else(rotten)?;
        let (height, work) = (u64::from_le_bytes(*height), Work::from_le_bytes(*work));
        Ok(HeaderRecord { hash: *hash, header, height, work, validity })
    }
}

/// The key of the main chain.
pub(super) fn height_key(height: u64) -> [u8; 8] {
    height.to_be_bytes()
}

/// The key of bodies and undos: neighbours on the chain are neighbours on disk, and pruning deletes a range.
pub(super) fn block_key(height: u64, hash: &BlockHash) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&height.to_be_bytes());
    key[8..].copy_from_slice(&hash.0);
    key
}

/// The key of a head of the header tree.
pub(super) fn tip_key(work: Work, hash: &BlockHash) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(&work.to_le_bytes());
    key[..32].reverse();
    key[32..].copy_from_slice(&hash.0);
    key
}

/// Reads [`tip_key`] back.
pub(super) fn tip_from_key(key: &[u8; 64]) -> (Work, BlockHash) {
    let (work, hash) = key.split_at(32);
    let mut work: [u8; 32] = work.try_into().expect("half of 64");
    work.reverse();
    (Work::from_le_bytes(work), BlockHash(hash.try_into().expect("half of 64")))
}

/// Where a transaction is on the main chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPlace {
    /// The block's height.
    pub height: u64,
    /// The transaction's number in the block, from 0.
    pub index: u32,
}

impl TransactionPlace {
    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.height.to_le_bytes());
        bytes[8..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; 12]) -> TransactionPlace {
        let (height, index) = bytes.split_at(8);
        TransactionPlace {
            height: u64::from_le_bytes(height.try_into().expect("eight bytes")),
            index: u32::from_le_bytes(index.try_into().expect("four bytes")),
        }
    }
}

/// What an entry of an account's history was to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It earned the block's reward, spendable once matured.
    Earned,
    /// It paid.
    Paid,
    /// It was paid.
    Received,
    /// It paid itself.
    PaidItself,
}

impl Role {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Role::Earned => 0,
            Role::Paid => 1,
            Role::Received => 2,
            Role::PaidItself => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Role> {
        Some(match byte {
            0 => Role::Earned,
            1 => Role::Paid,
            2 => Role::Received,
            3 => Role::PaidItself,
            _ => return None,
        })
    }
}

/// A place in an account's history: a leaf of a block's transaction tree. Leaf 0 is the reward, leaf `i + 1` transaction `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace {
    /// The block's height.
    pub height: u64,
    /// The number of the leaf.
    pub leaf: u32,
}

/// One entry of an account's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Where.
    pub place: HistoryPlace,
    /// As what.
    pub role: Role,
}

impl HistoryEntry {
    pub(super) fn from_bytes(key: &[u8; 44], value: &[u8; 1]) -> Result<HistoryEntry, StoreError> {
        let height = u64::from_be_bytes(key[32..40].try_into().expect("eight bytes"));
        let leaf = u32::from_be_bytes(key[40..].try_into().expect("four bytes"));
        let role = Role::from_byte(value[0]).ok_or(StoreError::Rotten(Record::AccountHistory(height)))?;
        Ok(HistoryEntry { place: HistoryPlace { height, leaf }, role })
    }
}

/// The key of an entry of an account's history.
pub(super) fn account_key(account: &AccountId, place: HistoryPlace) -> [u8; 44] {
    let mut key = [0; 44];
    key[..32].copy_from_slice(&account.0);
    key[32..40].copy_from_slice(&place.height.to_be_bytes());
    key[40..].copy_from_slice(&place.leaf.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use drystone_core::genesis::dev_params;
    use proptest::prelude::*;

    use super::*;

    fn record(height: u64, work: u64, validity: Validity) -> HeaderRecord {
        let header = dev_params().genesis_block().header;
        HeaderRecord { hash: header.hash(), header, height, work: Work::from_hashes(work), validity }
    }

    #[test]
    fn header_records_round_trip() {
        for validity in [Validity::Header, Validity::Connected, Validity::Invalid, Validity::InvalidAncestor] {
            let record = record(7, u64::MAX, validity);
            assert_eq!(HeaderRecord::from_bytes(&record.hash, &record.to_bytes()).expect("sound"), record);
        }
    }

    #[test]
    fn a_rotten_header_is_told_by_its_hash() {
        let record = record(7, 9, Validity::Connected);
        for at in (0..HEADER_BYTES).chain([HEADER_RECORD_BYTES - 1]) {
            let mut bytes = record.to_bytes();
            bytes[at] ^= 0x80;
            let read = HeaderRecord::from_bytes(&record.hash, &bytes);
            assert!(matches!(read, Err(StoreError::Rotten(Record::Header(hash))) if hash == record.hash), "byte {at}");
        }
    }

    #[test]
    fn places_and_roles_round_trip() {
        let place = TransactionPlace { height: 1 << 40, index: 3 };
        assert_eq!(TransactionPlace::from_bytes(&place.to_bytes()), place);
        let place = HistoryPlace { height: 1 << 40, leaf: 3 };
        let key = account_key(&AccountId([7; 32]), place);
        for role in [Role::Earned, Role::Paid, Role::Received, Role::PaidItself] {
            let entry = HistoryEntry::from_bytes(&key, &[role.to_byte()]).expect("sound");
            assert_eq!(entry, HistoryEntry { place, role });
        }
        assert!(matches!(HistoryEntry::from_bytes(&key, &[4]), Err(StoreError::Rotten(Record::AccountHistory(_)))));
    }

    proptest! {
        #[test]
        fn keys_sort_as_what_they_stand_for(a: (u64, u32, [u8; 32]), b: (u64, u32, [u8; 32])) {
            prop_assert_eq!(height_key(a.0).cmp(&height_key(b.0)), a.0.cmp(&b.0));
            let block = |of: &(u64, u32, [u8; 32])| block_key(of.0, &BlockHash(of.2));
            prop_assert_eq!(block(&a).cmp(&block(&b)), (a.0, a.2).cmp(&(b.0, b.2)));
            let work = |of: &(u64, u32, [u8; 32])| Work::from_le_bytes(of.2);
            let tip = |of: &(u64, u32, [u8; 32])| tip_key(work(of), &BlockHash([of.1 as u8; 32]));
            prop_assert_eq!(tip(&a).cmp(&tip(&b)), (work(&a), a.1 as u8).cmp(&(work(&b), b.1 as u8)));
            prop_assert_eq!(tip_from_key(&tip(&a)), (work(&a), BlockHash([a.1 as u8; 32])));
            let place = |of: &(u64, u32, [u8; 32])| HistoryPlace { height: of.0, leaf: of.1 };
            let account = |of: &(u64, u32, [u8; 32])| account_key(&AccountId([1; 32]), place(of));
            prop_assert_eq!(account(&a).cmp(&account(&b)), place(&a).cmp(&place(&b)));
        }
    }
}
