//! From text to a spanned TOML tree. Owns the size of what is parsed at all; knows nothing of the grammar above.

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use crate::faults::Faults;
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_KEY_DOTS};

/// A value with the bytes that it was read from.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// Parses the text. `None` when what could be recovered would only cause faults that are not there.
pub(crate) fn parse<'a>(text: &'a str, faults: &mut Faults) -> Option<Value<'a>> {
    if text.len() > MAX_DOCUMENT_BYTES {
        faults
            .error("too-large", &(0..0), format!("the document has {} bytes", text.len()))
            .hint(format!("at most {MAX_DOCUMENT_BYTES} bytes are read"));
        return None;
    }
    if !dots_are_few(text, faults) {
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut usable = true;
    for error in errors {
        // The parser drops the second value and keeps the rest; anything else leaves holes in the tree.
        let duplicate = error.message() == "duplicate key";
        usable &= duplicate;
        let span = error.span().unwrap_or(0..0);
        let span = text.floor_char_boundary(span.start)..text.ceil_char_boundary(span.end);
        let (code, hint) = match duplicate {
            true => ("duplicate-key", "each key and each table stands once; lists of tables are `[[flow]]`"),
            false => ("syntax", "the document is TOML 1.0: https://toml.io"),
        };
        faults.error(code, &span, error.message()).hint(hint);
    }
    usable.then(|| Spanned::new(0..0, DeValue::Table(root.into_inner())))
}

/// Refuses keys that are deeper than the stack: the parser bounds brackets, not dots.
fn dots_are_few(text: &str, faults: &mut Faults) -> bool {
    let mut dots = 0;
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Atom
            | TokenKind::Whitespace
            | TokenKind::LiteralString
            | TokenKind::BasicString
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString => {}
            _ => dots = 0,
        }
        if dots > MAX_KEY_DOTS {
            let span = token.span();
            faults
                .error("syntax", &(span.start()..span.end()), "the key has too many parts")
                .hint(format!("at most {MAX_KEY_DOTS} dots"));
            return false;
        }
    }
    true
}
