//! Golden files of the tests: `REMPART_BLESS=1` rewrites them, and the difference is read.

use std::path::Path;

/// Compares a text with its golden file.
pub fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("REMPART_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the golden folder");
        std::fs::write(&path, text).expect("a golden file is written");
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == text,
        "{name} differs; REMPART_BLESS=1 rewrites it\n--- wanted\n{wanted}\n--- is\n{text}"
    );
}
