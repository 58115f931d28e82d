//! Two machines: one has a node, the other has no network at all and signs. What goes between them is a file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use drystone_core::address::encode_address;
use drystone_core::key::SecretKey;
use drystone_tests::program::{Ended, Node, program, run};
use serde_json::{Value, json};

/// Ways to run a program in a new network namespace, whose loopback is down: as root, and as a user who may make user namespaces.
const UNLINKED: [&[&str]; 2] = [&["--net"], &["--net", "--map-root-user"]];

/// Puts a command into a namespace without links, if this machine lets us.
fn unlinked() -> Option<impl Fn(&Command) -> Command> {
    let works =
        |way: &&[&str]| Command::new("unshare").args(*way).arg("true").output().is_ok_and(|it| it.status.success());
    let way = UNLINKED.into_iter().find(works)?;
    Some(move |command: &Command| {
        let mut moved = Command::new("unshare");
        moved.args(way).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => moved.env(name, value),
                None => moved.env_remove(name),
            };
        }
        moved
    })
}

fn json_of(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// A wallet command of the machine whose files are in `home`.
fn wallet(home: &Path, arguments: &[&str]) -> Command {
    let mut command = program("drystone-wallet", home);
    command.args(arguments);
    command
}

#[test]
fn a_machine_without_links_signs_and_another_broadcasts() {
    let Some(unlinked) = unlinked() else {
        // Nobody is left to tell if stderr is closed.
        let _ =
            writeln!(io::stderr(), "note: signing without links is skipped: this machine makes no network namespaces");
        return;
    };
    let (online, offline) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::start(online.path(), &["dev", "--threads", "0"]);
    let mine = || drop(node.call("mining_generate", json!([1, encode_address("tdry", &SecretKey::dev(9).account())])));
    let rpc = node.address.to_string();

    // A new wallet on the machine with the node. Its words go to the other one, on paper, and its keystore goes away.
    let password = online.path().join("password");
    fs::write(&password, "correct horse battery staple\n").unwrap();
    let secret = ["--password-file", password.to_str().unwrap()];
    let made = json_of(&node.wallet(&[&secret, &["--json", "new"][..]].concat()));
    let own = made["accounts"][0]["address"].as_str().unwrap();
    json_of(&node.wallet(&["--dev", "0", "--json", "send", own, "7"]));
    mine();
    fs::remove_file(online.path().join(".drystone/wallet.json")).unwrap();
    let words = offline.path().join("words");
    fs::write(&words, made["mnemonic"].as_str().unwrap()).unwrap();

    // It has no device but a loopback that is down, so that not even a node on this machine can be asked.
    let devices = run(&mut unlinked(Command::new("cat").arg("/proc/net/dev")));
    let names: Vec<&str> =
        devices.stdout.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"], "{devices:?}");
    let asked = run(&mut unlinked(&wallet(offline.path(), &["--rpc", &rpc, "balance", own])));
    assert_eq!(asked.code, Some(5), "{asked:?}");

    let restored =
        wallet(offline.path(), &[&secret[..], &["--json", "--chain", "dev", "restore", "--accounts", "1"]].concat());
    let restored = json_of(&run(unlinked(&restored).stdin(File::open(&words).unwrap())));
    assert_eq!(restored["accounts"][0]["address"], own);
    // What the machine with the node says: the nonce and the fee.
    let nonce = json_of(&node.wallet(&["--json", "balance", own]))["nonce"].to_string();
    let paid = encode_address("tdry", &SecretKey::dev(1).account());
    let file = offline.path().join("payment.json");
    let file = file.to_str().unwrap();
    let sign =
        ["--chain", "dev", "sign", &paid, "2.5", "--fee", "0.001", "--nonce", &nonce, "--memo", "rent", "--out", file];
    let signed = run(&mut unlinked(&wallet(offline.path(), &[&secret[..], &sign].concat())));
    assert_eq!(signed.code, Some(0), "{signed:?}");
    assert!(signed.stdout.contains("next, on a machine with a node: drystone-wallet broadcast"), "{signed:?}");

    // The file says what is signed, to people too, and a letter that differs is refused.
    let shown: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&shown["from"], &shown["to"]), (&json!(own), &json!(paid)));
    assert_eq!((&shown["amount_in_stones"], &shown["memo"]), (&json!("2.5"), &json!("rent")));
    let forged = online.path().join("forged.json");
    fs::write(&forged, fs::read_to_string(file).unwrap().replace("\"2.5\"", "\"0.5\"")).unwrap();
    let refused = node.wallet(&["broadcast", forged.to_str().unwrap()]);
    assert_eq!(refused.code, Some(3), "{refused:?}");

    // Broadcast where there is no key.
    let sent = json_of(&node.wallet(&["--json", "broadcast", file]));
    assert_eq!(sent["txid"], shown["txid"]);
    mine();
    let balance = json_of(&node.wallet(&["--json", "balance", own]));
    assert_eq!(balance["balance"], json!((700_000_000_u64 - 250_000_000 - 100_000).to_string()));

    // What comes back is a receipt. The machine without links has checked no headers, and says so.
    let receipt = online.path().join("receipt.json");
    let receipt = receipt.to_str().unwrap();
    json_of(&node.wallet(&["--json", "receipt", sent["txid"].as_str().unwrap(), "--out", receipt]));
    let checked = ["--json", "--chain", "dev", "verify-receipt", receipt];
    let here = json_of(&run(&mut unlinked(&wallet(online.path(), &checked))));
    assert_eq!((&here["txid"], &here["block_height"]), (&sent["txid"], &json!(2)));
    let there = run(&mut unlinked(&wallet(offline.path(), &checked)));
    assert_eq!(there.code, Some(6), "{there:?}");
}

/// A wallet whose words nobody has seen is told to be made again, and a path that is no text costs no words.
#[test]
fn who_has_not_seen_the_words_is_told() {
    let root = tempfile::tempdir().unwrap();
    let password = root.path().join("password");
    fs::write(&password, "secret").unwrap();
    let password = password.to_str().unwrap();
    let new = |keystore: &OsStr| {
        let mut command = wallet(root.path(), &["--password-file", password, "new"]);
        command.arg("--keystore").arg(keystore);
        command
    };

    let full = File::options().write(true).open("/dev/full").unwrap();
    let unseen = root.path().join("unseen.json");
    let ended = new(unseen.as_os_str()).stdout(full).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(unseen.exists() && told.contains("nobody has seen the 24 words: remove the keystore"), "{told}");

    let odd = root.path().join(OsStr::from_bytes(b"m\xfcller.json"));
    let ended = run(&mut new(odd.as_os_str()));
    assert_eq!((ended.code, odd.exists()), (Some(0), true), "{ended:?}");
    assert!(ended.stdout.contains("24 "), "{ended:?}");
}
