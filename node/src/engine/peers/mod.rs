//! Peers: who is connected, who is to be, and what each may do.
//!
//! Plain data and decisions, each told the time and given the randomness that it needs; the engine acts on them.
//! [`Score`] and [`Bans`] remember who misbehaved, [`Buckets`] say who asks too much, [`AddressBook`] says whom to dial,
//! [`place_inbound`] who may come in and who has to leave for it. [`record`] carries the book and the bans over a restart.

mod address;
mod allowance;
mod bans;
mod book;
mod bucket;
mod choice;
mod record;
mod score;
mod slots;

pub(super) use address::canonical;
pub use address::{Host, dialable};
pub(super) use allowance::Buckets;
pub use bans::Banned;
pub(super) use bans::Bans;
pub(super) use book::AddressBook;
pub(super) use record::BookRecord;
pub(super) use score::Score;
pub(super) use slots::{Connection, place_inbound};
