//! The messages that stand in the sources of the two programs.

use std::fs;
use std::path::{Path, PathBuf};

/// Messages that need no row, by file and beginning, each with the reason.
const EXEMPT: &[(&str, &str, &str)] = &[
    ("node/src/engine/", "", "the log says it, or the RPC"),
    ("node/src/mailbox.rs", "", "the RPC says it"),
    ("node/src/store/verify.rs", "", "stands after the path of the ledger"),
    ("node/src/store/backup.rs", "given up", "the node ends, and the connection with it"),
    ("wallet-cli/src/mnemonic.rs", "", "stands after: these are not the 24 words of a wallet"),
    ("wallet-cli/src/headers.rs", "its ", "stands after: the node cannot be believed"),
    ("wallet-cli/src/nodes.rs", "none of … nodes", "has a row, whose words are those of each node"),
];

/// Messages that are put together elsewhere: the argument as it stands in the source, and where its words come from.
const MADE_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("node/src/failure.rs", "message", "an error of the store, which has its row"),
    ("node/src/main.rs", "message", "the words of the parser of command lines"),
    ("node/src/node.rs", "error", "an error of the network, which has its row"),
    ("node/src/commands/client.rs", "refusal.message", "an error of the RPC"),
    ("node/src/commands/client.rs", "what", "from whoever calls `not_running`"),
    ("wallet-cli/src/lib.rs", "message", "the words of the parser of command lines"),
    ("wallet-cli/src/keystore.rs", "error", "an error of the keystore, which has its row"),
    ("wallet-cli/src/password.rs", "error", "an error of the password, which has its row"),
    ("wallet-cli/src/rpc.rs", "&error", "an error of the connection, which has its row"),
    (
        "wallet-cli/src/payment.rs",
        "message",
        "the four texts before it, three of which have their rows; the fourth is a defect",
    ),
    ("wallet-cli/src/commands/receipt.rs", "what", "from whoever calls `lie`"),
    ("wallet-cli/src/document.rs", "what", "from whoever calls `refute` or `unusable`"),
];

/// Where messages are made: the call, and which of its arguments is the message in the node and in the wallet.
const CALLS: [(&str, usize, usize); 3] = [("Failure::new(", 0, 1), ("not_running(", 1, 1), ("lie(", 0, 0)];

/// A message with `…` for what differs.
pub(crate) struct Message {
    /// The source, from the root of the repository.
    pub(crate) file: String,
    pub(crate) template: String,
}

impl Message {
    pub(crate) fn is_exempt(&self) -> bool {
        EXEMPT.iter().any(|(file, start, _)| self.file.starts_with(file) && self.template.starts_with(start))
    }
}

/// Every message of the node and the wallet.
///
/// # Panics
/// If a message cannot be found where it should stand.
pub(crate) fn messages() -> Vec<Message> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for sources in ["node/src", "wallet-cli/src"] {
        collect(&root.join(sources), &mut files);
    }
    assert!(files.len() > 50, "the sources are elsewhere");
    let mut messages = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).expect("it lies below").to_str().expect("a plain name").to_owned();
        if file.ends_with("/testing.rs") || file.ends_with("/tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        let text = text.split("#[cfg(test)]\nmod ").next().expect("the first part");
        let templates = attributes(text).chain(calls(&file, text)).chain(actions(text));
        messages.extend(templates.map(|template| Message { file: file.clone(), template }));
    }
    messages
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `#[error("…")]`.
fn attributes(text: &str) -> impl Iterator<Item = String> {
    text.split("#[error(").skip(1).filter_map(|rest| literal(rest.trim_start())).map(|text| template(&text))
}

/// `Failure::io("read", …)` says `cannot read …: …`.
fn actions(text: &str) -> impl Iterator<Item = String> {
    text.split("Failure::io(").skip(1).filter_map(literal).map(|action| format!("cannot {action} …: …"))
}

fn calls(file: &str, text: &str) -> impl Iterator<Item = String> {
    let in_node = file.starts_with("node/");
    let mut found = Vec::new();
    for (call, node, wallet) in CALLS {
        for (at, _) in text.match_indices(call) {
            // Not its definition, and not the end of a longer name.
            let before = text[..at].chars().next_back();
            if text[..at].ends_with("fn ") || before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let arguments = arguments(&text[at + call.len()..]);
            let message = arguments[if in_node { node } else { wallet }].trim();
            if let Some(words) = words(message) {
                found.push(template(&words));
                continue;
            }
            // A name: what it stands for is usually said just before.
            let said = text[..at].rfind(&format!("let {message} = ")).filter(|said| at - said < 400);
            let said = said.and_then(|said| words(&text[said + "let  = ".len() + message.len()..]));
            let elsewhere = MADE_ELSEWHERE.iter().any(|(in_file, name, _)| *in_file == file && *name == message);
            match said {
                Some(words) => found.push(template(&words)),
                None => assert!(elsewhere, "{file}: where does the message `{message}` come from?"),
            }
        }
    }
    found.into_iter()
}

/// The string that an expression begins with, be it formatted or not.
fn words(expression: &str) -> Option<String> {
    let inner = ["format!(", "format_args!("].iter().find_map(|start| expression.strip_prefix(start));
    literal(inner.unwrap_or(expression).trim_start())
}

/// The arguments of a call, from behind its opening parenthesis.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut quoted, mut escaped) = (0, 0, false, false);
    let mut arguments = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                arguments.push(&text[start..at]);
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    arguments
}

/// The value of the string literal that `text` begins with.
fn literal(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('"')?.chars().peekable();
    let mut value = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => match rest.next()? {
                '\n' => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                'n' => value.push('\n'),
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
}

/// A format string with `…` for each of its values.
fn template(format: &str) -> String {
    let mut template = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, after) = after.split_once('}').expect("a closed brace");
        template.push_str(before);
        if !template.ends_with('…') {
            template.push('…');
        }
        rest = after;
    }
    template + rest
}

#[test]
fn messages_are_read_from_sources() {
    let text = "#[error(\n \"a {x:?} \\\n    b\")]\nFailure::new(code, format!(\"c, {}\", f(1, 2)), \"next\");\nlet what = \"d\";\nlie(what)";
    assert_eq!(attributes(text).collect::<Vec<_>>(), ["a … b"]);
    assert_eq!(calls("wallet-cli/src/x.rs", text).collect::<Vec<_>>(), ["c, …", "d"]);
    assert_eq!(actions("Failure::io(\"read\", path)").collect::<Vec<_>>(), ["cannot read …: …"]);
}
