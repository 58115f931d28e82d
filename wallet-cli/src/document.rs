//! Files that people read and programs check: a signed payment on its way from an offline machine, and a receipt.
//!
//! Each is one JSON object whose last field holds all bytes in hex. Everything before it is there to be read, and is made
//! anew from those bytes when the file is used: a file that says one thing and means another is refused.

use std::path::Path;

use drystone_core::api::Hex;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::light::TransactionProof;
use drystone_core::transaction::{Memo, Transaction};
use drystone_core::validation::check_header;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::account;
use crate::chain::Chain;
use crate::error::{ExitCode, Failure, is_unprintable};
use crate::files;

/// The longest file: a receipt of 27 kB of hex and its readable part.
const MAX_FILE_BYTES: usize = 64 << 10;
const VERSION: u64 = 1;

/// What is read of any such file first.
#[derive(Deserialize)]
struct Kind {
    format: String,
    version: u64,
    chain_id: BlockHash,
}

/// A file of one kind.
pub trait Document: Serialize + DeserializeOwned {
    /// The `format` field.
    const FORMAT: &str;
    /// The same file, made anew from its bytes.
    fn anew(&self, chain: &Chain) -> Self;
}

/// A signed payment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPayment {
    format: String,
    version: u64,
    chain: String,
    chain_id: BlockHash,
    from: String,
    to: String,
    amount_in_stones: String,
    fee_in_stones: String,
    nonce: u64,
    memo: String,
    txid: Txid,
    raw: Hex<Transaction>,
}

impl SignedPayment {
    /// The file of a payment.
    pub fn of(transaction: &Transaction, chain: &Chain) -> SignedPayment {
        let body = &transaction.body;
        SignedPayment {
            format: Self::FORMAT.into(),
            version: VERSION,
            chain: chain.params.name.clone(),
            chain_id: chain.id,
            from: account::address(&body.from, chain),
            to: account::address(&body.to, chain),
            amount_in_stones: body.amount.to_stones(),
            fee_in_stones: body.fee.to_stones(),
            nonce: body.nonce,
            memo: readable(&body.memo),
            txid: transaction.txid(),
            raw: Hex(transaction.clone()),
        }
    }

    /// The payment, whose signature must hold on `chain`.
    pub fn transaction(self, chain: &Chain) -> Result<Transaction, Failure> {
        let Hex(transaction) = self.raw;
        transaction.signed_message(&chain.id).verify().map_err(|error| {
            let next = "sign it again with: drystone-wallet sign";
            Failure::new(ExitCode::BadInput, format!("the file's signature is false: {error}"), next)
        })?;
        Ok(transaction)
    }
}

impl Document for SignedPayment {
    const FORMAT: &str = "drystone-signed-payment";

    fn anew(&self, chain: &Chain) -> SignedPayment {
        SignedPayment::of(&self.raw.0, chain)
    }
}

/// A proof of payment, whole in itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    format: String,
    version: u64,
    chain: String,
    chain_id: BlockHash,
    from: String,
    to: String,
    amount_in_stones: String,
    memo: String,
    txid: Txid,
    block_height: u64,
    block_hash: BlockHash,
    tip_height: u64,
    tip_hash: BlockHash,
    proof: Hex<TransactionProof>,
}

impl Receipt {
    /// The file of a proof.
    pub fn of(proof: TransactionProof, chain: &Chain) -> Receipt {
        let body = &proof.transaction.body;
        Receipt {
            format: Self::FORMAT.into(),
            version: VERSION,
            chain: chain.params.name.clone(),
            chain_id: chain.id,
            from: account::address(&body.from, chain),
            to: account::address(&body.to, chain),
            amount_in_stones: body.amount.to_stones(),
            memo: readable(&body.memo),
            txid: proof.transaction.txid(),
            block_height: proof.height,
            block_hash: proof.block_hash(),
            tip_height: proof.tip_height,
            tip_hash: proof.tip.hash(),
            proof: Hex(proof),
        }
    }

    /// What it proves: that the payment is in its block, and the block at or below its tip, each with its signature and its work.
    /// It is a fact for whoever has checked from genesis that the tip stands at its height.
    pub fn proof(self, chain: &Chain) -> Result<TransactionProof, Failure> {
        let Hex(proof) = self.proof;
        let refute = |what: String| {
            Failure::new(ExitCode::BadAnswer, format!("the receipt proves nothing: {what}"), "ask for another receipt")
        };
        proof.verify().map_err(|error| refute(error.to_string()))?;
        proof
            .transaction
            .signed_message(&chain.id)
            .verify()
            .map_err(|error| refute(format!("the payment's signature is false: {error}")))?;
        check_header(proof.tip, &chain.params).map_err(|error| refute(format!("its last block: {error}")))?;
        check_header(proof.header, &chain.params).map_err(|error| refute(format!("the payment's block: {error}")))?;
        Ok(proof)
    }
}

impl Document for Receipt {
    const FORMAT: &str = "drystone-receipt";

    fn anew(&self, chain: &Chain) -> Receipt {
        Receipt::of(self.proof.0.clone(), chain)
    }
}

/// The text of a file, ending with a line break.
pub fn text(document: &impl Document) -> String {
    serde_json::to_string_pretty(document).expect("it has strings and numbers alone") + "\n"
}

/// Writes a file that must not exist yet.
pub(crate) fn write(path: &Path, document: &impl Document) -> Result<(), Failure> {
    files::create(path, text(document).as_bytes()).map_err(|error| {
        let what = format!("cannot write {}: {error}", path.display());
        Failure::new(ExitCode::BadInput, what, "name another file with --out FILE")
    })
}

/// Reads a file of this kind. `chain` gives the chain of the id that the file names.
///
/// # Errors
/// If it is not one, is of another chain, or its readable part is not what its bytes mean.
pub(crate) fn read<D: Document>(
    path: &Path,
    chain: impl FnOnce(BlockHash) -> Result<Chain, Failure>,
) -> Result<(D, Chain), Failure> {
    let bytes = files::read_capped(path, MAX_FILE_BYTES)
        .map_err(|error| unusable(path, error.to_string(), "check its name"))?;
    parse(path, &bytes, chain)
}

/// Reads the bytes of a file of this kind as `read` does; `path` is only what errors name.
///
/// # Errors
/// As those of `read`.
pub fn parse<D: Document>(
    path: &Path,
    bytes: &[u8],
    chain: impl FnOnce(BlockHash) -> Result<Chain, Failure>,
) -> Result<(D, Chain), Failure> {
    let refuse = |what: String, next: &str| unusable(path, what, next);
    let again = "copy the whole file again, or have it made anew";
    let kind: Kind =
        serde_json::from_slice(bytes).map_err(|error| refuse(format!("it is no {}: {error}", D::FORMAT), again))?;
    if kind.format != D::FORMAT {
        return Err(refuse(format!("it is a {:?}, not a {}", kind.format, D::FORMAT), "name the right file"));
    }
    if kind.version != VERSION {
        return Err(refuse(format!("it has version {}", kind.version), "use a newer drystone-wallet"));
    }
    let chain = chain(kind.chain_id)?;
    let document: D = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string(), again))?;
    let value = |document: &D| serde_json::to_value(document).expect("it has strings and numbers alone");
    let (said, meant) = (value(&document), value(&document.anew(&chain)));
    let fields = said.as_object().into_iter().flatten();
    let false_field = fields.into_iter().find(|(name, value)| meant.get(name) != Some(value));
    if let Some((name, said)) = false_field {
        let what = format!("its {name} says {said}, and its bytes mean {}", meant[name]);
        return Err(refuse(what, "do not trust whoever gave it to you; have it made anew"));
    }
    Ok((document, chain))
}

fn unusable(path: &Path, what: String, next: &str) -> Failure {
    Failure::new(ExitCode::BadInput, format!("cannot use {}: {what}", path.display()), next)
}

/// A memo as text where it is text.
fn readable(memo: &Memo) -> String {
    match str::from_utf8(&memo.0) {
        Ok(text) if !text.chars().any(is_unprintable) => text.to_owned(),
        _ => format!("hex {}", hex::encode(&memo.0)),
    }
}
