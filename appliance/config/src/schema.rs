//! The JSON Schema of the document, for editors. It is made from the drafts, so it knows every key; what is
//! written inside strings, and what refers to what, only `read` checks.

use serde_json::{Value, json};

use crate::decode::{Decode, Defs};
use crate::draft::Document;

/// The JSON Schema (draft 2020-12) of the document.
pub fn schema() -> Value {
    let mut defs = Defs::new();
    let root = Document::schema(&mut defs);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rempart document",
        "$ref": root["$ref"],
        "$defs": defs,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_schema_in_docs_is_current() {
        // The schema made from the drafts must equal docs/schema.json; REMPART_BLESS=1 rewrites the file.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema.json");
        let made = serde_json::to_string_pretty(&super::schema()).expect("a JSON value prints") + "\n";
        if std::env::var_os("REMPART_BLESS").is_some() {
            std::fs::write(&path, &made).expect("docs/schema.json can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(made == kept, "docs/schema.json is out of date: run the tests with REMPART_BLESS=1");
    }
}
