//! The names of all consensus rules, as vectors spell them: `Stage.Variant`, nested where an error holds another.
//!
//! Each list is written together with an exhaustive match, so a new variant does not compile until it has a name here,
//! and the consensus tests do not pass until a case triggers it.

use drystone_core::address::AddressError;
use drystone_core::amount::AmountError;
use drystone_core::encode::DecodeError;
use drystone_core::genesis::GenesisError;
use drystone_core::key::SignatureError;
use drystone_core::light::ProofRefusal;
use drystone_core::params::ParamsError;
use drystone_core::pow::BitsError;
use drystone_core::state::ProofError;
use drystone_core::validation::{
    BlockError, ConnectError, ContextError, ContextFailure, HeaderError, TransactionError, TransferError,
};

/// An error whose variants are rules.
pub trait Rule {
    /// The broken rule's name.
    fn name(&self) -> String;

    /// The names of all rules.
    fn all() -> Vec<String>;
}

macro_rules! rules {
    ($error:ty { $($pattern:pat => $name:literal $(: $inner:ident $of:ty)?,)* }) => {
        impl Rule for $error {
            fn name(&self) -> String {
                match self {
                    $($pattern => [$name.to_owned() $(, $inner.name())?].join("."),)*
                }
            }

            fn all() -> Vec<String> {
                [$(rules!(@ $name $(, $of)?)),*].concat()
            }
        }
    };
    (@ $name:literal) => { vec![$name.to_owned()] };
    (@ $name:literal, $of:ty) => {
        <$of as Rule>::all().into_iter().map(|inner| format!("{}.{inner}", $name)).collect::<Vec<String>>()
    };
}

rules!(DecodeError {
    DecodeError::TooLong { .. } => "TooLong",
    DecodeError::Malformed(_) => "Malformed",
    DecodeError::Trailing(_) => "Trailing",
    DecodeError::NotCanonical => "NotCanonical",
    DecodeError::NotHex => "NotHex",
});

rules!(AmountError {
    AmountError::NotANumber => "NotANumber",
    AmountError::TooFine => "TooFine",
    AmountError::TooLarge => "TooLarge",
});

rules!(AddressError {
    AddressError::Malformed => "Malformed",
    AddressError::WrongPrefix { .. } => "WrongPrefix",
    AddressError::WrongLength(_) => "WrongLength",
});

rules!(BitsError {
    BitsError::Negative => "Negative",
    BitsError::Zero => "Zero",
    BitsError::Overflow => "Overflow",
});

rules!(SignatureError {
    SignatureError::NonCanonicalKey => "NonCanonicalKey",
    SignatureError::SmallOrderKey => "SmallOrderKey",
    SignatureError::NonCanonicalR => "NonCanonicalR",
    SignatureError::SmallOrderR => "SmallOrderR",
    SignatureError::UnreducedS => "UnreducedS",
    SignatureError::Mismatch => "Mismatch",
});

rules!(ParamsError {
    ParamsError::Name => "Name",
    ParamsError::Time => "Time",
    ParamsError::Interval => "Interval",
    ParamsError::Response => "Response",
    ParamsError::MaxFuture => "MaxFuture",
    ParamsError::PowLimit(_) => "PowLimit",
    ParamsError::Bits(_) => "Bits",
    ParamsError::BitsOverLimit => "BitsOverLimit",
    ParamsError::HalvingInterval => "HalvingInterval",
    ParamsError::Maturity => "Maturity",
    ParamsError::MaxBlockBytes => "MaxBlockBytes",
    ParamsError::AccountReserve => "AccountReserve",
    ParamsError::AddressPrefix => "AddressPrefix",
    ParamsError::AllocationOrder(_) => "AllocationOrder",
    ParamsError::AllocationTwice(_) => "AllocationTwice",
    ParamsError::AllocationZero(_) => "AllocationZero",
    ParamsError::Supply => "Supply",
});

rules!(GenesisError {
    GenesisError::Json(_) => "Json",
    GenesisError::Address { error, .. } => "Address": error AddressError,
    GenesisError::Params(error) => "Params": error ParamsError,
});

rules!(HeaderError {
    HeaderError::Bits(error) => "Bits": error BitsError,
    HeaderError::OverLimit => "OverLimit",
    HeaderError::Work => "Work",
});

rules!(ContextError {
    ContextError::Parent => "Parent",
    ContextError::Version { .. } => "Version",
    ContextError::Difficulty { .. } => "Difficulty",
    ContextError::Time { .. } => "Time",
});

rules!(ContextFailure {
    ContextFailure::Invalid(error) => "Invalid": error ContextError,
    ContextFailure::NotYet { .. } => "NotYet",
});

rules!(TransactionError {
    TransactionError::MemoTooLong { .. } => "MemoTooLong",
    TransactionError::AmountOverflow => "AmountOverflow",
    TransactionError::Signature(error) => "Signature": error SignatureError,
});

rules!(BlockError {
    BlockError::TooLarge { .. } => "TooLarge",
    BlockError::TxRoot { .. } => "TxRoot",
    BlockError::Transaction { error, .. } => "Transaction": error TransactionError,
});

rules!(TransferError {
    TransferError::Nonce { .. } => "Nonce",
    TransferError::Overspend { .. } => "Overspend",
    TransferError::SenderBelowReserve { .. } => "SenderBelowReserve",
    TransferError::RecipientBelowReserve { .. } => "RecipientBelowReserve",
});

rules!(ConnectError {
    ConnectError::Transfer { error, .. } => "Transfer": error TransferError,
    ConnectError::StateRoot { .. } => "StateRoot",
});

rules!(ProofError {
    ProofError::TooDeep(_) => "TooDeep",
    ProofError::SpeltOutEmpty => "SpeltOutEmpty",
    ProofError::NotCompressed => "NotCompressed",
    ProofError::StrayLeaf => "StrayLeaf",
    ProofError::WrongRoot(_) => "WrongRoot",
});

rules!(ProofRefusal {
    ProofRefusal::State(error) => "State": error ProofError,
    ProofRefusal::LeafKind => "LeafKind",
    ProofRefusal::History => "History",
    ProofRefusal::Transaction => "Transaction",
});
