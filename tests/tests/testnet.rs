//! `scripts/testnet.sh demo` holds: on loopback, with network namespaces where there is root, and it fails where a step is
//! sabotaged.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drystone_tests::program::{Ended, binary, run_within};

/// How long a demo may take. The script's own waits are bounded and give up before.
const DEMO_PATIENCE: Duration = Duration::from_secs(600);

/// One network at a time: two would share the cores, and neither would keep its pace.
static TURN: Mutex<()> = Mutex::new(());

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/testnet.sh")
}

/// The script, ready for its arguments, with everything that it makes in `directory`.
fn testnet(directory: &Path) -> Command {
    let node = binary("drystone-node");
    let mut command = Command::new("bash");
    command.arg(script()).current_dir(directory).env("HOME", directory);
    command.env("DRYSTONE_TESTNET", directory.join("net"));
    command.env("DRYSTONE_BIN", node.parent().expect("a program lies in a directory"));
    command.env_remove("DRYSTONE_DEMO_BREAK").env_remove("DRYSTONE_LOG");
    command
}

fn assert_passed(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.ends_with("\nall 9 steps passed\n"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("     proved: ").count(), 9, "{}", ended.stdout);
    assert_eq!(ended.stderr, "", "it says nothing besides");
}

/// Whether this machine lets us make network namespaces.
fn has_namespaces() -> bool {
    let name = format!("drystone-probe-{}", std::process::id());
    let ip =
        |verb: &str| Command::new("ip").args(["netns", verb, &name]).output().is_ok_and(|out| out.status.success());
    ip("add") && ip("delete")
}

#[test]
fn the_demo_holds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("temporary directory");
    assert_passed(&run_within(testnet(directory.path()).arg("demo"), DEMO_PATIENCE));
    assert!(!directory.path().join("net").exists(), "nothing stays behind");

    if has_namespaces() {
        assert_passed(&run_within(testnet(directory.path()).args(["demo", "--netns"]), DEMO_PATIENCE));
        assert!(!directory.path().join("net").exists(), "nothing stays behind");
    } else {
        eprintln!("skipped: the demo with network namespaces, which this account cannot make");
    }
}

#[test]
fn a_sabotaged_demo_fails_and_says_where() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("temporary directory");
    let ended = run_within(testnet(directory.path()).arg("demo").env("DRYSTONE_DEMO_BREAK", "3"), DEMO_PATIENCE);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("3/9") && !ended.stdout.contains("4/9"), "{}", ended.stdout);
    for words in ["error: step 3 failed: expected no link between the sides; found node ", "next: ", "/net/node*/log"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert!(directory.path().join("net/node0/log").exists(), "the logs stay");

    // It has ended its processes, and `down` removes the rest.
    let status = run_within(testnet(directory.path()).arg("status"), DEMO_PATIENCE);
    assert_eq!(status.code, Some(1), "{}", status.stdout);
    assert_eq!(status.stdout.matches("not running").count(), 5, "{}", status.stdout);
    let down = run_within(testnet(directory.path()).arg("down"), DEMO_PATIENCE);
    assert_eq!((down.code, down.stderr.as_str()), (Some(0), ""));
    assert!(!directory.path().join("net").exists());
}

#[test]
fn mistakes_have_an_error_and_a_next_step() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (arguments, words) in [
        (&["status"] as &[&str], "there is no network in"),
        (&["down"], "there is no network in"),
        (&["up", "0"], "1 to 32 nodes can be started, not 0"),
        (&["up", "3", "--miners", "4"], "of 3 nodes 4 cannot mine"),
        (&["up", "--fast"], "there is no option --fast"),
        (&["explode"], "there is no command explode"),
    ] {
        let ended = run_within(testnet(directory.path()).args(arguments), DEMO_PATIENCE);
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let [error, next] = lines[..] else { panic!("{arguments:?}: {}", ended.stderr) };
        assert!(error.starts_with("error: ") && error.contains(words), "{arguments:?}: {error}");
        assert!(next.starts_with("next: "), "{arguments:?}: {next}");
    }
    let help = run_within(testnet(directory.path()).arg("help"), DEMO_PATIENCE);
    assert!(help.code == Some(0) && help.stdout.contains("DRYSTONE_DEMO_BREAK=N"), "{}", help.stdout);
    assert!(!directory.path().join("net").exists(), "none of these makes anything");
}
