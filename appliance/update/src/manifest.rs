//! The update file: a signed head, and behind it the parts that the head names.
//!
//! ```text
//!   ┌ manifest, signed ──────────────────────────────────────────────────────────────┐
//!    0  8   `RMPUPDT1`                           41  4   grammar of documents
//!    8  1   length of the version                45 32   root hash of the root file system
//!    9 20   version, filled up with zeros        77  1   number of parts: 4
//!   29  4   processor: `x86 `                    78 40 × 4   length 8, SHA-256 32 of
//!   33  8   made, seconds since 1970                 root file system, its tree, kernel image, entry for GRUB
//!   └────────────────────────────────────────────────────────────────────────────────┘
//!  238  1   number of signatures: 1 to 4
//!  239 72 × n   the key's name 8 (its SHA-256 begins so), Ed25519 64 over `rempart update\0` and the manifest
//!               the four parts, one behind the other
//! ```
//!
//! Numbers are big-endian. The parts have a fixed order and a greatest length each, so that a reader needs no memory of the
//! file's choosing: it reads the head, verifies it, and then writes each part to where it belongs while it counts its digest.
//! They are not compressed: the root file system and the kernel are so already, and what unpacks nothing cannot be made to
//! unpack too much.

mod sign;
#[cfg(test)]
mod tests;

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::Version;
use crate::version::VERSION_BYTES_MAX;

pub use sign::{Draft, KeyError, SigningKey};

const MAGIC: &[u8; 8] = b"RMPUPDT1";
/// What is signed begins with this, so that no signature over something else is one over an update.
const CONTEXT: &[u8] = b"rempart update\0";
const PROCESSOR: &[u8; 4] = b"x86 ";
const MANIFEST_BYTES: usize = 78 + Part::ALL.len() * 40;
const SIGNATURE_BYTES: usize = 72;
/// Two keys while one is replaced by the next, and as many for somebody who countersigns.
const SIGNATURES_MAX: usize = 4;
/// The longest head.
pub const HEAD_BYTES_MAX: usize = MANIFEST_BYTES + 1 + SIGNATURES_MAX * SIGNATURE_BYTES;

/// A part of an update.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// The root file system.
    Root,
    /// The tree of its hashes.
    Tree,
    /// The unified kernel image.
    Kernel,
    /// What GRUB needs to start that kernel.
    Entry,
}

impl Part {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 4] = [Self::Root, Self::Tree, Self::Kernel, Self::Entry];

    /// The longest one: a partition of the image; what the EFI system partition has room for, twice; a sector or two.
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Root => 512 << 20,
            Self::Tree => 16 << 20,
            Self::Kernel => 96 << 20,
            Self::Entry => 16 << 10,
        }
    }

    /// What a person calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root file system",
            Self::Tree => "tree of hashes",
            Self::Kernel => "kernel image",
            Self::Entry => "entry for GRUB",
        }
    }
}

/// How long a part is, and its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// What an update says of itself. Its fields may be looked at before the signature is verified and acted on after: see
/// [`Manifest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The version.
    pub version: Version,
    /// When it was made, in seconds since 1970.
    pub made_unix_s: u64,
    /// The grammar of documents that it reads: see `store::GRAMMAR`.
    pub grammar: u32,
    /// The hash of the root file system, from the verity tree.
    pub root_hash: [u8; 32],
    /// The parts, in the order of [`Part::ALL`].
    pub parts: [Content; 4],
}

impl Description {
    /// A part.
    pub fn part(&self, part: Part) -> Content {
        let [root, tree, kernel, entry] = self.parts;
        match part {
            Part::Root => root,
            Part::Tree => tree,
            Part::Kernel => kernel,
            Part::Entry => entry,
        }
    }

    /// How long all parts are together.
    pub fn bytes(&self) -> u64 {
        // Each has been found short.
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// Why something is no update for this box.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// It begins with something else.
    #[error("it is no update file of Rempart")]
    Foreign,
    /// It is damaged, or made by a product that is newer.
    #[error("the head of the update cannot be read ({0})")]
    Malformed(&'static str),
    /// Another kind of machine.
    #[error("the update is for another kind of processor")]
    Processor,
    /// A part is longer than what it goes into.
    #[error("the {} of the update is longer than it may be", .0.name())]
    TooLong(Part),
    /// None of our keys has signed it.
    #[error("the update is signed by none of this box's keys")]
    Stranger,
    /// One of our keys is named, and has not signed this.
    #[error("the signature of the update is wrong: it is damaged or forged")]
    Forged,
}

/// A key that updates are verified with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let text = text.trim();
        (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then_some(())?;
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// As it is written down.
    pub fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What names it in an update.
    pub fn name(&self) -> [u8; 8] {
        let mut name = [0; 8];
        for (to, from) in name.iter_mut().zip(digest(&SHA256, &self.0).as_ref()) {
            *to = *from;
        }
        name
    }
}

/// The head of a file, read and not verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    description: Description,
    /// As it came.
    bytes: Vec<u8>,
}

/// A head whose signature was verified; nothing else makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest(Head);

impl Head {
    /// Reads the head at the beginning of `bytes`; `None` while it is not whole. A head has [`HEAD_BYTES_MAX`] at most.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, HeadError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes.get(..known) != MAGIC.get(..known) {
            return Err(HeadError::Foreign);
        }
        let Some((manifest, rest)) = bytes.split_at_checked(MANIFEST_BYTES) else { return Ok(None) };
        let description = read_manifest(manifest)?;
        let Some(count) = rest.first().map(|count| usize::from(*count)) else { return Ok(None) };
        if !(1..=SIGNATURES_MAX).contains(&count) {
            return Err(HeadError::Malformed("number of signatures"));
        }
        let length = MANIFEST_BYTES + 1 + count * SIGNATURE_BYTES;
        Ok(bytes.get(..length).map(|head| Self { description, bytes: head.to_vec() }))
    }

    /// How long it is; the parts begin there.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// What it says, true or not.
    pub fn claims(&self) -> &Description {
        &self.description
    }

    /// One of `keys` has signed it.
    pub fn verify(self, keys: &[PublicKey]) -> Result<Manifest, HeadError> {
        let (manifest, rest) = self.bytes.split_at_checked(MANIFEST_BYTES).ok_or(HeadError::Foreign)?;
        let message = [CONTEXT, manifest].concat();
        let mut refused = HeadError::Stranger;
        // The number of signatures stands before them.
        for signature in rest.get(1..).unwrap_or_default().chunks_exact(SIGNATURE_BYTES) {
            let Some((name, signature)) = signature.split_first_chunk::<8>() else { continue };
            for key in keys.iter().filter(|key| key.name() == *name) {
                match UnparsedPublicKey::new(&ED25519, &key.0).verify(&message, signature) {
                    Ok(()) => return Ok(Manifest(self)),
                    Err(_) => refused = HeadError::Forged,
                }
            }
        }
        Err(refused)
    }
}

impl Manifest {
    /// What was signed.
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// The head as it came, to be handed on.
    pub fn head(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// Takes fixed pieces from the front.
struct Pieces<'a>(&'a [u8]);

impl Pieces<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeadError> {
        let (piece, rest) = self.0.split_first_chunk::<N>().ok_or(HeadError::Malformed("length"))?;
        self.0 = rest;
        Ok(*piece)
    }
}

fn read_manifest(bytes: &[u8]) -> Result<Description, HeadError> {
    let mut pieces = Pieces(bytes);
    if pieces.take()? != *MAGIC {
        return Err(HeadError::Foreign);
    }
    let [length] = pieces.take::<1>()?;
    let name = pieces.take::<VERSION_BYTES_MAX>()?;
    let (name, filling) =
        name.split_at_checked(usize::from(length)).ok_or(HeadError::Malformed("version"))?;
    // One way to write each: what was signed is what is read.
    if filling.iter().any(|byte| *byte != 0) {
        return Err(HeadError::Malformed("version"));
    }
    let version =
        std::str::from_utf8(name).ok().and_then(Version::new).ok_or(HeadError::Malformed("version"))?;
    if pieces.take()? != *PROCESSOR {
        return Err(HeadError::Processor);
    }
    let made_unix_s = u64::from_be_bytes(pieces.take()?);
    let grammar = u32::from_be_bytes(pieces.take()?);
    let root_hash = pieces.take()?;
    if pieces.take()? != [Part::ALL.len() as u8] {
        return Err(HeadError::Malformed("number of parts"));
    }
    let mut parts = [Content { bytes: 0, sha256: [0; 32] }; Part::ALL.len()];
    for (part, content) in Part::ALL.into_iter().zip(&mut parts) {
        content.bytes = u64::from_be_bytes(pieces.take()?);
        content.sha256 = pieces.take()?;
        match content.bytes {
            0 => return Err(HeadError::Malformed("an empty part")),
            bytes if bytes > part.bytes_max() => return Err(HeadError::TooLong(part)),
            _ => {}
        }
    }
    Ok(Description { version, made_unix_s, grammar, root_hash, parts })
}
