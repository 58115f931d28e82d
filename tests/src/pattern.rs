//! What pages of the documentation show of a line, where `…` stands for anything.

/// Whether `line` is what `pattern` shows, where `…` stands for anything.
pub fn shows(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        let at = if last && !part.is_empty() { rest.rfind(part) } else { rest.find(part) };
        let Some(at) = at else { return false };
        rest = if part.is_empty() && last { "" } else { &rest[at + part.len()..] };
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_strict_outside_their_dots() {
        assert!(shows("a … c", "a b c"));
        assert!(shows("supply …, exactly", "supply 1 + 1 = 2, exactly"));
        assert!(shows("height …", "height 5 of"));
        assert!(!shows("a … c", "a b d"));
        assert!(!shows("a", "ab"));
        assert!(!shows("supply …, exactly", "supply 1, exactly!"));
    }
}
