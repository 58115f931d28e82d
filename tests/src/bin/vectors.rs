//! Writes the files of `tests/vectors/` anew.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (name, text) in drystone_tests::vectors::files() {
        fs::write(folder.join(name), text)?;
        println!("{name}");
    }
    Ok(())
}
