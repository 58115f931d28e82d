//! What the wallet says when it cannot do what was asked: an exit code, one line, and the next command to try.

use std::fmt;

/// The exit codes. Scripts depend on them: a number never changes its meaning.
///
/// Success is 0. The command-line parser's own refusals use [`ExitCode::Usage`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Something that should not happen: no source of randomness, output that cannot be written.
    Unexpected = 1,
    /// The command line does not make sense.
    Usage = 2,
    /// An argument is well placed but wrong: address, amount, memo, genesis file.
    BadInput = 3,
    /// The keystore or its password.
    Keystore = 4,
    /// No node answered, or those that did were too busy or failed; a payment may have been sent, and the message says so then.
    Unreachable = 5,
    /// A node answered, but wrongly: malformed, of another chain, or failing a proof.
    BadAnswer = 6,
    /// The payment cannot be made, as the wallet or the node finds: funds, reserve, nonce, fee, a full mempool.
    Refused = 7,
    /// The time given with `--timeout` ran out before the payment was in a block.
    TimedOut = 8,
}

/// A failure as the user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub code: ExitCode,
    /// What went wrong, one line.
    pub message: String,
    /// What to do next, one line that names a command or a flag.
    pub next: String,
}

impl Failure {
    /// A failure from its three parts. Line breaks, which a node's words may hold, become spaces.
    pub fn new(code: ExitCode, message: impl fmt::Display, next: impl fmt::Display) -> Self {
        Failure { code, message: one_line(&message.to_string()), next: one_line(&next.to_string()) }
    }

    /// The form that `--json` prints on standard output.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": { "code": self.code as u8, "message": self.message, "next": self.next }
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\nnext: {}", self.message, self.next)
    }
}

/// Whether a character could move the cursor or hide text on a terminal, as control characters do, or turn it round, as marks of
/// direction do. Some of what is printed comes from nodes, and from whoever pays.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_fixed() {
        let table = [
            (ExitCode::Unexpected, 1),
            (ExitCode::Usage, 2),
            (ExitCode::BadInput, 3),
            (ExitCode::Keystore, 4),
            (ExitCode::Unreachable, 5),
            (ExitCode::BadAnswer, 6),
            (ExitCode::Refused, 7),
            (ExitCode::TimedOut, 8),
        ];
        for (code, number) in table {
            assert_eq!(code as u8, number);
        }
    }

    #[test]
    fn both_forms_stay_on_their_lines() {
        let failure = Failure::new(ExitCode::Refused, "node says:\nno\u{1b}[2J", "try\u{61c}\u{202e}again");
        assert_eq!(failure.to_string(), "error: node says: no [2J\nnext: try  again");
        assert_eq!(
            failure.to_json().to_string(),
            r#"{"error":{"code":7,"message":"node says: no [2J","next":"try  again"}}"#
        );
    }
}
