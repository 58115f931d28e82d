//! The simulator's program: what it refuses at once, what it writes, and what it does where nobody reads it.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use drystone_tests::program::{Ended, program, run};
use serde_json::Value;
use tempfile::tempdir;

fn simulate(home: &Path, arguments: &[&str]) -> Ended {
    run(program("drystone-sim", home).current_dir(home).arg("run").args(arguments))
}

#[test]
fn what_cannot_end_well_is_refused_before_it_begins() {
    let home = tempdir().unwrap();
    fs::write(home.path().join("taken"), "kept").unwrap();
    fs::write(home.path().join("taken.6"), "").unwrap();
    fs::write(home.path().join("empty.txt"), "# nothing\n").unwrap();
    fs::write(home.path().join("far.txt"), "nodes 3\nat 5 crash 3\n").unwrap();
    for (arguments, why) in [
        (&["--shrink", "missing/small.txt"][..], "cannot write missing/small.txt"),
        (&["--shrink", "taken"], "taken is there already"),
        (&["--shrink", "taken", "--seed", "4", "--seeds", "3"], "taken.6 is there already"),
        (&["--nodes", "1000", "--hours", "1001"], "1000 nodes for 1001 hours are more"),
        (&["--scenario", "empty.txt"], "there is nothing in it"),
        (&["--scenario", "far.txt"], "line 2: there are 3 nodes, numbered from 0, and no 3"),
        (&["--scenario", "/dev/zero"], "it is longer than"),
        (&["--scenario", "."], "cannot use the scenario ."),
        (&["--seed", "ffffffffffffffff", "--seeds", "2"], "not so many seeds"),
        (&["--seed", "0x0x5"], "a seed is up to 16 hex digits"),
        (&["--nodes", "10001"], "a network has 2 to 10000 nodes"),
        (&["--hours", "18446744073709551615"], "faults last a minute to a year"),
        (&["--hours", "0"], "faults last a minute to a year"),
        (&["--seeds", "0"], "0 is not in 1.."),
    ] {
        let ended = simulate(home.path(), arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments:?}: {ended:?}");
    }
    assert_eq!(fs::read_to_string(home.path().join("taken")).unwrap(), "kept");
}

#[test]
fn a_run_that_was_ended_says_so_and_counts_nothing() {
    let home = tempdir().unwrap();
    fs::write(home.path().join("two.txt"), "nodes 2\nminutes 1\nat 1000 rate 1 10000\n").unwrap();
    let cut = simulate(home.path(), &["--scenario", "two.txt", "--until", "30000"]);
    for what in ["ok until 30000 ms, where it was ended", "agreement         not looked for", "was not looked at"] {
        assert!(cut.stdout.contains(what), "{what}: {cut:?}");
    }
    let counts = |until: &str| {
        let ended = simulate(home.path(), &["--scenario", "two.txt", "--until", until, "--json"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let mut outcome: Value = serde_json::from_str(&ended.stdout).unwrap();
        outcome["counts"].take()
    };
    let cut = counts("30000");
    assert!(cut["agreed_after_ms"].is_null() && cut.get("confirmed").is_none(), "{cut}");
    // Past its end it is whole.
    let whole = counts("18446744073709551615");
    assert!(whole["agreed_after_ms"].is_u64() && whole["confirmed"].is_u64(), "{whole}");
}

/// Miners who never hear of the other hosts: payments that those take come into no block.
#[test]
fn what_fails_is_shrunk_into_a_new_file_that_fails_alike() {
    let home = tempdir().unwrap();
    let apart =
        "nodes 8\npayments 15\nat 1000 split 0\nat 1000 split 1\nat 1000 split 2\nat 1000 split 3\nat 2000 skew 0 5\n";
    fs::write(home.path().join("apart.txt"), apart).unwrap();
    let failed = simulate(home.path(), &["--scenario", "apart.txt", "--shrink", "my small.txt"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("violation: progress at 3599999 ms"), "{failed:?}");
    assert!(failed.stderr.ends_with("next: drystone-sim run --scenario 'my small.txt'\n"), "{failed:?}");
    let small = fs::read_to_string(home.path().join("my small.txt")).unwrap();
    assert!(small.starts_with("# progress at ") && !small.contains("skew"), "{small}");
    let again = simulate(home.path(), &["--scenario", "my small.txt"]);
    assert!(again.code == Some(1) && again.stderr.starts_with("violation: progress"), "{again:?}");
}

#[test]
fn a_reader_that_leaves_ends_it_without_a_panic() {
    let home = tempdir().unwrap();
    let mut command = program("drystone-sim", home.path());
    command.args(["run", "--nodes", "2", "--hours", "1", "--faults", "none", "--seeds", "1000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let deadline = Instant::now() + Duration::from_secs(100);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
    // Fails where it has ended, as it should have.
    let _ = child.kill();
    let ended = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).unwrap();
    assert_eq!((ended.code(), said.as_str()), (Some(1), ""));
}
