//! Links as text, one change a line, for files and for people who type: `0 <> 1 delay=50 loss=10`, `* > 2 cut`.

use std::str::FromStr;

use super::{Link, MS, pairs};

/// A change to links.
///
/// ```text
/// FROM > TO WHAT        one direction
/// FROM <> TO WHAT       both
/// ```
///
/// `FROM` and `TO` are numbers of hosts or `*` for all. `WHAT` is `cut`, or any of `delay=MS jitter=MS loss=N rate=BYTES
/// queue=BYTES` (loss in packets of 10,000, rate in bytes a second), where what is not said is as in the default link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    from: End,
    to: End,
    both: bool,
    cut: bool,
    settings: Vec<(Setting, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    All,
    Host(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Delay,
    Jitter,
    Loss,
    Rate,
    Queue,
}

impl End {
    fn parse(word: &str) -> Result<End, String> {
        if word == "*" {
            return Ok(End::All);
        }
        word.parse().map(End::Host).map_err(|_| format!("{word:?} is neither a host's number nor *"))
    }

    fn includes(self, host: usize) -> bool {
        self == End::All || self == End::Host(host)
    }
}

impl Change {
    /// The pairs of hosts that change and their new link, which is `default` but for what the change says.
    ///
    /// # Errors
    /// If it names a host that is not one of `hosts`.
    pub fn links(&self, hosts: usize, default: Link) -> Result<Vec<(usize, usize, Option<Link>)>, String> {
        for end in [self.from, self.to] {
            if matches!(end, End::Host(host) if host >= hosts) {
                return Err(format!("hosts are numbered from 0 to {}", hosts - 1));
            }
        }
        let link = (!self.cut).then(|| self.settings.iter().fold(default, |link, setting| with(link, *setting)));
        let chosen = |from, to| self.from.includes(from) && self.to.includes(to);
        let changes = pairs(hosts).filter(|(from, to)| chosen(*from, *to) || self.both && chosen(*to, *from));
        Ok(changes.map(|(from, to)| (from, to, link)).collect())
    }
}

fn with(link: Link, (setting, value): (Setting, u64)) -> Link {
    match setting {
        Setting::Delay => Link { latency: value * MS, ..link },
        Setting::Jitter => Link { jitter: value * MS, ..link },
        Setting::Loss => Link { loss: value, ..link },
        Setting::Rate => Link { rate: value, ..link },
        Setting::Queue => Link { queue: value, ..link },
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(line: &str) -> Result<Change, String> {
        let mut words = line.split_whitespace();
        let (Some(from), Some(arrow), Some(to)) = (words.next(), words.next(), words.next()) else {
            return Err("a link is like: 0 <> 1 delay=50".into());
        };
        let both = match arrow {
            ">" => false,
            "<>" => true,
            other => return Err(format!("{other:?} is neither > nor <>")),
        };
        let (from, to) = (End::parse(from)?, End::parse(to)?);
        let mut change = Change { from, to, both, cut: false, settings: Vec::new() };
        for word in words {
            if word == "cut" {
                change.cut = true;
            } else {
                change.settings.push(setting(word)?);
            }
        }
        if change.cut && !change.settings.is_empty() {
            return Err("a link that is cut has no settings".into());
        }
        Ok(change)
    }
}

fn setting(word: &str) -> Result<(Setting, u64), String> {
    let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is no setting"))?;
    let (setting, most) = match name {
        "delay" => (Setting::Delay, 3_600_000),
        "jitter" => (Setting::Jitter, 3_600_000),
        "loss" => (Setting::Loss, 10_000),
        "rate" => (Setting::Rate, 1_000_000_000_000),
        "queue" => (Setting::Queue, 1_000_000_000_000),
        _ => return Err(format!("there is no setting {name:?}")),
    };
    match value.parse() {
        Ok(number) if number <= most => Ok((setting, number)),
        _ => Err(format!("{name} is a number from 0 to {most}")),
    }
}

/// The changes of a file, in order: a later line changes what an earlier one said. Empty lines and what follows `#` say
/// nothing.
///
/// # Errors
/// For a line that is no change, with its number.
pub fn parse(text: &str) -> Result<Vec<Change>, String> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.split('#').next().unwrap_or_default()));
    let said = lines.filter(|(_, line)| !line.trim().is_empty());
    said.map(|(number, line)| line.parse().map_err(|error| format!("line {number}: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(text: &str) -> Vec<(usize, usize, Option<Link>)> {
        let default = Link { loss: 5, ..Link::after(10 * MS) };
        parse(text).unwrap().iter().flat_map(|change| change.links(3, default).unwrap()).collect()
    }

    #[test]
    fn lines_say_which_links_change_and_how() {
        let slow = Link { latency: 50 * MS, jitter: 2 * MS, loss: 5, rate: 1_000, queue: 9 };
        assert_eq!(links("0 > 1 delay=50 jitter=2 rate=1000 queue=9"), [(0, 1, Some(slow))]);
        assert_eq!(links("# a cut\n\n2 <> 0 cut # both ways"), [(0, 2, None), (2, 0, None)]);
        assert_eq!(links("* > 1 cut"), [(0, 1, None), (2, 1, None)]);
        assert_eq!(links("* <> * cut").len(), 6);
        let healed = Link { loss: 5, ..Link::after(10 * MS) };
        assert_eq!(links("1 > 0"), [(1, 0, Some(healed))]);
    }

    #[test]
    fn what_is_no_change_is_refused_with_its_reason() {
        for (line, reason) in [
            ("0 1", "like"),
            ("0 - 1", "neither"),
            ("x > 1", "neither"),
            ("0 > 1 cut delay=1", "no settings"),
            ("0 > 1 delay", "no setting"),
            ("0 > 1 speed=1", "no setting"),
            ("0 > 1 loss=10001", "0 to 10000"),
            ("0 > 1 delay=-1", "0 to"),
        ] {
            let error = parse(&format!("\n{line}")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(reason), "{line}: {error}");
        }
        assert!("0 > 3".parse::<Change>().unwrap().links(3, Link::INSTANT).is_err());
    }
}
