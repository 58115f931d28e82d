//! A hint of how long a new password would stand: an estimate of its guesses against the price of one.
//!
//! The estimate is generous on purpose, an upper bound by what can be seen: letters that look like a word count as one of a
//! large dictionary, repetitions, runs, the commonest passwords and the user's own name count next to nothing, all else as
//! if it were random. zxcvbn knows more, for 16 crates more and copies of the password that nobody wipes.

use std::env;
use std::fmt;

use bip39::Language;
use zeroize::Zeroizing;

/// Guesses in a second by whoever has the keystore and ten graphics cards. Each guess moves 64 MiB three times in and out
/// of memory, about 400 MB, and a card moves 10^12 bytes a second: 2,500 guesses.
const GUESSES_PER_SECOND: f64 = 10.0 * 2_500.0;

/// Bits of a word: a dictionary of 30,000.
const WORD_BITS: f64 = 15.0;
/// Bits of a word from the list that secret words are drawn from: 2,048.
const LISTED_BITS: f64 = 11.0;
/// Bits of a piece that every guesser tries first.
const COMMON_BITS: f64 = 4.0;
/// Bits of a character that follows from those before it.
const FOLLOWING_BITS: f64 = 1.0;

/// Consonants in a row that no common word has.
const UNPRONOUNCEABLE: usize = 5;

/// What most leaked passwords are made of.
const COMMON: [&str; 28] = [
    "password", "passwort", "passw0rd", "p@ssw0rd", "p@ssword", "pass", "qwerty", "qwertz", "azerty", "asdf", "zxcv",
    "1q2w3e", "letmein", "welcome", "admin", "login", "secret", "iloveyou", "dragon", "monkey", "master", "sunshine",
    "princess", "football", "wallet", "drystone", "bitcoin", "crypto",
];

/// How strong a password seems.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Strength {
    /// Half of so many powers of two are the guesses that it takes.
    bits: f64,
}

impl Strength {
    /// The strength of a password that the user who runs this program chose.
    pub(crate) fn of(password: &str) -> Strength {
        let user = env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_default();
        Strength::of_user(password, &user)
    }

    fn of_user(password: &str, user: &str) -> Strength {
        let lower = Zeroizing::new(password.to_ascii_lowercase());
        let (mut bits, mut at) = (0.0, 0);
        while at < password.len() {
            let (taken, cost) = piece(password, &lower, at, &user.to_ascii_lowercase());
            bits += cost;
            at += taken;
        }
        Strength { bits }
    }

    fn seconds(self) -> f64 {
        (self.bits - 1.0).exp2() / GUESSES_PER_SECOND
    }
}

/// The bytes of the piece that starts `at`, and its bits.
fn piece(password: &str, lower: &str, at: usize, user: &str) -> (usize, f64) {
    let rest = &lower[at..];
    let common = COMMON.iter().copied().chain([user].into_iter().filter(|user| user.len() >= 3));
    if let Some(word) = common.filter(|word| rest.starts_with(word)).max_by_key(|word| word.len()) {
        return (word.len(), COMMON_BITS);
    }
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    // One capital in front is how everybody writes words; others make it random.
    let plain = password[at..].bytes().take(letters).skip(1).all(|byte| byte.is_ascii_lowercase())
        || password[at..].bytes().take(letters).all(|byte| byte.is_ascii_uppercase());
    let word = &rest[..letters];
    if plain && letters >= 3 && !is_sequence(word) && is_pronounceable(word) {
        let cost = if Language::English.find_word(word).is_some() { LISTED_BITS } else { WORD_BITS };
        // Several words without a space between them are several.
        return (letters, (cost * (letters as f64 / 10.0).ceil()).min(random_bits(word)));
    }
    let character = password[at..].chars().next().expect("there is more");
    let cost = if follows(lower, at) { FOLLOWING_BITS } else { random_bits(character.encode_utf8(&mut [0; 4])) };
    (character.len_utf8(), cost)
}

/// Bits of characters that are drawn at random from those of their kind.
fn random_bits(text: &str) -> f64 {
    let kind = |character: char| match character {
        '0'..='9' => 10.0_f64,
        'a'..='z' | 'A'..='Z' => 26.0,
        // Punctuation, and of all other writing what a keyboard has.
        _ => 33.0,
    };
    text.chars().map(|character| kind(character).log2()).sum()
}

/// Whether the byte at `at` repeats or continues: the same, the next or the one before of those that precede it.
fn follows(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let step = |at: usize| i16::from(bytes[at]) - i16::from(bytes[at - 1]);
    let again = at >= 2 && bytes[..at].windows(2).rev().skip(1).any(|pair| pair == &bytes[at - 1..=at]);
    at >= 1 && (step(at).abs() <= 1 || again)
}

fn is_sequence(word: &str) -> bool {
    (1..word.len()).all(|at| follows(word, at))
}

fn is_pronounceable(word: &str) -> bool {
    word.split(|letter| "aeiouy".contains(letter)).all(|consonants| consonants.len() < UNPRONOUNCEABLE)
}

/// In words, with what to do about it.
impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(f64, &str); 5] =
            [(60.0, "seconds"), (60.0, "minutes"), (24.0, "hours"), (365.0, "days"), (1_000.0, "years")];
        const YEARS_ENOUGH: f64 = 1_000.0 * 365.0 * 86_400.0;
        let who = "whoever gets hold of the file and has ten graphics cards";
        if self.seconds() >= YEARS_ENOUGH {
            return write!(
                f,
                "this password would stand for more than a thousand years against {who}, if it is not used elsewhere"
            );
        }
        let (mut time, mut unit) = (self.seconds(), "");
        for (size, name) in UNITS {
            unit = name;
            if time < size {
                break;
            }
            time /= size;
        }
        let time = if time < 2.0 { format!("a few {unit}") } else { format!("about {time:.0} {unit}") };
        write!(
            f,
            "guessing this password takes {time} at most, for {who}\n\
             better: six words drawn by dice, or 14 random characters from a password manager; Ctrl-C stops here"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: f64 = 60.0;
    const DAY: f64 = 86_400.0;
    const YEAR: f64 = 365.0 * DAY;

    fn seconds(password: &str) -> f64 {
        Strength::of_user(password, "Gerda").seconds()
    }

    #[test]
    fn what_everybody_chooses_is_weak() {
        for password in
            ["a", "123456789", "aaaaaaaaaaaaaaaa", "Password1", "qwerty123", "gerda", "Gerda1", "horse", "987654321"]
        {
            assert!(seconds(password) < MINUTE, "{password}: {}", Strength::of_user(password, "Gerda"));
        }
        for password in ["Summer2026", "abcabcabcabc", "Elefant!", "correct horse", "gerda1985"] {
            assert!(seconds(password) < 30.0 * DAY, "{password}: {}", seconds(password));
        }
    }

    #[test]
    fn what_is_random_is_strong() {
        for password in
            ["xK9$mQ2pLw7!vB", "kxqvjzwpmtrhsdgb", "correct horse battery staple tractor puzzle", "правильная лошадь"]
        {
            assert!(seconds(password) > 1000.0 * YEAR, "{password}: {}", seconds(password));
        }
    }

    #[test]
    fn nothing_that_can_be_typed_panics() {
        for password in ["zürich🦀e\u{301} 12", "aAaAbBbB", "    ", "\t\u{7f}", "Gerdà", "gerda"] {
            for (end, _) in password.char_indices().skip(1) {
                assert!(Strength::of_user(&password[..end], "gerda").bits > 0.0, "{password}");
            }
        }
    }

    #[test]
    fn it_is_said_in_words() {
        let said = |password: &str| Strength::of_user(password, "").to_string();
        assert!(said("123456").contains("takes a few seconds at most"), "{}", said("123456"));
        assert!(said("123456").contains("\nbetter: six words"));
        assert!(said("correct horse").contains(" minutes at most"), "{}", said("correct horse"));
        assert!(said("xK9$mQ2pLw7!vB").contains("more than a thousand years"));
        assert_eq!(said("xK9$mQ2pLw7!vB").lines().count(), 1);
        // Nothing of the password is in it.
        assert!(!said("Elefant!").contains("lefant"));
    }
}
