//! docs/ERRORS.md is true and whole: each example is typed and must fail as its row says, and each message in the sources has a
//! row.

mod sources;
mod stage;

use drystone_tests::pattern::shows;
use stage::Stage;

const PAGE: &str = include_str!("../../../docs/ERRORS.md");

/// What stands in place of an example that cannot be typed, before the reason.
const NOT_PROVOKED: &str = "not provoked: ";

/// Fewer rows than this that are typed: somebody has emptied the page.
const LEAST_TYPED: usize = 100;

/// A row of the page.
struct Row {
    message: String,
    next: String,
    code: i32,
    /// A command, or why there is none.
    example: Result<String, String>,
}

/// The text of a cell, without the marks of code.
fn text(cell: &str) -> String {
    let cell = cell.trim();
    match cell.strip_prefix("`` ").and_then(|cell| cell.strip_suffix(" ``")) {
        Some(text) => text.to_owned(),
        None => cell.trim_matches('`').to_owned(),
    }
}

fn rows() -> Vec<Row> {
    let mut code = None;
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let digits = heading.split("exit code ").nth(1).and_then(|rest| rest.get(..1));
            code = Some(digits.and_then(|digit| digit.parse().ok()).expect("a heading names its exit code"));
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = cells.split(" | ").collect();
        let [message, cause, next, example] = cells[..] else { panic!("not four cells: {line}") };
        if message == "error" {
            continue;
        }
        assert!(!cause.is_empty() && !text(next).is_empty(), "{line}");
        let example = match example.strip_prefix(NOT_PROVOKED) {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(text(example)),
        };
        rows.push(Row { message: text(message), next: text(next), code: code.expect("a row has a heading"), example });
    }
    rows
}

#[test]
fn each_example_fails_as_its_row_says() {
    let stage = Stage::new();
    let mut typed = 0;
    let mut wrong = Vec::new();
    for row in rows() {
        let Ok(command) = &row.example else { continue };
        typed += 1;
        let Some(ended) = stage.run(command) else { continue };
        let said: Vec<&str> = ended.stderr.lines().filter(|line| !line.is_empty()).collect();
        let last_two =
            said.last_chunk().map(|[error, next]| (error.strip_prefix("error: "), next.strip_prefix("next: ")));
        let right = match last_two {
            Some((Some(error), Some(next))) => shows(&row.message, error) && shows(&row.next, next),
            _ => false,
        };
        if !right || ended.code != Some(row.code) {
            wrong.push(format!(
                "{command}\n  row:  exit code {}\n    error: {}\n    next: {}\n  said: {ended:?}",
                row.code, row.message, row.next
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(typed >= LEAST_TYPED, "{typed} examples");
}

#[test]
fn each_message_has_a_row() {
    let rows = rows();
    // The messages of the store end with their next step.
    let shown: Vec<String> =
        rows.iter().flat_map(|row| [row.message.clone(), format!("{}: {}", row.message, row.next)]).collect();
    let has_row = |template: &str| {
        let forms = [template.to_owned(), format!("{template}…"), format!("…{template}")];
        forms.iter().any(|form| shown.iter().any(|row| shows(form, row)))
    };
    let mut missing = Vec::new();
    for message in sources::messages() {
        if !message.is_exempt() && !has_row(&message.template) {
            missing.push(format!("{}: {}", message.file, message.template));
        }
    }
    assert!(missing.is_empty(), "docs/ERRORS.md has no row for:\n{}", missing.join("\n"));
}
