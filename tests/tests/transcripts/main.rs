//! The pages are true: what README, OPERATIONS and WALLET tell a reader to type is typed here, in their order, by a shell with an
//! empty home, and must print what they show.

mod page;
mod shell;

use page::{Step, steps};
use shell::Shell;

/// How a page is typed on a machine that has other things to do.
struct Typing {
    page: &'static str,
    /// What stands on the page, and what is typed for it; the first one first.
    instead: &'static [(&'static str, &'static str)],
    /// Commands that are not typed, each with the reason.
    left_out: &'static [(&'static str, &'static str)],
    /// What has a program read the configuration files of the page.
    read_toml: &'static str,
}

/// A node takes the file if it gets as far as its note.
const NODE_READS: &str = "\
read_toml() {
    cat >read.toml
    LISTEN='--listen 127.0.0.1:0'
    if grep -q '^ *listen' read.toml; then LISTEN=; fi
    drystone-node run --config read.toml --data-dir read --rpc 127.0.0.1:0 $LISTEN --log error &
    for _ in $(seq 1200); do
        if [ -e read/node.json ] || ! kill -0 $! 2>/dev/null; then break; fi
        sleep 0.1
    done
    TAKEN=0
    [ -e read/node.json ] || TAKEN=1
    { kill -KILL $!; wait $!; } 2>/dev/null
    rm -rf read
    return $TAKEN
}
";

/// The wallet keeps the file, and the rest of the page goes by it.
const WALLET_READS: &str = "\
read_toml() { mkdir -p ~/.drystone && cat >~/.drystone/wallet.toml && drystone-wallet address; }
";

const README: Typing = Typing {
    page: include_str!("../../../README.md"),
    instead: &[("pkill -9 drystone-node", "end_nodes KILL")],
    left_out: &[
        ("cargo build --release --locked && target/release/drystone-node dev", "it has built what is tested here"),
        ("bash scripts/test.sh", "it runs this test"),
    ],
    read_toml: "",
};

const OPERATIONS: Typing = Typing {
    page: include_str!("../../../docs/OPERATIONS.md"),
    instead: &[
        // One machine plays two: another directory, and the port that the first node really has.
        (
            "--data-dir ours --listen 0.0.0.0:8646 --peer 192.0.2.7:8646",
            "--data-dir theirs --listen 127.0.0.1:0 --peer $NODE_LISTENS",
        ),
        ("--listen 0.0.0.0:8646", "--listen 127.0.0.1:0"),
        ("--peer node.example:8646", "--peer 127.0.0.1:1"),
        ("listen = \"0.0.0.0:8646\"", "listen = \"127.0.0.1:0\""),
        ("\"node.example:8646\", \"192.0.2.7:8646\"", "\"127.0.0.1:1\""),
        // Not beside the node of the main chain, which is then the only one in its home.
        ("dev --faucet 10", "dev --data-dir faucet --faucet 10"),
        ("http://127.0.0.1:8645/rpc", "http://$DRYSTONE_RPC/rpc"),
        ("drystone-node bench-miner", "drystone-node bench-miner --seconds 0.1"),
    ],
    left_out: &[
        ("cargo build --release --locked", "it has built what is tested here"),
        (
            "install -m 755 target/release/drystone-node target/release/drystone-wallet /usr/local/bin/",
            "it would change this machine",
        ),
        (
            "drystone-node run --config /etc/drystone.toml 2>>/var/log/drystone/node.log",
            "it needs the files of a service",
        ),
    ],
    read_toml: NODE_READS,
};

const WALLET: Typing = Typing {
    page: include_str!("../../../docs/WALLET.md"),
    instead: &[("alice = \"dry1…\"", "alice = \"$(drystone-wallet --account 1 address)\"")],
    left_out: &[(
        "drystone-wallet --rpc http://a:8645,http://b:8645,http://c:8645 balance tdry1…",
        "one of its nodes lies, which no program here does: the tests of wallet-cli/src/nodes.rs have such nodes",
    )],
    read_toml: WALLET_READS,
};

/// Types a whole page.
fn type_out(typing: &Typing) {
    let steps = steps(typing.page);
    for (command, _) in typing.left_out {
        assert!(steps.iter().any(|step| step.command == *command), "it is not on the page any more: {command}");
    }
    for (words, _) in typing.instead {
        assert!(steps.iter().any(|step| step.command.contains(words)), "it is not on the page any more: {words}");
    }
    let mut shell = Shell::new(typing.read_toml);
    let typed = |step: &&Step| !typing.left_out.iter().any(|(command, _)| step.command == *command);
    for step in steps.iter().filter(typed) {
        let command = typing.instead.iter().fold(step.command.clone(), |line, (from, to)| line.replace(from, to));
        shell.run(&command, step);
    }
}

#[test]
fn readme() {
    type_out(&README);
}

#[test]
fn operations() {
    type_out(&OPERATIONS);
}

#[test]
fn wallet() {
    type_out(&WALLET);
}
