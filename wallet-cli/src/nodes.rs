//! Several nodes asked for the same: the heaviest chain that checks out wins, and every other node is named with what it did.

use std::fmt;

use drystone_core::key::AccountId;
use drystone_core::light::VerifiedHeader;
use drystone_core::state::Account;
use serde_json::{Value, json};

use crate::error::{ExitCode, Failure};
use crate::headers::Headers;
use crate::rpc::Client;

/// An account as the heaviest of all given nodes' chains has it.
pub(crate) struct Proved {
    pub(crate) account: Account,
    /// The tip under which it is proved.
    pub(crate) tip: VerifiedHeader,
    /// The height of a chain with more work that this wallet has checked before, if there is one.
    pub(crate) heavier: Option<u64>,
    /// What every node did, in the order in which they were given.
    pub(crate) witnesses: Vec<Witness>,
}

/// A node that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) url: String,
    pub(crate) verdict: Verdict,
}

/// What a node did, held against the chain that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is on that chain, at its tip.
    Agrees,
    /// Its chain checks out and has less work.
    Behind { height: u64 },
    /// Its chain has the same work and another tip: which of both lasts, nobody knows yet.
    Tied { height: u64 },
    /// What it says is false, or of another chain.
    Refuted(String),
    /// It did not answer.
    Silent(String),
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Verdict::Agrees => "agrees",
            Verdict::Behind { .. } => "behind",
            Verdict::Tied { .. } => "tied",
            Verdict::Refuted(_) => "refuted",
            Verdict::Silent(_) => "silent",
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Witness { url, verdict } = self;
        match verdict {
            Verdict::Agrees => write!(f, "agrees: {url}"),
            Verdict::Behind { height } => {
                write!(f, "behind: {url} is at height {height}, with less work: it has not synced, or hides blocks")
            }
            Verdict::Tied { height } => write!(f, "tied: {url} has another block of the same work at height {height}"),
            Verdict::Refuted(what) => write!(f, "refuted: {url}: {what}"),
            Verdict::Silent(what) => write!(f, "silent: {url}: {what}"),
        }
    }
}

impl Proved {
    /// A line where more work is known, and one for each node where several were asked.
    pub(crate) fn text(&self) -> String {
        let late = self.heavier.map(|height| {
            format!(
                "\nlate: this wallet has checked a chain with more work, up to height {height}, which no node shows now"
            )
        });
        let witnesses = self.witnesses.iter().filter(|_| self.witnesses.len() > 1);
        late.into_iter().chain(witnesses.map(|witness| format!("\n{witness}"))).collect()
    }

    /// A client of each node whose chain checks out, that with the heaviest first. What only a signature or a proof can back may be
    /// heard from all of them, also from those that are some blocks behind: they are where others' payments pass through.
    pub(crate) fn sound(&self, client: &Client) -> Vec<Client> {
        let sound = |verdict: &Verdict| !matches!(verdict, Verdict::Refuted(_) | Verdict::Silent(_));
        let indices = (0..).zip(&self.witnesses).filter(|(_, witness)| sound(&witness.verdict)).map(|(index, _)| index);
        // Their chains were checked: nobody is asked again, so one that falls silent now is not lost but found silent.
        let mut nodes: Vec<Client> = indices.map(|index| client.one(index)).collect();
        nodes.sort_by_key(|node| node.name() != client.name());
        nodes
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let one = |Witness { url, verdict }: &Witness| {
            let height = match verdict {
                Verdict::Agrees => Some(self.tip.height()),
                Verdict::Behind { height } | Verdict::Tied { height } => Some(*height),
                Verdict::Refuted(_) | Verdict::Silent(_) => None,
            };
            let reason = match verdict {
                Verdict::Refuted(what) | Verdict::Silent(what) => Some(what),
                _ => None,
            };
            json!({ "url": url, "verdict": verdict.name(), "height": height, "reason": reason })
        };
        self.witnesses.iter().map(one).collect()
    }
}

/// Proves an account at every node. Whatever is asked of `client` next, the node with the heaviest chain is asked first.
///
/// # Errors
/// If no node gives a proof that holds under a chain that the wallet may believe.
pub(crate) fn prove(client: &mut Client, headers: &mut Headers<'_>, account: &AccountId) -> Result<Proved, Failure> {
    if let [url] = client.urls() {
        let url = url.clone();
        let (account, tip) = headers.prove(client, account)?;
        let witnesses = vec![Witness { url, verdict: Verdict::Agrees }];
        return Ok(Proved { account, tip, heavier: headers.heavier(), witnesses });
    }
    let urls = client.urls().to_vec();
    let mut answers = Vec::with_capacity(urls.len());
    // What one node's headers were checked for is not fetched from the next again.
    let mut heaviest = headers.apart();
    for index in 0..urls.len() {
        let mut theirs = heaviest.apart();
        let proved = client.only(index).and_then(|mut node| theirs.prove(&mut node, account));
        if proved.as_ref().is_ok_and(|(_, tip)| tip.work() > heaviest.tip().work()) {
            heaviest = theirs.apart();
        }
        answers.push(proved.map(|(account, tip)| (account, tip, theirs)));
    }
    let heaviest = (0..urls.len()).rev().filter_map(|index| Some((answers[index].as_ref().ok()?.1.work(), index)));
    let Some((_, best)) = heaviest.max_by_key(|(work, _)| *work) else {
        return Err(nobody(&urls, answers.into_iter().filter_map(Result::err).collect()));
    };
    client.prefer(best);
    let (state, tip) = answers[best].as_ref().map(|(account, tip, _)| (*account, *tip)).map_err(Clone::clone)?;
    let verdict = |answer: &Result<(Account, VerifiedHeader, Headers<'_>), Failure>| match answer {
        Ok((_, theirs, _)) if theirs.hash() == tip.hash() => Verdict::Agrees,
        Ok((_, theirs, _)) if theirs.work() < tip.work() => Verdict::Behind { height: theirs.height() },
        Ok((_, theirs, _)) => Verdict::Tied { height: theirs.height() },
        Err(failure) if failure.code == ExitCode::Unreachable => Verdict::Silent(failure.message.clone()),
        Err(failure) => Verdict::Refuted(failure.message.clone()),
    };
    let witnesses = urls.into_iter().zip(answers.iter().map(verdict));
    let witnesses = witnesses.map(|(url, verdict)| Witness { url, verdict }).collect();
    let (_, _, theirs) = answers.swap_remove(best)?;
    headers.adopt(theirs)?;
    Ok(Proved { account: state, tip, heavier: headers.heavier(), witnesses })
}

/// No node can be believed: a false answer weighs more than none.
pub(crate) fn nobody(urls: &[String], mut failures: Vec<Failure>) -> Failure {
    if let [_] = failures.as_slice() {
        return failures.remove(0);
    }
    let told: Vec<String> =
        urls.iter().zip(&failures).map(|(url, failure)| format!("{url}: {}", failure.message)).collect();
    let first = failures.iter().find(|failure| failure.code != ExitCode::Unreachable).or(failures.first());
    let (code, next) = first.map_or((ExitCode::Unreachable, ""), |failure| (failure.code, failure.next.as_str()));
    Failure::new(code, format!("none of {} nodes can be believed: {}", urls.len(), told.join("; ")), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::testing::{FakeNode, Ledger, node, node_with};
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use drystone_core::params::{ChainKind, ChainParams};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    fn mined(count: usize, reward_to: u8) -> Arc<Mutex<Ledger>> {
        let params = ChainParams { kind: ChainKind::Test, ..dev_params() };
        let ledger = Ledger::shared(params);
        ledger.lock().unwrap().mine(count, reward_to);
        ledger
    }

    fn ask(chain: &Chain, nodes: &[&FakeNode]) -> (Client, Result<Proved, Failure>) {
        let urls: Vec<String> = nodes.iter().map(|node| node.url.clone()).collect();
        let mut client = Client::new(&urls, Duration::from_secs(10)).unwrap();
        client.bind(chain.id);
        let dir = tempfile::tempdir().unwrap();
        let mut headers = Headers::load(chain, dir.path());
        let outcome = prove(&mut client, &mut headers, &SecretKey::dev(0).account());
        (client, outcome)
    }

    fn verdicts(proved: &Proved) -> Vec<&'static str> {
        proved.witnesses.iter().map(|witness| witness.verdict.name()).collect()
    }

    #[test]
    fn one_liar_and_one_that_is_behind_do_not_hide_the_truth() {
        let (truth, stale, fork) = (mined(12, 1), mined(3, 1), mined(12, 2));
        let chain = truth.lock().unwrap().chain.clone();
        let liar = node_with(&truth, |method, value| {
            if method == "account_proof" {
                value["account"]["balance"] = json!("99900000000");
            }
        });
        let bad = node_with(&truth, |method, value| {
            if method == "chain_headers" {
                let text = value[0].as_str().unwrap().replace('a', "b");
                value[0] = json!(text);
            }
        });
        let silent = FakeNode { url: "http://127.0.0.1:1".into() };
        let other = node(&Ledger::shared(dev_params()));
        let (honest, late, fork) = (node(&truth), node(&stale), node(&fork));
        let (client, outcome) = ask(&chain, &[&liar, &late, &bad, &silent, &other, &honest, &fork]);
        let proved = outcome.unwrap();
        assert_eq!(proved.account.balance.to_stones(), "10000");
        assert_eq!(proved.tip.hash(), truth.lock().unwrap().tip().hash());
        assert_eq!(verdicts(&proved), ["refuted", "behind", "refuted", "silent", "refuted", "agrees", "tied"]);
        assert_eq!(client.name(), format!("{}/rpc", honest.url), "it is asked from now on");
        let text = proved.text();
        for witness in &proved.witnesses {
            assert!(text.contains(&witness.url), "{text}");
        }
        assert!(text.contains("another balance or nonce than it says"), "{text}");
        // In whatever order they are given.
        let (_, outcome) = ask(&chain, &[&honest, &late, &liar]);
        assert_eq!(verdicts(&outcome.unwrap()), ["agrees", "behind", "refuted"]);
    }

    #[test]
    fn what_one_node_gave_is_not_fetched_from_the_next() {
        let truth = mined(12, 1);
        let chain = truth.lock().unwrap().chain.clone();
        let second = node_with(&truth, |method, _| assert_ne!(method, "chain_headers"));
        let (_, outcome) = ask(&chain, &[&node(&truth), &second]);
        assert_eq!(verdicts(&outcome.unwrap()), ["agrees", "agrees"]);
    }

    #[test]
    fn where_nobody_can_be_believed_each_is_named() {
        let truth = mined(2, 1);
        let chain = truth.lock().unwrap().chain.clone();
        let liar = node_with(&truth, |method, value| {
            if method == "account_proof" {
                value["account"]["nonce"] = json!(7);
            }
        });
        let silent = FakeNode { url: "http://127.0.0.1:1".into() };
        let failure = ask(&chain, &[&silent, &liar]).1.err().expect("nobody tells the truth");
        assert_eq!(failure.code, ExitCode::BadAnswer);
        assert!(failure.message.contains(&liar.url) && failure.message.contains(&silent.url), "{failure}");
        let silence = ask(&chain, &[&silent, &silent]).1.err().expect("nobody answers");
        assert_eq!(silence.code, ExitCode::Unreachable);
    }
}
