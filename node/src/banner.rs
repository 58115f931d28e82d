//! What a development chain says first: where everything is, who has money, and what to type next.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::genesis::DEV_ACCOUNTS;
use drystone_core::key::SecretKey;
use drystone_core::state::{Leaf, StateKey, StateView};
use drystone_node::rpc::COOKIE_FILE;
use drystone_node::store::{Snapshot, StoreError};

use crate::config::{Config, DEFAULT_RPC};

/// The wallet's program.
const WALLET: &str = "drystone-wallet";

/// The greeting of a node that answers at `rpc`, with the balances of `snapshot`.
pub(crate) fn text(
    config: &Config,
    rpc: SocketAddr,
    p2p: SocketAddr,
    snapshot: &Snapshot,
) -> Result<String, StoreError> {
    let params = &config.params;
    let address = |index| encode_address(&params.address_prefix, &SecretKey::dev(index).account());
    let data = config.data.path();
    let mining = match config.reward_to {
        Some(account) if config.threads > 0 => format!(
            "a block every {} s, {} stones each, to {}",
            params.interval as f64 / 1000.0,
            params.subsidy.to_stones(),
            encode_address(&params.address_prefix, &account)
        ),
        _ => "off".into(),
    };
    let mut text = format!(
        "\n\
         A development chain of your own. Ctrl-C stops it; start it again and it goes on where it was.\n\n  \
         chain    {} {}\n  \
         data     {} (delete it to begin anew)\n  \
         RPC      http://{rpc}/rpc\n  \
         peers    {p2p}\n  \
         cookie   {}\n  \
         mining   {mining}\n\n\
         Funded accounts. Everyone knows their keys; the wallet uses number N with --dev N.\n\n",
        params.name,
        params.chain_id(),
        data.display(),
        data.join(COOKIE_FILE).display(),
    );
    for index in 0..DEV_ACCOUNTS {
        let balance = balance(snapshot, index)?.to_stones();
        text += &format!("  {index}  {}  {balance} stones\n", address(index));
    }
    let node = if rpc == DEFAULT_RPC { String::new() } else { format!(" --rpc {rpc}") };
    let wallet = wallet_command();
    text += &format!("\nNext, in another terminal:\n\n  {wallet}{node} --dev 0 send {} 12.5 --wait\n\n", address(1));
    Ok(text)
}

fn balance(snapshot: &Snapshot, index: u8) -> Result<Amount, StoreError> {
    let leaf = snapshot.leaf(&StateKey::account(&SecretKey::dev(index).account()))?;
    Ok(match leaf {
        Some(Leaf::Account(account)) => account.balance,
        _ => Amount::ZERO,
    })
}

/// How to start the wallet from here: by its name if the shell finds it, else from beside this program, else through
/// cargo if that is what started this program.
fn wallet_command() -> String {
    let directories = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    if directories.iter().any(|directory| directory.join(WALLET).is_file()) {
        return WALLET.into();
    }
    let own = env::current_exe().unwrap_or_default();
    let sibling = own.with_file_name(WALLET);
    if sibling.is_file() {
        return from_here(&sibling).display().to_string();
    }
    if env::var_os("CARGO").is_some() {
        let release = own.parent().is_some_and(|directory| directory.ends_with("release"));
        return format!("cargo run --locked{} --bin {WALLET} --", if release { " --release" } else { "" });
    }
    WALLET.into()
}

/// A path as the user would type it in the present directory.
fn from_here(path: &Path) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map_or(path.to_owned(), Path::to_owned)
}
