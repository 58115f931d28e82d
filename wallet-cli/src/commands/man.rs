//! `man`: man pages, made from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;

use super::Report;
use crate::cli::Cli;
use crate::error::{ExitCode, Failure};

/// Writes every page into `directory`, or prints the program's own.
pub(crate) fn run(directory: Option<&Path>) -> Result<Report, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Only then subcommands have their full names and the flags that all share.
    command.build();
    let Some(directory) = directory else {
        let page = render(&Man::new(command));
        let page = page.trim_end().to_owned();
        return Ok(Report { json: json!({ "page": page }), text: page });
    };
    let refuse = |error: io::Error| {
        let what = format_args!("cannot write man pages into {}: {error}", directory.display());
        Failure::new(ExitCode::BadInput, what, "name a directory that you may write, as in: drystone-wallet man man1")
    };
    fs::create_dir_all(directory).map_err(refuse)?;
    let mut names = Vec::new();
    for command in command.get_subcommands().chain([&command]) {
        let page = Man::new(command.clone());
        let name = page.get_filename();
        fs::write(directory.join(&name), render(&page)).map_err(refuse)?;
        names.push(name);
    }
    names.sort();
    let text = format!(
        "{} man pages in {}\nnext: man {}",
        names.len(),
        directory.display(),
        directory.join("drystone-wallet.1").display()
    );
    Ok(Report { json: json!({ "directory": directory.display().to_string(), "pages": names }), text })
}

fn render(page: &Man) -> String {
    let mut text = Vec::new();
    page.render(&mut text).expect("writing to memory does not fail");
    String::from_utf8(text).expect("the definition is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("share/man1");
        fs::create_dir_all(&pages).unwrap();
        fs::write(pages.join("drystone-wallet.1"), "old").unwrap();
        let report = run(Some(&pages)).unwrap();
        let commands = Cli::command();
        let mut names: Vec<String> =
            commands.get_subcommands().map(|command| format!("drystone-wallet-{}.1", command.get_name())).collect();
        names.push("drystone-wallet.1".into());
        for name in &names {
            let page = fs::read_to_string(pages.join(name)).unwrap();
            assert!(
                page.contains(".TH drystone-wallet") && page.contains("--keystore".replace('-', "\\-").as_str()),
                "{page}"
            );
        }
        assert_eq!(report.json["pages"].as_array().map(Vec::len), Some(names.len()));
        assert_eq!(fs::read_dir(&pages).unwrap().count(), names.len());

        let printed = run(None).unwrap().text;
        assert_eq!(fs::read_to_string(pages.join("drystone-wallet.1")).unwrap().trim_end(), printed);
        let refused = run(Some(&pages.join("drystone-wallet.1"))).unwrap_err();
        assert_eq!(refused.code, ExitCode::BadInput);
    }
}
