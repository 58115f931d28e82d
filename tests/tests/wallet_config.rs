//! The wallet's configuration file against the real node: names pay, flags win, and mistakes are told.

use std::fs;
use std::path::Path;

use drystone_core::address::encode_address;
use drystone_core::key::SecretKey;
use drystone_tests::program::{Ended, Node, program, run};

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

/// The wallet at home in `root`, which is told nothing but `line`.
fn wallet(root: &Path, line: &str) -> Ended {
    run(program("drystone-wallet", root).args(line.split(' ')))
}

#[test]
fn a_name_is_paid_and_watched_and_stands_beside_its_address() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--mine", &address(9)]);
    let alice = address(1);
    let config = root.path().join(".drystone/wallet.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let text = format!("rpc = ['{}']\n[addresses]\nalice = '{alice}'\n", node.address);
    fs::write(&config, &text).unwrap();

    let paid = wallet(root.path(), "--dev 0 send alice 12.5 --wait");
    assert_eq!(paid.code, Some(0), "{paid:?}");
    assert!(paid.stdout.contains(&format!("{alice} (alice)")), "{paid:?}");
    // No key is needed to watch, and nobody is asked for a password.
    let balance = wallet(root.path(), "balance alice");
    assert!(balance.stdout.starts_with(&format!("10012.5 stones at {alice} (alice)\n")), "{balance:?}");
    let history = wallet(root.path(), "history alice");
    assert!(history.stdout.contains("+12.5 from tdry1"), "{history:?}");
    assert!(history.stdout.contains(&format!("{alice} (alice)")), "{history:?}");
    // Programs are given addresses alone.
    let json = wallet(root.path(), "--json balance alice");
    assert!(json.stdout.contains(&format!("\"{alice}\"")) && !json.stdout.contains("(alice)"), "{json:?}");
    let signed = wallet(root.path(), "--dev 0 sign alice 1 --fee 0.1 --nonce 1");
    assert!(signed.stdout.contains(&format!("\"{alice}\"")) && !signed.stdout.contains("(alice)"), "{signed:?}");
    assert_eq!(wallet(root.path(), "--dev 1 address").stdout, format!("{alice}\n"));

    // A flag comes before the environment, and that before the file.
    let closed = wallet(root.path(), "--rpc 127.0.0.1:1 balance alice");
    assert_eq!(closed.code, Some(5), "{closed:?}");
    let environment = |flags: &[&str]| {
        let mut command = program("drystone-wallet", root.path());
        run(command.env("DRYSTONE_RPC", "127.0.0.1:1").args(flags).args(["balance", "alice"]))
    };
    assert_eq!(environment(&[]).code, Some(5));
    assert_eq!(environment(&["--rpc", &node.address.to_string()]).code, Some(0));

    let unknown = wallet(root.path(), "--dev 0 send carol 1");
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
    assert!(unknown.stderr.contains("\"carol\" is neither an address nor a name"), "{unknown:?}");
    let other = root.path().join("other.toml");
    fs::write(&other, text.replace("[addresses]", "colour = 1\n[addresses]")).unwrap();
    let mut named = program("drystone-wallet", root.path());
    let refused = run(named.env("DRYSTONE_WALLET_CONFIG", &other).args(["balance", "alice"]));
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("other.toml: line 2: unknown field `colour`"), "{refused:?}");
    fs::write(&config, text.replace(&alice, &alice[..20])).unwrap();
    let damaged = wallet(root.path(), "balance");
    assert!(damaged.stderr.contains("wallet.toml: addresses.alice: "), "{damaged:?}");
    assert_eq!(wallet(root.path(), "completions bash").code, Some(0), "shells start all the same");
}

/// Words from a pipe, over several lines, open the wallet that they were printed for.
#[test]
fn piped_words_restore_a_wallet_and_standard_error_stays_clean() {
    let root = tempfile::tempdir().unwrap();
    let password = root.path().join("password");
    fs::write(&password, "weak\n").unwrap();
    let flags = format!("--password-file {} --chain dev --json", password.display());
    let made = wallet(root.path(), &format!("{flags} new"));
    let parsed: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let words = root.path().join("words");
    fs::write(&words, parsed["mnemonic"].as_str().unwrap().replacen(' ', "\n", 5)).unwrap();
    let elsewhere = root.path().join("elsewhere");
    let mut restore = program("drystone-wallet", &elsewhere);
    restore.args(flags.split(' ')).args(["restore", "--accounts", "1"]).stdin(fs::File::open(&words).unwrap());
    let restored = run(&mut restore);
    let again: serde_json::Value = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!(again["accounts"], parsed["accounts"]);
    assert_eq!((made.stderr.as_str(), restored.stderr.as_str()), ("", ""));
}
