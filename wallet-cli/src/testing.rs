//! A node of the tests' own making: a ledger in memory, and a small HTTP server that answers JSON-RPC as a closure says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use clap::Parser;
use drystone_core::address::decode_address;
use drystone_core::amount::Amount;
use drystone_core::api::{
    AccountEvent, AccountHistory, AccountRole, BlockId, ErrorCode, ErrorData, HeaderInfo, Hex, MempoolEntry,
    MempoolPage, TransactionFields, TransactionInfo, TransactionProofInfo, TransactionStatus,
};
use drystone_core::block::{Block, Body, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::hash::Txid;
use drystone_core::key::AccountId;
use drystone_core::light::{AncestorProof, TransactionProof};
use drystone_core::merkle;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{self, Account, Leaf, MemoryState, StateKey};
use drystone_core::subsidy::subsidy_at;
use drystone_core::transaction::Transaction;
use drystone_core::validation::{Executor, Parent, check_header};
use serde_json::{Value, json};

use crate::chain::Chain;
use crate::cli::Cli;

/// What a method call comes to: a result, or an error's code and message.
pub(crate) type Reply = Result<Value, (ErrorCode, String)>;

/// What a dishonest node does to the answer of a method.
pub(crate) type Lie = fn(&str, &mut Value);

/// A server on a free local port. It serves one request per connection until the process ends.
pub(crate) struct FakeNode {
    /// Its `http://host:port`.
    pub(crate) url: String,
}

impl FakeNode {
    /// Starts a server that answers each call with `answer(method, params)`.
    pub(crate) fn start(answer: impl Fn(&str, &Value) -> Reply + Send + 'static) -> FakeNode {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &answer);
            }
        });
        FakeNode { url }
    }
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str, &Value) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    assert!(request["params"].is_array(), "parameters are positional: {request}");
    let mut reply = json!({ "jsonrpc": "2.0", "id": request["id"] });
    match answer(request["method"].as_str().unwrap(), &request["params"]) {
        Ok(result) => reply["result"] = result,
        Err((code, message)) => {
            let data = ErrorData { name: code.name().into(), next: "the node's advice".into() };
            reply["error"] = json!({ "code": code.number(), "message": message, "data": data });
        }
    }
    let text = reply.to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
    .unwrap();
}

/// Parses a command line against `node`, with everything that is kept on disk in `directory`.
pub(crate) fn command(node: &FakeNode, directory: &Path, line: &str) -> Cli {
    let mut arguments = vec!["drystone-wallet".to_owned(), "--rpc".into(), node.url.clone(), "--keystore".into()];
    arguments.push(directory.join("wallet.json").to_str().unwrap().to_owned());
    arguments.extend(line.split_whitespace().map(str::to_owned));
    Cli::parse_from(arguments)
}

/// A chain and its state, as a node has them. A clone is a fork.
#[derive(Clone)]
pub(crate) struct Ledger {
    /// The chain.
    pub(crate) chain: Chain,
    /// From genesis to the tip.
    pub(crate) blocks: Vec<Block>,
    /// What `tx_submit` took and no block has yet.
    pub(crate) mempool: Vec<Transaction>,
    /// What `mempool_info` asks for.
    pub(crate) min_fee_rate: Amount,
    state: MemoryState,
}

impl Ledger {
    /// A ledger that stands at genesis.
    pub(crate) fn new(params: ChainParams) -> Ledger {
        let leaves: BTreeMap<StateKey, Leaf> = params.genesis_leaves().into_iter().collect();
        let state = MemoryState { leaves, ..MemoryState::default() };
        let blocks = vec![params.genesis_block()];
        Ledger { chain: Chain::from(params), blocks, mempool: Vec::new(), min_fee_rate: Amount(1000), state }
    }

    /// The same, ready to be shared between a test and its node.
    pub(crate) fn shared(params: ChainParams) -> Arc<Mutex<Ledger>> {
        Arc::new(Mutex::new(Ledger::new(params)))
    }

    /// Mines `count` blocks, the first of which holds the mempool; `reward_to` makes branches differ.
    pub(crate) fn mine(&mut self, count: usize, reward_to: u8) {
        for _ in 0..count {
            let reward_to = AccountId([reward_to; 32]);
            let body = Body { reward_to, transactions: std::mem::take(&mut self.mempool) };
            let parent = Parent { height: self.height(), hash: self.tip().hash(), work: self.work(self.height()) };
            let mut executor = Executor::new(&self.state, &parent, &self.chain.params);
            for transaction in &body.transactions {
                executor.apply(transaction).unwrap().unwrap();
            }
            let executed = executor.finish(&reward_to).unwrap();
            self.state.apply(&executed.changes);
            let header = Header {
                version: 1,
                prev_hash: parent.hash,
                state_root: executed.state_root,
                tx_root: body.tx_root(),
                time: self.tip().time + self.chain.params.interval,
                bits: next_bits(&self.chain.params, &self.parent_times()),
                nonce: 0,
            };
            let header = work_on(header, &self.chain.params);
            self.blocks.push(Block { header, body });
        }
    }

    /// The tip's height.
    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    /// The tip's header.
    pub(crate) fn tip(&self) -> &Header {
        &self.blocks.last().unwrap().header
    }

    fn parent_times(&self) -> ParentTimes {
        let grandparent = self.blocks.len().saturating_sub(2);
        ParentTimes {
            bits: self.tip().bits,
            height: self.height(),
            time: self.tip().time,
            grandparent_time: self.blocks[grandparent].header.time,
        }
    }

    fn work(&self, height: u64) -> Work {
        let headers = self.blocks.iter().take(height as usize + 1);
        headers.map(|block| block.header.bits.to_target().unwrap().work()).sum()
    }

    fn account(&self, id: &AccountId) -> Account {
        match self.state.leaves.get(&StateKey::account(id)) {
            Some(Leaf::Account(account)) => *account,
            _ => Account::default(),
        }
    }

    fn header_info(&self, height: u64) -> HeaderInfo {
        HeaderInfo::new(self.blocks[height as usize].header, height, self.work(height), None)
    }

    /// Answers as an honest node would.
    pub(crate) fn answer(&mut self, method: &str, params: &Value) -> Reply {
        let not_found = || (ErrorCode::NotFound, "not found".to_owned());
        let account = || {
            let address = params[0].as_str().unwrap();
            decode_address(&self.chain.params.address_prefix, address)
                .map_err(|error| (ErrorCode::InvalidAddress, error.to_string()))
        };
        let value = match method {
            "node_info" => json!({
                "version": "0.1.0",
                "chain": self.chain.params.name,
                "kind": self.chain.params.kind,
                "chain_id": self.chain.id,
                "address_prefix": self.chain.params.address_prefix,
                "account_reserve": self.chain.params.account_reserve,
                "maturity": self.chain.params.maturity,
                "interval": self.chain.params.interval,
                "max_block_bytes": self.chain.params.max_block_bytes,
                "phase": "ready",
                "height": self.height(),
                "hash": self.tip().hash(),
                "headers": self.height(),
                "progress": null,
                "peers": 0,
                "mining": { "threads": 0, "hashes_per_second": 0, "reward_to": null, "refusal": null },
            }),
            "chain_head" => json!(self.header_info(self.height())),
            "chain_headers" => {
                let (from, count) = (params[0].as_u64().unwrap() as usize, params[1].as_u64().unwrap() as usize);
                if from >= self.blocks.len() {
                    return Err(not_found());
                }
                json!(self.blocks.iter().skip(from).take(count).map(|block| Hex(block.header)).collect::<Vec<_>>())
            }
            "chain_block" => {
                let BlockId::Hash(hash) = serde_json::from_value(params[0].clone()).unwrap() else { panic!("by hash") };
                let block = self.blocks.iter().find(|block| block.header.hash() == hash).ok_or_else(not_found)?;
                json!(Hex(block.clone()))
            }
            "account_proof" => {
                let account = account()?;
                let Ok(proof) = state::prove(&self.state, &StateKey::account(&account));
                json!({
                    "address": params[0],
                    "height": self.height(),
                    "hash": self.tip().hash(),
                    "header": Hex(*self.tip()),
                    "account": self.account(&account),
                    "proof": Hex(proof),
                })
            }
            "account_get" => {
                let id = account()?;
                let Account { balance, nonce } = self.account(&id);
                let pending = self.mempool.iter().filter(|transaction| transaction.body.from == id).count() as u64;
                json!({
                    "address": params[0],
                    "height": self.height(),
                    "hash": self.tip().hash(),
                    "balance": balance,
                    "nonce": nonce,
                    "pending_nonce": nonce + pending,
                    "immature": "0",
                })
            }
            "mempool_info" => json!({
                "transactions": self.mempool.len(),
                "bytes": 0,
                "max_transactions": 1,
                "min_fee_rate": self.min_fee_rate,
                "gapped": 0,
            }),
            "tx_submit" => {
                let Hex(transaction): Hex<Transaction> = serde_json::from_value(params[0].clone())
                    .map_err(|error| (ErrorCode::InvalidTransaction, error.to_string()))?;
                transaction
                    .signed_message(&self.chain.id)
                    .verify()
                    .map_err(|error| (ErrorCode::InvalidTransaction, error.to_string()))?;
                self.mempool.push(transaction.clone());
                json!(transaction.txid())
            }
            "account_history" => {
                let id = account()?;
                let mut entries = self.history(&id);
                let from = params[1].as_str().map_or(0, |cursor| cursor.parse::<usize>().unwrap());
                let limit = params[2].as_u64().unwrap() as usize;
                let next = (from + limit < entries.len()).then(|| (from + limit).to_string());
                entries = entries.into_iter().skip(from).take(limit).collect();
                let (height, hash) = (self.height(), self.tip().hash());
                json!(AccountHistory { address: params[0].as_str().unwrap().into(), height, hash, entries, next })
            }
            "mempool_list" => {
                let fields = |transaction| TransactionFields::new(&self.chain.params, transaction);
                let transactions = self.mempool.iter().map(|transaction| MempoolEntry {
                    transaction: fields(transaction),
                    bytes: 160,
                    score: Some(Amount(1000)),
                });
                json!(MempoolPage { transactions: transactions.collect(), next: None })
            }
            "tx_proof" => {
                let txid: Txid = serde_json::from_value(params[0].clone()).unwrap();
                let (_, status) = self.find(txid).ok_or_else(not_found)?;
                let TransactionStatus::Confirmed { height, block_hash, index, .. } = status else {
                    return Err(not_found());
                };
                let (block, tip) = (&self.blocks[height as usize], self.height());
                let ancestor = (height < tip).then(|| {
                    let Ok(history) = state::prove(&self.state, &StateKey::history());
                    let Ok(path) = state::prove_ancestor(&self.state, tip, height);
                    AncestorProof { history, path }
                });
                let proof = TransactionProof {
                    transaction: block.body.transactions[index as usize].clone(),
                    header: block.header,
                    height,
                    work: self.work(height),
                    index,
                    count: block.body.transactions.len() as u64,
                    path: merkle::TRANSACTIONS.path(&block.body.leaves(), index as usize + 1),
                    tip: *self.tip(),
                    tip_height: tip,
                    ancestor,
                };
                let (tip_height, tip_hash, proof) = (tip, self.tip().hash(), Hex(proof));
                json!(TransactionProofInfo { txid, height, block_hash, tip_height, tip_hash, proof })
            }
            "tx_get" => {
                let txid: Txid = serde_json::from_value(params[0].clone()).unwrap();
                let (transaction, status) = self.find(txid).ok_or_else(not_found)?;
                let fields = TransactionFields::new(&self.chain.params, &transaction);
                json!(TransactionInfo { transaction: fields, raw: Hex(transaction), status })
            }
            _ => return Err((ErrorCode::UnknownMethod, format!("no method {method}"))),
        };
        Ok(value)
    }

    /// All entries of an account, newest first.
    fn history(&self, id: &AccountId) -> Vec<AccountEvent> {
        let mut entries = Vec::new();
        for (height, block) in (0..).zip(&self.blocks) {
            let event = |role, reward: Option<Amount>, transaction: Option<&Transaction>| AccountEvent {
                height,
                block_hash: block.header.hash(),
                time: block.header.time,
                confirmations: self.height() + 1 - height,
                role,
                reward,
                matures: reward.map(|_| height + self.chain.params.maturity),
                transaction: transaction.map(|transaction| TransactionFields::new(&self.chain.params, transaction)),
            };
            if height > 0 && block.body.reward_to == *id {
                let fees: u64 = block.body.transactions.iter().map(|transaction| transaction.body.fee.0).sum();
                let reward = Amount(subsidy_at(&self.chain.params, height).0 + fees);
                entries.push(event(AccountRole::Earned, Some(reward), None));
            }
            for transaction in &block.body.transactions {
                let role = match (transaction.body.from == *id, transaction.body.to == *id) {
                    (true, true) => AccountRole::PaidItself,
                    (true, false) => AccountRole::Paid,
                    (false, true) => AccountRole::Received,
                    (false, false) => continue,
                };
                entries.push(event(role, None, Some(transaction)));
            }
        }
        entries.reverse();
        entries
    }

    fn find(&self, txid: Txid) -> Option<(Transaction, TransactionStatus)> {
        if let Some(transaction) = self.mempool.iter().find(|transaction| transaction.txid() == txid) {
            return Some((transaction.clone(), TransactionStatus::Pending));
        }
        for (height, block) in (0..).zip(&self.blocks) {
            let found = (0..).zip(&block.body.transactions).find(|(_, transaction)| transaction.txid() == txid);
            if let Some((index, transaction)) = found {
                let confirmations = self.height() + 1 - height;
                let status =
                    TransactionStatus::Confirmed { height, block_hash: block.header.hash(), index, confirmations };
                return Some((transaction.clone(), status));
            }
        }
        None
    }
}

/// Finds a nonce; for easy targets only.
pub(crate) fn work_on(mut header: Header, params: &ChainParams) -> Header {
    while check_header(header, params).is_err() {
        header.nonce += 1;
    }
    header
}

/// Starts a node that answers from `ledger`, each answer changed by `change(method, answer)`.
pub(crate) fn node_with(ledger: &Arc<Mutex<Ledger>>, change: impl Fn(&str, &mut Value) + Send + 'static) -> FakeNode {
    let ledger = Arc::clone(ledger);
    FakeNode::start(move |method, params| {
        let mut value = ledger.lock().unwrap().answer(method, params)?;
        change(method, &mut value);
        Ok(value)
    })
}

/// Starts an honest node of `ledger`.
pub(crate) fn node(ledger: &Arc<Mutex<Ledger>>) -> FakeNode {
    node_with(ledger, |_, _| {})
}
