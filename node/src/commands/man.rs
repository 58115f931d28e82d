//! `drystone-node man`: manual pages, from the definition of the command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::{Man, generate_to};

use crate::cli::Cli;
use crate::failure::Failure;

/// Writes one page for the program and one for each command into a directory; without one, what to print: the main page.
pub(crate) fn execute(directory: Option<&Path>) -> Result<String, Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).expect("memory takes what is written");
        return Ok(String::from_utf8_lossy(&page).into_owned());
    };
    fs::create_dir_all(directory).map_err(|error| Failure::io("create the directory", directory, &error))?;
    generate_to(Cli::command(), directory).map_err(|error| Failure::io("write manual pages to", directory, &error))?;
    Ok(format!("manual pages are in {}; read one with: man {0}/drystone-node.1\n", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_the_program_and_for_each_command() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("share/man1");
        execute(Some(&directory)).unwrap();
        for command in Cli::command().get_subcommands() {
            let page = fs::read_to_string(directory.join(format!("drystone-node-{}.1", command.get_name()))).unwrap();
            assert!(page.contains(".TH"), "{page}");
        }
        assert!(directory.join("drystone-node-genesis-new.1").exists());
        let run = fs::read_to_string(directory.join("drystone-node-run.1")).unwrap();
        assert!(run.contains("scrub"), "{run}");
        let main = fs::read_to_string(directory.join("drystone-node.1")).unwrap();
        let printed = execute(None).unwrap();
        for page in [main, printed] {
            assert!(page.contains("drystone\\-node\\-status(1)"), "{page}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let text = execute(Some(&root.path().join("file/below"))).unwrap_err().to_string();
        assert!(text.contains("cannot create the directory") && text.lines().count() == 2, "{text}");
    }
}
