//! QR codes in a terminal: two modules to a character, dark on light whatever the terminal's own colours are.

use qrcodegen::{QrCode, QrCodeEcc};

/// The light margin that a reader needs on each side, in modules (ISO/IEC 18004).
const MARGIN: i32 = 4;
/// Black on white from the fixed part of the 256 colours, which no theme changes: readers expect dark modules on light.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
/// The terminal's own colours again.
const PLAIN: &str = "\x1b[0m";

/// The code of `text`, without a line break at the end. It fits into 80 columns and 24 lines if `text` is an address.
///
/// # Panics
/// If `text` is longer than a QR code can hold, 2,953 bytes.
pub(crate) fn draw(text: &str) -> String {
    // Nothing is dirty or torn on a screen, so the smallest code will do; what room is left goes to correction anyway.
    let code = QrCode::encode_text(text, QrCodeEcc::Low).expect("an address is shorter than 2,953 bytes");
    // Outside the code all modules are light.
    let dark = |x: i32, y: i32| code.get_module(x, y);
    let across = -MARGIN..code.size() + MARGIN;
    let lines = across.clone().step_by(2).map(|y| {
        let blocks = across.clone().map(|x| match (dark(x, y), dark(x, y + 1)) {
            (false, false) => ' ',
            (true, false) => '▀',
            (false, true) => '▄',
            (true, true) => '█',
        });
        format!("{COLOURS}{}{PLAIN}", blocks.collect::<String>())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::address::{decode_address, encode_address};
    use drystone_core::key::SecretKey;

    /// Pixels to a module.
    const SCALE: usize = 4;

    /// What a camera sees: the dark modules, row by row.
    fn seen(drawn: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let line = line.strip_prefix(COLOURS).and_then(|line| line.strip_suffix(PLAIN)).expect("both colours");
            rows.push(line.chars().map(|block| "▀█".contains(block)).collect());
            rows.push(line.chars().map(|block| "▄█".contains(block)).collect());
        }
        rows
    }

    #[test]
    fn a_reader_finds_the_address_in_what_is_printed() {
        let account = SecretKey::dev(0).account();
        for prefix in ["dry", "tdry"] {
            let drawn = draw(&encode_address(prefix, &account).to_uppercase());
            let modules = seen(&drawn);
            let (width, height) = (modules[0].len(), modules.len());
            assert!(width <= 80 && drawn.lines().count() + 2 <= 24, "{width}");
            let mut image = rqrr::PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, |x, y| {
                if modules[y / SCALE][x / SCALE] { 0 } else { 255 }
            });
            let grids = image.detect_grids();
            let (_, read) = grids.first().expect("a code is found").decode().expect("it is whole");
            assert_eq!(decode_address(prefix, &read), Ok(account));
        }
    }
}
