//! `receipt`: a proof of payment in a file of its own, and `verify-receipt`: checks one without any node.

use std::path::Path;

use drystone_core::api::{Hex, TransactionProofInfo};
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::light::TransactionProof;
use drystone_core::transaction::Transaction;
use serde_json::json;

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::{KnownChain, Options};
use crate::document::{self, Receipt};
use crate::error::{ExitCode, Failure};
use crate::headers::Headers;
use crate::payment::parse_txid;
use crate::rpc::Client;

/// How often a node's tip may move while it is asked.
const MAX_TRIES: u32 = 5;

/// Proves that a payment is in the chain, and prints or writes the receipt.
pub(crate) fn run(options: &Options, txid: &str, out: Option<&Path>) -> Result<Report, Failure> {
    let txid = parse_txid(txid)?;
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);
    let proof = prove(&mut client, &mut headers, txid)?;
    let (what, tip) = (describe(&proof.transaction, &chain), *headers.tip());
    let confirmations = tip.height() - proof.height + 1;
    let receipt = Receipt::of(proof, &chain);
    let json = json!(receipt);
    let Some(path) = out else {
        return Ok(Report { text: document::text(&receipt).trim_end().to_owned(), json });
    };
    document::write(path, &receipt)?;
    let text = format!(
        "{what}\n{confirmations} confirmation(s), proved from genesis\n\
         in {}\n\
         next, for whoever is given it: drystone-wallet verify-receipt {}",
        path.display(),
        path.display()
    );
    Ok(Report { text, json })
}

/// The proof under a tip that was checked from genesis.
fn prove(client: &mut Client, headers: &mut Headers<'_>, txid: Txid) -> Result<TransactionProof, Failure> {
    let lie = |what: String| Failure::new(ExitCode::BadAnswer, what, "ask another node with --rpc URL");
    for _ in 0..MAX_TRIES {
        let info: TransactionProofInfo = client.call("tx_proof", [txid])?;
        if !headers.follow(client, info.tip_height, info.tip_hash)? {
            continue;
        }
        let Hex(proof) = info.proof;
        proof
            .verify_under(headers.tip())
            .map_err(|error| lie(format!("the node's proof of {txid} is false: {error}")))?;
        if proof.transaction.txid() == txid {
            return Ok(proof);
        }
        return Err(lie(format!("the node proves another transaction than {txid}")));
    }
    Err(lie(format!("the node's chain changed {MAX_TRIES} times while it was read")))
}

/// Checks a receipt, and says what it shows and what it does not.
pub(crate) fn verify(options: &Options, file: &Path) -> Result<Report, Failure> {
    let (receipt, chain) = document::read::<Receipt>(file, |id| known(options, id))?;
    let proof = receipt.proof(&chain)?;
    let tip = proof.tip.hash();
    let headers = Headers::load(&chain, &options.data_dir()?);
    let paid = describe(&proof.transaction, &chain);
    if !headers.contains(proof.tip_height, tip) {
        return Err(Failure::new(
            ExitCode::BadAnswer,
            format!(
                "not proved: {paid} on chain {}: block {} was built on it, and this wallet has not checked that block from genesis",
                chain.params.name, tip
            ),
            "fetch headers with: drystone-wallet balance ADDRESS; of a receipt older than 2,048 blocks ask for a new one",
        ));
    }
    let confirmations = proof.tip_height - proof.height + 1;
    let text = format!(
        "{paid} on chain {}\nproved: block {} at height {}, which this wallet has checked from genesis, was built on it: \
         {confirmations} confirmation(s)",
        chain.params.name, tip, proof.tip_height
    );
    let json = json!({
        "txid": proof.transaction.txid(),
        "chain": chain.params.name,
        "chain_id": chain.id,
        "from": account::address(&proof.transaction.body.from, &chain),
        "to": account::address(&proof.transaction.body.to, &chain),
        "amount": proof.transaction.body.amount,
        "block_hash": proof.block_hash(),
        "block_height": proof.height,
        "tip_hash": tip,
        "tip_height": proof.tip_height,
        "confirmations": confirmations,
    });
    Ok(Report { text, json })
}

/// A chain that the wallet knows by its id.
fn known(options: &Options, id: BlockHash) -> Result<Chain, Failure> {
    let chains = match Chain::named(options)? {
        Some(named) => vec![named],
        None => [KnownChain::Main, KnownChain::Dev].map(Chain::known).into(),
    };
    chains.into_iter().find(|chain| chain.id == id).ok_or_else(|| {
        Failure::new(
            ExitCode::BadInput,
            format!("the file is of chain {id}, which is not named and not known"),
            "name it with --chain, or give its genesis file with --genesis FILE",
        )
    })
}

fn describe(transaction: &Transaction, chain: &Chain) -> String {
    let body = &transaction.body;
    format!(
        "paid: {} stones from {} to {}",
        body.amount.to_stones(),
        account::address(&body.from, chain),
        account::address(&body.to, chain)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ledger, command, node, node_with};
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use serde_json::Value;
    use std::fs;

    #[test]
    fn a_receipt_proves_a_payment_to_whoever_is_given_it() {
        let ledger = Ledger::shared(dev_params());
        let dir = tempfile::tempdir().unwrap();
        let txid = {
            let mut ledger = ledger.lock().unwrap();
            ledger.mine(2, 1);
            let chain = Chain::from(dev_params());
            let body = drystone_core::transaction::TransactionBody {
                from: SecretKey::dev(0).account(),
                to: SecretKey::dev(1).account(),
                amount: drystone_core::amount::Amount(250_000_000),
                fee: drystone_core::amount::Amount(160),
                nonce: 0,
                memo: drystone_core::transaction::Memo(b"rent".to_vec()),
            };
            let transaction = body.sign(&chain.id, &SecretKey::dev(0));
            ledger.mempool.push(transaction.clone());
            ledger.mine(4, 1);
            transaction.txid()
        };
        let options = command(&node(&ledger), dir.path(), "balance").options;
        let file = dir.path().join("receipt.json");
        let made = run(&options, &txid.to_string(), Some(&file)).unwrap();
        assert!(made.text.contains("paid: 2.5 stones from tdry1") && made.text.contains("4 confirmation(s)"));
        // The same wallet knows the tip, another one does not.
        let checked = verify(&options, &file).unwrap();
        assert_eq!(checked.json["confirmations"], json!(4));
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = command(&node(&ledger), elsewhere.path(), "balance").options;
        let claimed = verify(&stranger, &file).unwrap_err();
        assert_eq!(claimed.code, ExitCode::BadAnswer);
        assert!(claimed.message.starts_with("not proved: paid: 2.5 stones"), "{claimed}");
        let main = command(&node(&ledger), dir.path(), "--chain main balance").options;
        assert_eq!(verify(&main, &file).unwrap_err().code, ExitCode::BadInput, "of the chain that was named, or none");

        // Every byte of the proof matters, but for those that only describe: they are refused as such, or show in the text.
        let shown: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let proof = shown["proof"].as_str().unwrap();
        for at in (0..proof.len()).step_by(7) {
            let mut changed = proof.to_owned().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let mut value = shown.clone();
            value["proof"] = json!(String::from_utf8(changed).unwrap());
            let other = dir.path().join("changed.json");
            fs::write(&other, value.to_string()).unwrap();
            if let Ok(report) = verify(&options, &other) {
                assert_eq!(report.json["txid"], checked.json["txid"], "digit {at}");
                assert_eq!(report.json["confirmations"], checked.json["confirmations"], "digit {at}");
            }
        }
    }

    #[test]
    fn false_proofs_are_told_from_missing_ones() {
        let ledger = Ledger::shared(dev_params());
        ledger.lock().unwrap().mine(2, 1);
        let dir = tempfile::tempdir().unwrap();
        let options = command(&node(&ledger), dir.path(), "balance").options;
        let missing = run(&options, &Txid([1; 32]).to_string(), None).unwrap_err();
        assert!(missing.message.contains("not found"), "{missing}");
        assert_eq!(run(&options, "x", None).unwrap_err().code, ExitCode::BadInput);
        let liar = node_with(&ledger, |_, _| {});
        let options = command(&liar, dir.path(), "balance").options;
        assert_eq!(verify(&options, &dir.path().join("nothing")).unwrap_err().code, ExitCode::BadInput);
    }
}
