//! What may stand in a string of the document: addresses, endpoints, services, times. Each is parsed once, into
//! a value that cannot be malformed; what the names in it stand for is resolved later.

pub(crate) mod address;
pub(crate) mod endpoint;
pub(crate) mod remote;
pub(crate) mod service;
pub(crate) mod time;
pub(crate) mod wireguard;
pub(crate) mod word;

use crate::faults::{Faults, Span};

/// Why a text could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Malformed {
    pub message: String,
    pub hint: Option<String>,
}

impl Malformed {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// What is wrong and what would be right, in one line.
    pub fn sentence(self) -> String {
        match self.hint {
            Some(hint) => format!("{}: {hint}", self.message),
            None => self.message,
        }
    }
    pub fn report(self, code: &'static str, span: &Span, faults: &mut Faults) {
        let fault = faults.error(code, span, self.message);
        if let Some(hint) = self.hint {
            fault.hint(hint);
        }
    }
}

/// Something written as a string.
pub(crate) trait Syntax: Sized {
    /// What it is, for a message about another type: `an address`.
    const WANTED: &'static str;
    /// Some that are right, for the schema and the tests.
    const EXAMPLES: &'static [&'static str];
    fn parse(text: &str) -> Result<Self, Malformed>;
}

/// Lets a [`Syntax`] stand as a value of the document.
macro_rules! from_string {
    ($($t:ty),* $(,)?) => {$(
        impl crate::decode::Decode for $t {
            fn wanted() -> String {
                <$t as crate::text::Syntax>::WANTED.into()
            }
            fn takes(kind: crate::decode::Kind) -> bool {
                kind == crate::decode::Kind::Text
            }
            fn decode(
                value: &crate::tree::Value<'_>,
                faults: &mut crate::faults::Faults,
            ) -> Option<Self> {
                let toml::de::DeValue::String(text) = value.get_ref() else {
                    crate::decode::wrong_type::<Self>(value, faults);
                    return None;
                };
                <$t as crate::text::Syntax>::parse(text)
                    .map_err(|malformed| malformed.report("bad-value", &value.span(), faults))
                    .ok()
            }
            fn schema(_: &mut crate::decode::Defs) -> serde_json::Value {
                serde_json::json!({
                    "type": "string",
                    "examples": <$t as crate::text::Syntax>::EXAMPLES,
                })
            }
        }
    )*};
}
pub(crate) use from_string;

/// Longest name in the document, in bytes: names go into chain and set names of the kernel, which adds to them.
pub(crate) const MAX_NAME_BYTES: usize = 32;

/// The same as [`check_name`], as a regular expression.
pub(crate) const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$";

/// Whether a name is well-formed.
pub(crate) fn check_name(text: &str) -> Result<(), Malformed> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= MAX_NAME_BYTES && text.bytes().all(inside) {
        return Ok(());
    }
    let text = crate::faults::shown(text);
    Err(Malformed::new(format!("`{text}` is not a name")).hint(format!(
        "letters, digits, `-` and `_`, at most {MAX_NAME_BYTES} bytes, the first one a letter or digit"
    )))
}

#[cfg(test)]
mod tests;
