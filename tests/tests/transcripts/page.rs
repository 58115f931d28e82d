//! What a page tells its reader to type, and what it shows of the answer.

use drystone_tests::pattern::shows;

/// Blocks that hold no commands.
const NO_COMMANDS: [&str; 2] = ["json", "text"];

/// Blocks that are files: the shell has a command for each kind, `read_toml` for instance, that has a program read it.
const FILES: [&str; 2] = ["ini", "toml"];

/// A command with the lines that it must print, in order, with others between them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) expected: Vec<String>,
}

/// Every command of every block: after `$ ` in `console` blocks, each line in `sh` blocks, one for a whole file.
///
/// # Panics
/// If a block is of a kind that nobody knows how to read.
pub(crate) fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut kind = None;
    for line in page.lines() {
        // Blocks within lists are indented.
        if let Some(word) = line.trim_start().strip_prefix("```") {
            let file = kind.unwrap_or(word);
            if FILES.contains(&file) {
                match kind {
                    None => steps.push(Step { command: format!("read_{file} <<END\n"), expected: Vec::new() }),
                    Some(_) => steps.last_mut().expect("it was opened").command.push_str("END"),
                }
            }
            kind = if kind.is_none() { Some(word) } else { None };
            let known = kind.is_none_or(|kind| {
                ["console", "sh"].contains(&kind) || NO_COMMANDS.contains(&kind) || FILES.contains(&kind)
            });
            assert!(known, "a block of kind {word:?}: is it typed?");
            continue;
        }
        let command = match kind {
            Some("console") => line.strip_prefix("$ "),
            Some("sh") => Some(line),
            Some(kind) if FILES.contains(&kind) => {
                steps.last_mut().expect("it was opened").command.push_str(&format!("{line}\n"));
                continue;
            }
            _ => continue,
        };
        match command {
            Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
            None => steps.last_mut().expect("output follows a command").expected.push(line.to_owned()),
        }
    }
    assert_eq!(kind, None, "a block is not closed");
    steps
}

/// Fails unless `output` has all lines that the page shows, in their order.
pub(crate) fn assert_shows(step: &Step, output: &str) {
    let missing = missing(step, output);
    assert_eq!(missing, None, "`{}` does not print that, in its place; it printed:\n{output}", step.command);
}

/// The first line that the page shows and `output` does not have in its place.
pub(crate) fn missing<'a>(step: &'a Step, output: &str) -> Option<&'a String> {
    let mut lines = output.lines();
    step.expected.iter().find(|expected| !lines.any(|line| shows(expected, line)))
}

#[test]
fn a_page_is_read_in_order() {
    let page = "```sh\nmake\n```\n- list\n  ```toml\n  a = 1\n  ```\n```console\n$ one\nfirst\nlast\n$ two\n```\n";
    let step = |command: &str, expected: &[&str]| Step {
        command: command.into(),
        expected: expected.iter().map(|line| (*line).into()).collect(),
    };
    let file = "read_toml <<END\n  a = 1\nEND";
    assert_eq!(steps(page), [step("make", &[]), step(file, &[]), step("one", &["first", "last"]), step("two", &[])]);
    let one = &steps(page)[2];
    assert_eq!(missing(one, "first\nmore\nlast\n"), None);
    assert_eq!(missing(one, "last\nfirst\n"), Some(&"last".into()));
}
