//! The inputs of the fuzz targets, replayed: seeds, what once crashed, and a few changes of each.

use std::fs;
use std::path::Path;

use drystone_tests::fuzz::{TARGETS, Target, seeds, target};
use drystone_tests::random::Random;

/// Changed inputs of each target, in a debug build a few seconds for all.
const CHANGES: usize = 400;
/// The same for targets that start a node for each input.
const CHANGES_OF_A_NODE: usize = 60;

fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    let inputs = seeds::inputs("corpus", target.name);
    assert!(!inputs.is_empty(), "{} has no corpus; next: cargo run -p drystone-tests --bin fuzz -- seeds", target.name);
    inputs
}

/// Replays what there is, then changes it. The name of each input is printed before it runs.
fn replay(name: &str) {
    let target = target(name);
    let corpus = corpus(target);
    let mut understood = 0;
    for (file, input) in corpus.iter().chain(&seeds::inputs("regressions", name)) {
        println!("{file}");
        understood += usize::from((target.run)(input));
    }
    assert!(understood * 4 >= corpus.len(), "{understood} of {} seeds get past the decoder", corpus.len());

    let random = Random::new(0xf0_22).part(name, 0);
    let changes = if ["engine", "rpc"].contains(&name) { CHANGES_OF_A_NODE } else { CHANGES };
    for number in 0..changes {
        let mut random = random.part("change", number as u64);
        let (file, input) = random.pick(&corpus).clone();
        let other = random.pick(&corpus).1.clone();
        println!("{file}, change {number}");
        (target.run)(&changed(input, &other, &mut random));
    }
}

/// An input with some bytes changed, or with the end of another one.
fn changed(mut input: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    for _ in 0..random.between(1, 4) {
        let place = random.below(input.len() as u64 + 1) as usize;
        match random.below(5) {
            0 if place < input.len() => input[place] ^= 1 << random.below(8),
            1 if place < input.len() => drop(input.remove(place)),
            2 => input.insert(place, random.next() as u8),
            3 => input.splice(place.., other.iter().skip(place).copied()).for_each(drop),
            _ => input.truncate(place),
        }
    }
    input
}

/// One test for each target, so that they run side by side and a failure has a name.
macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)) })*
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    block transaction header genesis gossip request response account_proof history_proof rpc keystore address receipt engine
}

#[test]
fn every_target_is_replayed_and_driven_by_libfuzzer() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("the package of the fuzzers");
    for name in &names {
        let path = format!("targets/{name}.rs");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"")), "{name} is no binary");
        let shim = fs::read_to_string(folder.join(path)).expect("its source");
        assert!(shim.contains(&format!("target(\"{name}\")")), "{shim}");
    }
    for kind in ["corpus", "regressions"] {
        for entry in fs::read_dir(folder.join(kind)).into_iter().flatten() {
            let name = entry.expect("an entry").file_name();
            assert!(names.iter().any(|known| name == **known), "{kind} of no target: {name:?}");
        }
    }
}
