//! PEM: text around base64 (RFC 7468).

use base64ct::{Base64, Encoding};
use thiserror::Error;

use crate::secret::Secret;

/// Bytes of one file: a chain of a few certificates and a key take a few thousand.
pub const MAX_FILE: usize = 256 * 1024;
/// Sections in one file.
const MAX_SECTIONS: usize = 64;

/// Why a text is no PEM.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotPem {
    /// Nothing between BEGIN and END lines.
    #[error("the file holds no PEM section (-----BEGIN …-----)")]
    Empty,
    /// A section without its end.
    #[error("the section {0} has no end line")]
    Open(String),
    /// What stands in a section is no base64.
    #[error("the section {0} is not base64")]
    Base64(String),
    /// The old form of OpenSSL, with headers and a key derived by MD5.
    #[error(
        "the key is encrypted in OpenSSL's old form (Proc-Type, DEK-Info), whose key comes from MD5; write it anew \
         with `openssl pkcs8 -topk8 -in old.key -out new.key`"
    )]
    OldEncryption,
    /// Larger than any real file.
    #[error("the file is larger than 256 kB or has more than 64 sections")]
    Large,
}

/// One section.
#[derive(Clone, Debug)]
pub struct Section {
    /// `CERTIFICATE`, `PRIVATE KEY`, …
    pub label: String,
    /// What it holds; it may be a key.
    pub body: Secret,
}

/// All sections of a file, in their order. Text around them is skipped (RFC 7468 §5.2).
pub fn read(text: &[u8]) -> Result<Vec<Section>, NotPem> {
    if text.len() > MAX_FILE {
        return Err(NotPem::Large);
    }
    let text = String::from_utf8_lossy(text);
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        if sections.len() == MAX_SECTIONS {
            return Err(NotPem::Large);
        }
        let end = format!("-----END {label}-----");
        let mut body = zeroize::Zeroizing::new(String::new());
        loop {
            match lines.next() {
                None => return Err(NotPem::Open(label.to_owned())),
                Some(line) if line == end => break,
                Some(line) if line.starts_with("Proc-Type:") => return Err(NotPem::OldEncryption),
                Some(line) => body.push_str(line),
            }
        }
        let bytes = Base64::decode_vec(&body).map_err(|_| NotPem::Base64(label.to_owned()))?;
        sections.push(Section { label: label.to_owned(), body: Secret::new(bytes) });
    }
    if sections.is_empty() { Err(NotPem::Empty) } else { Ok(sections) }
}

/// One section as text.
pub fn write(label: &str, body: &[u8]) -> String {
    let encoded = zeroize::Zeroizing::new(Base64::encode_string(body));
    let mut text = format!("-----BEGIN {label}-----\n");
    // The letters of base64 are single bytes.
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
