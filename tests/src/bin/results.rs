//! Draws the published results anew: an SVG figure and a table of text for each, into `docs/results`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use drystone_tests::results::RESULTS;

/// Draws the published figures anew, each as SVG and as text.
#[derive(Parser)]
struct Arguments {
    /// Which of them; all, where none is named
    names: Vec<String>,
    /// Where the figures go
    #[arg(long, default_value = "docs/results")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let known: Vec<&str> = RESULTS.iter().map(|(name, _)| *name).collect();
    if let Some(name) = arguments.names.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("error: there is no result {name:?}\nnext: name some of {}", known.join(", "));
        return ExitCode::from(2);
    }
    for (name, plots) in RESULTS {
        if !arguments.names.is_empty() && !arguments.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let start = Instant::now();
        for plot in plots() {
            let file = arguments.out.join(plot.file);
            let (svg, table) = (file.with_extension("svg"), file.with_extension("tsv"));
            let written = fs::create_dir_all(&arguments.out)
                .and_then(|()| fs::write(&svg, plot.svg()))
                .and_then(|()| fs::write(&table, plot.table()));
            if let Err(error) = written {
                eprintln!("error: cannot write {}: {error}\nnext: choose another place with --out", svg.display());
                return ExitCode::FAILURE;
            }
            println!("{}", svg.display());
        }
        println!("{name}: {:.0} s", start.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}
