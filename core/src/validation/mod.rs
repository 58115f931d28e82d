//! Validation: four stages, each a list of rules, each giving a type that only it can construct.
//!
//! | stage | needs | gives | refuses with |
//! |---|---|---|---|
//! | [`check_header`] | the parameters | [`CheckedHeader`] | [`HeaderError`] |
//! | [`check_header_in_context`] | the parent and grandparent | the block's place in the chain | [`ContextFailure`] |
//! | [`check_block`] | the chain id | [`CheckedBlock`] | [`BlockError`] |
//! | [`connect_block`] | the parent's state | [`ConnectedBlock`] | [`ConnectFailure`] |
//!
//! Three kinds of failure never mix. *Invalid*: a rule is broken, one enum variant each. *Not yet*: a block from the
//! future waits. *Ours*: the view could not be read; the error passes through and says nothing about the block. Where a
//! state-dependent rule fails, [`is_state_sound`] tells an invalid block from a rotten state.

mod block;
mod connect;
mod header;
mod transaction;

pub use block::{BlockContext, BlockError, CheckedBlock, check_block};
pub use connect::{
    ConnectError, ConnectFailure, ConnectedBlock, Executed, Executor, Parent, TransferError, connect_block,
    is_state_sound,
};
pub use header::{
    CheckedHeader, ContextError, ContextFailure, HeaderContext, HeaderError, check_header, check_header_in_context,
};
pub use transaction::{CheckedTransaction, TransactionError, check_transaction, check_transactions};

#[cfg(test)]
mod tests;
