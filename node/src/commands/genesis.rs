//! `drystone-node genesis`: check, show and write the files that start chains.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use drystone_core::address::decode_address;
use drystone_core::amount::Amount;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::params::{Allocation, ChainKind, ChainParams};
use drystone_core::pow::CompactTarget;
use drystone_core::subsidy::{subsidies_through, subsidy_at};

use crate::cli::{GenesisCommand, Kind, KnownChain, NewGenesis};
use crate::clock::now;
use crate::config::read_genesis;
use crate::failure::Failure;

/// Eras of the subsidy that are printed one by one; what follows is in the total.
const PRINTED_ERAS: u64 = 4;

/// Does what was asked and returns what to print.
pub(crate) fn execute(command: GenesisCommand) -> Result<String, Failure> {
    match command {
        GenesisCommand::Check { file } => read_genesis(&file).map(|params| describe(&params)),
        GenesisCommand::Show { chain: KnownChain::Main } => Ok(main_params().to_json()),
        GenesisCommand::Show { chain: KnownChain::Dev } => Ok(dev_params().to_json()),
        GenesisCommand::New(new) => {
            let params = compose(&new, now())?;
            let Some(path) = &new.output else { return Ok(params.to_json()) };
            create(path, &params.to_json())?;
            let path = path.display();
            Ok(format!("{}written    {path}\nnext       drystone-node run --genesis {path}\n", describe(&params)))
        }
    }
}

/// What a chain is, in words.
fn describe(params: &ChainParams) -> String {
    let kind = match params.kind {
        ChainKind::Main => "main: nodes mine only with peers",
        ChainKind::Test => "test: nodes mine alone",
        ChainKind::Dev => "dev: nodes mine alone and keep the block interval",
    };
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let block = params.genesis_block();
    let lines = [
        ("name", params.name.clone()),
        ("kind", kind.to_owned()),
        ("chain id", params.chain_id().to_string()),
        ("parameters", params.hash().to_string()),
        ("state root", block.header.state_root.to_string()),
        ("starts at", format!("Unix time {} ms", params.time)),
        ("addresses", format!("{}1...", params.address_prefix)),
        (
            "blocks",
            format!(
                "every {} s, at most {} bytes, {} s ahead of the clock",
                seconds(params.interval),
                params.max_block_bytes,
                seconds(params.max_future)
            ),
        ),
        (
            "work",
            format!(
                "first target {}, easiest {}, response time {} s",
                params.bits,
                params.pow_limit,
                seconds(params.response)
            ),
        ),
        (
            "rules",
            format!(
                "rewards mature after {} blocks, reserve {} stones",
                params.maturity,
                params.account_reserve.to_stones()
            ),
        ),
        ("allocated", format!("{} stones, accounts: {}", params.allocated().to_stones(), params.allocations.len())),
    ];
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<11}{value}\n")).collect();
    text.push_str(&describe_supply(params));
    text
}

/// The subsidy schedule: its first eras and what an endless chain has.
fn describe_supply(params: &ChainParams) -> String {
    let mut text = String::new();
    for era in 0..PRINTED_ERAS {
        let Some(first) = era.checked_mul(params.halving_interval).and_then(|blocks| blocks.checked_add(1)) else {
            break;
        };
        let subsidy = subsidy_at(params, first);
        if subsidy == Amount::ZERO {
            break;
        }
        let last = (first - 1).saturating_add(params.halving_interval);
        let total = Amount(params.allocated().0 + subsidies_through(params, last).0);
        let (subsidy, total) = (subsidy.to_stones(), total.to_stones());
        text += &format!("{:<11}blocks {first} to {last}: {subsidy} stones each, {total} in all\n", "supply");
    }
    let end = Amount(params.allocated().0 + subsidies_through(params, u64::MAX).0);
    text + &format!("{:<11}{} stones in the end\n", "supply", end.to_stones())
}

/// The parameters that the flags ask for. `now` is the Unix time in milliseconds.
fn compose(new: &NewGenesis, now: u64) -> Result<ChainParams, Failure> {
    let bits = parse_bits("--bits", &new.bits)?;
    let params = ChainParams {
        name: new.name.clone(),
        kind: match new.kind {
            Kind::Main => ChainKind::Main,
            Kind::Test => ChainKind::Test,
            Kind::Dev => ChainKind::Dev,
        },
        time: new.time.unwrap_or(now),
        interval: new.interval,
        response: new.response.unwrap_or(new.interval.saturating_mul(120)),
        max_future: new.max_future.unwrap_or(new.interval.saturating_mul(2)),
        pow_limit: new.pow_limit.as_deref().map_or(Ok(bits), |hex| parse_bits("--pow-limit", hex))?,
        bits,
        subsidy: parse_stones("--subsidy", &new.subsidy)?,
        halving_interval: new.halving_interval,
        maturity: new.maturity,
        max_block_bytes: new.max_block_bytes,
        account_reserve: parse_stones("--reserve", &new.reserve)?,
        address_prefix: new.prefix.clone(),
        allocations: Vec::new(),
    };
    check(&params)?;
    let mut allocations = Vec::new();
    for text in &new.allocate {
        allocations.push(parse_allocation(&params, text)?);
    }
    allocations.sort_unstable();
    let params = ChainParams { allocations, ..params };
    check(&params)?;
    Ok(params)
}

fn check(params: &ChainParams) -> Result<(), Failure> {
    params.check().map_err(|error| {
        Failure::new(format_args!("no chain can be made of this: {error}"), "change the flag of that name")
    })
}

fn parse_bits(flag: &str, text: &str) -> Result<CompactTarget, Failure> {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = u32::from_str_radix(text, 16).ok().filter(|_| digits);
    value.map(CompactTarget).ok_or_else(|| {
        Failure::new(
            format_args!("{flag} {text:?} is not 8 hex digits"),
            format_args!("write it as in {flag} 1f00ffff"),
        )
    })
}

fn parse_stones(flag: &str, text: &str) -> Result<Amount, Failure> {
    Amount::from_stones(text).map_err(|error| {
        Failure::new(format_args!("{flag} {text:?} is {error}"), "write stones with up to eight decimals, such as 12.5")
    })
}

fn parse_allocation(params: &ChainParams, text: &str) -> Result<Allocation, Failure> {
    let next = format!("write it as in --allocate {}1...=1000", params.address_prefix);
    let refuse = |what: &dyn std::fmt::Display| Failure::new(format_args!("--allocate {text:?}: {what}"), &next);
    let (address, stones) = text.split_once('=').ok_or_else(|| refuse(&"no = between address and amount"))?;
    let account = decode_address(&params.address_prefix, address).map_err(|error| refuse(&error))?;
    let amount = Amount::from_stones(stones).map_err(|error| refuse(&error))?;
    Ok(Allocation { account, amount })
}

/// Writes a file that must not exist yet: a chain's genesis is never written over.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| Failure::io("create", path, &error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file would stand in the way of the next try. It is this call's own.
        let _ = fs::remove_file(path);
        Failure::io("write", path, &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use drystone_core::address::encode_address;
    use drystone_core::key::AccountId;

    const NOW: u64 = 1_800_000_000_000;

    fn new(flags: &[&str]) -> Result<ChainParams, Failure> {
        let line = ["n", "genesis", "new", "--name", "mine"].iter().chain(flags);
        match Cli::parse_from(line).command {
            Command::Genesis(GenesisCommand::New(new)) => compose(&new, NOW),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_make_a_chain() {
        let params = new(&[]).unwrap();
        assert_eq!((params.kind, params.time, params.response), (ChainKind::Test, NOW, 1_200_000));
        assert_eq!(ChainParams::from_json(&params.to_json()).unwrap(), params);
    }

    #[test]
    fn flags_arrive_and_allocations_are_sorted() {
        let address = |byte| encode_address("own", &AccountId([byte; 32]));
        let high = format!("{}=2", address(9));
        let low = format!("{}=0.5", address(1));
        let flags = [
            "--kind",
            "dev",
            "--prefix",
            "own",
            "--interval",
            "500",
            "--allocate",
            &high,
            "--allocate",
            &low,
            "--bits",
            "207fffff",
        ];
        let params = new(&flags).unwrap();
        assert_eq!((params.kind, params.interval, params.max_future), (ChainKind::Dev, 500, 1000));
        assert_eq!((params.bits.0, params.pow_limit.0), (0x207f_ffff, 0x207f_ffff));
        let expected = [(1, 50_000_000), (9, 200_000_000)]
            .map(|(byte, chips)| Allocation { account: AccountId([byte; 32]), amount: Amount(chips) });
        assert_eq!(params.allocations, expected);
    }

    #[test]
    fn absurd_flags_are_refused() {
        let twice = format!("{}=1", encode_address("tdry", &AccountId([1; 32])));
        let other = format!("{}=1", encode_address("dry", &AccountId([1; 32])));
        for flags in [
            &["--interval", "0"][..],
            &["--interval", "18446744073709551615"],
            &["--response", "1"],
            &["--bits", "1f00fff"],
            &["--bits", "+f00ffff"],
            &["--bits", "00000000"],
            &["--pow-limit", "1e00ffff"],
            &["--subsidy", "1e3"],
            &["--subsidy", "90000000"],
            &["--halving-interval", "0"],
            &["--maturity", "0"],
            &["--max-block-bytes", "1"],
            &["--prefix", "UP"],
            &["--allocate", "x"],
            &["--allocate", "x=1"],
            &["--allocate", &other],
            &["--allocate", &twice, "--allocate", &twice],
        ] {
            assert!(new(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn a_file_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.json");
        create(&path, "first").unwrap();
        assert!(create(&path, "second").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn the_description_adds_up() {
        let text = describe(&main_params());
        assert!(text.contains(&main_params().chain_id().to_string()), "{text}");
        assert!(text.contains("blocks 1 to 2102400: 20 stones each, 42048000 in all"), "{text}");
        assert!(text.contains("blocks 2102401 to 4204800: 10 stones each, 63072000 in all"), "{text}");
        // Twice the first era, less what the halvings round away.
        assert!(text.contains("84095999.726688 stones in the end"), "{text}");
    }
}
