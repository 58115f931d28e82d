//! Draws the published results anew: an SVG figure and a table of text for each, into `docs/results`.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Instant;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use drystone_tests::results::RESULTS;

/// Draws the published figures anew, each as SVG and as text.
#[derive(Parser)]
#[command(name = "drystone-results", version)]
struct Arguments {
    /// Which of them; all, which takes more than half an hour, where none is named
    #[arg(value_parser = PossibleValuesParser::new(RESULTS.map(|(name, _)| name)))]
    names: Vec<String>,
    /// Where the figures go
    #[arg(long, default_value = "docs/results")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match draw(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((path, error)) => {
            let path = path.display();
            let _ =
                writeln!(io::stderr(), "error: cannot write {path}: {error}\nnext: choose another place with --out");
            ExitCode::FAILURE
        }
    }
}

fn draw(arguments: &Arguments) -> Result<(), (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(at(out))?;
    // What could not be written at the end would be lost, so it is tried first; and a figure is never half there.
    let draft = out.join(format!(".drystone-results.{}.tmp", process::id()));
    fs::write(&draft, "").and_then(|()| fs::remove_file(&draft)).map_err(at(out))?;
    let named = |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name);
    for (name, plots) in RESULTS.into_iter().filter(|(name, _)| named(name)) {
        let start = Instant::now();
        for plot in plots() {
            let file = out.join(plot.file);
            for (file, text) in [(file.with_extension("tsv"), plot.table()), (file.with_extension("svg"), plot.svg())] {
                let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &file));
                written.inspect_err(|_| fs::remove_file(&draft).unwrap_or_default()).map_err(at(&file))?;
                say(&file.display());
            }
        }
        say(&format_args!("{name}: {:.0} s", start.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Says how far it is. The figures do not depend on who reads that.
fn say(what: &dyn Display) {
    let _ = writeln!(io::stdout(), "{what}");
}
