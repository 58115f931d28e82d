//! Which chain the wallet is on: the one whose genesis it holds itself, never one that a node describes.

use std::path::Path;

use drystone_core::api::NodeInfo;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;

use crate::cli::{KnownChain, Options};
use crate::error::{ExitCode, Failure};
use crate::files;
use crate::nodes;
use crate::rpc::{Client, NO_PARAMS};

/// Large enough for a hundred thousand allocations.
const MAX_GENESIS_BYTES: usize = 16 << 20;

/// A chain that the wallet can check from its first block.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its parameters.
    pub params: ChainParams,
    /// The hash of its first header.
    pub id: BlockHash,
}

impl From<ChainParams> for Chain {
    fn from(params: ChainParams) -> Chain {
        let id = params.chain_id();
        Chain { params, id }
    }
}

impl Chain {
    /// A built-in chain.
    pub(crate) fn known(chain: KnownChain) -> Chain {
        Chain::from(match chain {
            KnownChain::Main => main_params(),
            KnownChain::Dev => dev_params(),
        })
    }

    /// The chain that `--genesis` or `--chain` names, if any.
    pub(crate) fn named(options: &Options) -> Result<Option<Chain>, Failure> {
        match (&options.genesis, options.chain) {
            (Some(path), _) => Chain::read(path).map(Some),
            (None, chain) => Ok(chain.map(Chain::known)),
        }
    }

    /// The chain of the nodes that `client` reaches. It must be the named one, or else one of the built-in ones, on which all
    /// agree that are on any: no node decides it alone.
    pub(crate) fn of_node(options: &Options, client: &mut Client) -> Result<Chain, Failure> {
        let named = Chain::named(options)?;
        let told = |index: usize| {
            let info: NodeInfo = client.only(index)?.call("node_info", NO_PARAMS)?;
            Chain::told(named.clone(), &info)
        };
        let (told, failures): (Vec<_>, Vec<_>) =
            (0..client.urls().len()).map(told).partition::<Vec<Result<Chain, Failure>>, _>(Result::is_ok);
        let mut chains: Vec<Chain> = told.into_iter().flatten().collect();
        chains.sort_by_key(|chain| chain.id);
        chains.dedup_by_key(|chain| chain.id);
        match (chains.pop(), chains.is_empty()) {
            (Some(chain), true) => {
                client.bind(chain.id);
                Ok(chain)
            }
            (Some(_), false) => Err(Failure::new(
                ExitCode::BadAnswer,
                "the nodes are on different chains",
                "say which chain you mean with --chain or --genesis",
            )),
            (None, _) => Err(nodes::nobody(client.urls(), failures.into_iter().filter_map(Result::err).collect())),
        }
    }

    /// The chain that a node says it is on.
    fn told(named: Option<Chain>, info: &NodeInfo) -> Result<Chain, Failure> {
        match named {
            Some(chain) if chain.id == info.chain_id => Ok(chain),
            Some(chain) => Err(Failure::new(
                ExitCode::BadAnswer,
                format!("the node is on chain {}, not on {} ({})", info.chain_id, chain.params.name, chain.id),
                "name a node of that chain with --rpc URL, or another chain with --chain or --genesis",
            )),
            None => [KnownChain::Main, KnownChain::Dev]
                .map(Chain::known)
                .into_iter()
                .find(|chain| chain.id == info.chain_id)
                .ok_or_else(|| {
                    Failure::new(
                        ExitCode::BadAnswer,
                        format!("the node is on chain {}, which this wallet does not know", info.chain_id),
                        "give the chain's genesis file with --genesis FILE",
                    )
                }),
        }
    }

    fn read(path: &Path) -> Result<Chain, Failure> {
        let refuse = |reason: &dyn std::fmt::Display| {
            Failure::new(
                ExitCode::BadInput,
                format!("cannot use the genesis file {}: {reason}", path.display()),
                format!("check it with: drystone-node genesis check {}", path.display()),
            )
        };
        let bytes = files::read_capped(path, MAX_GENESIS_BYTES).map_err(|error| refuse(&error))?;
        let text = str::from_utf8(&bytes).map_err(|error| refuse(&error))?;
        ChainParams::from_json(text).map(Chain::from).map_err(|error| refuse(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ledger, command, node};
    use drystone_core::params::ChainKind;
    use std::fs;

    fn other_params() -> ChainParams {
        ChainParams { name: "other".into(), kind: ChainKind::Test, ..dev_params() }
    }

    fn of_node(params: ChainParams, flags: &str) -> Result<Chain, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let genesis = dir.path().join("genesis.json");
        fs::write(&genesis, other_params().to_json()).unwrap();
        let flags = flags.replace("FILE", genesis.to_str().unwrap());
        let cli = command(&node(&Ledger::shared(params)), dir.path(), &format!("{flags} address"));
        let mut client = Client::new(&cli.options.nodes(), cli.options.timeout()).unwrap();
        Chain::of_node(&cli.options, &mut client)
    }

    #[test]
    fn the_node_chooses_among_chains_that_the_wallet_knows() {
        assert_eq!(of_node(dev_params(), "").unwrap().params, dev_params());
        assert_eq!(of_node(main_params(), "").unwrap().params, main_params());
        assert_eq!(of_node(dev_params(), "--chain dev").unwrap().params, dev_params());
        assert_eq!(of_node(other_params(), "--genesis FILE").unwrap().params, other_params());
    }

    /// Whoever is named first decides nothing.
    #[test]
    fn one_node_among_several_does_not_choose_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let dev = node(&Ledger::shared(dev_params()));
        let main = node(&Ledger::shared(main_params()));
        let mad = crate::testing::node_with(&Ledger::shared(dev_params()), |_, value| *value = serde_json::json!(7));
        let of = |nodes: [&crate::testing::FakeNode; 2], flags: &str| {
            let mut cli = command(nodes[0], dir.path(), &format!("{flags} address"));
            cli.options.rpc = nodes.map(|node| node.url.clone()).into();
            let mut client = Client::new(&cli.options.nodes(), cli.options.timeout()).unwrap();
            Chain::of_node(&cli.options, &mut client)
        };
        assert_eq!(of([&mad, &dev], "").unwrap().params, dev_params());
        let split = of([&dev, &main], "").unwrap_err();
        assert!(split.next.contains("--chain"), "{split}");
        assert_eq!(of([&dev, &main], "--chain main").unwrap().params, main_params());
        let nobody = of([&mad, &mad], "").unwrap_err();
        assert_eq!(nobody.code, ExitCode::BadAnswer);
    }

    #[test]
    fn a_node_of_another_chain_is_refused() {
        let unknown = of_node(other_params(), "").unwrap_err();
        assert_eq!(unknown.code, ExitCode::BadAnswer);
        assert!(unknown.next.contains("--genesis"), "{unknown}");
        for (params, flags) in [(dev_params(), "--chain main"), (main_params(), "--genesis FILE")] {
            let failure = of_node(params, flags).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer);
            assert!(failure.message.contains("the node is on chain"), "{failure}");
        }
    }

    #[test]
    fn a_bad_genesis_file_is_bad_input() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("genesis.json");
        let missing = Chain::read(&path).unwrap_err();
        assert_eq!(missing.code, ExitCode::BadInput);
        let good = other_params().to_json();
        let bad = [
            "",
            "{}",
            "\u{0}",
            &good.replace("\"maturity\": 10", "\"maturity\": 0"),
            &good.replace("maturity", "colour"),
        ];
        for text in bad {
            fs::write(&path, text).unwrap();
            let failure = Chain::read(&path).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput, "{text}");
            assert!(failure.next.contains("drystone-node genesis check "));
        }
    }
}
