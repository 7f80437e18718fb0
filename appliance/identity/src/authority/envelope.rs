//! Encryption under a password, as in PKCS #8 and PKCS #12 files: PBES2 (RFC 8018 §6.2) with PBKDF2 and AES-CBC, and the
//! integrity check of PKCS #12 (RFC 7292, appendix B).
//!
//! Older schemes (RC2, 3DES, keys derived by SHA-1 alone) are refused with the command that writes the file anew.

use std::num::NonZeroU32;

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use ring::{digest, hmac, pbkdf2};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::asn1::{self, Malformed, Reader, oid, tag};
use crate::secret::Secret;

/// Rounds that a file may ask for: a few seconds of work. OpenSSL writes 2,048, Windows 2,000, careful tools a million.
const MAX_ROUNDS: u64 = 4_000_000;
/// Rounds that we write: OWASP's advice for PBKDF2-HMAC-SHA256.
const ROUNDS: u32 = 600_000;
/// Bytes of a password: the derivation of PKCS #12 repeats it.
pub const MAX_PASSWORD: usize = 256;
const BLOCK: usize = 16;

/// Why an encrypted part of a file cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Sealed {
    /// Not ASN.1 of the right kind.
    #[error("it is damaged: {0}")]
    Malformed(#[from] Malformed),
    /// Does not open.
    #[error("the password is wrong, or the file is damaged")]
    Password,
    /// A password is needed and none was given.
    #[error("it is encrypted: give its password")]
    NoPassword,
    /// Longer than any that a person types.
    #[error("the password is longer than {MAX_PASSWORD} bytes")]
    LongPassword,
    /// An old scheme.
    #[error(
        "it is encrypted with {0}, which is too weak or too rare to be supported. Write it anew with OpenSSL 3: \
         `openssl pkcs12 -legacy -in old.p12 -nodes -out t.pem && openssl pkcs12 -export -in t.pem -out new.p12`, \
         and delete t.pem"
    )]
    Scheme(String),
    /// Would keep the processor busy.
    #[error("it asks for {0} rounds of key derivation; {MAX_ROUNDS} is the most")]
    Rounds(u64),
}

/// Checks that a number of rounds is one that we do.
fn rounds(wanted: u64) -> Result<NonZeroU32, Sealed> {
    if wanted > MAX_ROUNDS {
        return Err(Sealed::Rounds(wanted));
    }
    u32::try_from(wanted).ok().and_then(NonZeroU32::new).ok_or(Sealed::Malformed(Malformed::Value))
}

/// Opens what stands under an AlgorithmIdentifier, whose content is `algorithm`.
pub(super) fn open(
    mut algorithm: Reader<'_>,
    sealed: &[u8],
    password: Option<&Secret>,
) -> Result<Secret, Sealed> {
    let scheme = algorithm.take(tag::OID)?;
    if scheme != oid::PBES2 {
        return Err(Sealed::Scheme(oid::display(scheme)));
    }
    let password = password.ok_or(Sealed::NoPassword)?;
    let mut parameters = algorithm.sequence()?;
    let mut derivation = parameters.sequence()?;
    let mut cipher = parameters.sequence()?;
    let kind = cipher.take(tag::OID)?;
    let key_length = match kind {
        oid::AES128_CBC => 16,
        oid::AES256_CBC => 32,
        other => return Err(Sealed::Scheme(oid::display(other))),
    };
    let key = derive(&mut derivation, password, key_length)?;
    let iv = cipher.take(tag::OCTET_STRING)?;
    decrypt(&key, iv, sealed)
}

/// PBKDF2-params, RFC 8018 appendix A.2.
fn derive(
    derivation: &mut Reader<'_>,
    password: &Secret,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Sealed> {
    let function = derivation.take(tag::OID)?;
    if function != oid::PBKDF2 {
        return Err(Sealed::Scheme(oid::display(function)));
    }
    let mut parameters = derivation.sequence()?;
    let salt = parameters.take(tag::OCTET_STRING)?;
    let rounds = rounds(parameters.number()?)?;
    parameters.optional(tag::INTEGER)?;
    let digest =
        if parameters.is_empty() { oid::HMAC_SHA1 } else { parameters.sequence()?.take(tag::OID)? };
    let algorithm = match digest {
        oid::HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
        oid::HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
        oid::HMAC_SHA384 => pbkdf2::PBKDF2_HMAC_SHA384,
        oid::HMAC_SHA512 => pbkdf2::PBKDF2_HMAC_SHA512,
        other => return Err(Sealed::Scheme(oid::display(other))),
    };
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(algorithm, rounds, salt, password.expose(), &mut key);
    Ok(key)
}

fn decrypt(key: &[u8], iv: &[u8], sealed: &[u8]) -> Result<Secret, Sealed> {
    if iv.len() != BLOCK || sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
        return Err(Sealed::Malformed(Malformed::Value));
    }
    let aes = Aes::new(key)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let mut before = iv;
    for block in sealed.chunks_exact(BLOCK) {
        let mut open = Zeroizing::new([0; BLOCK]);
        open.copy_from_slice(block);
        aes.decrypt(&mut open);
        plain.extend(open.iter().zip(before).map(|(one, other)| one ^ other));
        before = block;
    }
    // The padding names its own length (RFC 8018 §6.1.1). Its check tells a wrong password from a right one to a person who
    // holds the file; there is nobody else to ask.
    let count = usize::from(*plain.last().ok_or(Sealed::Password)?);
    let kept = plain.len().checked_sub(count).ok_or(Sealed::Password)?;
    let (body, padding) = plain.split_at_checked(kept).ok_or(Sealed::Password)?;
    if count == 0 || count > BLOCK || padding.iter().any(|byte| usize::from(*byte) != count) {
        return Err(Sealed::Password);
    }
    Ok(Secret::new(body.to_vec()))
}

/// AES with either length of key.
enum Aes {
    Short(Box<Aes128>),
    Long(Box<Aes256>),
}

impl Aes {
    fn new(key: &[u8]) -> Result<Self, Malformed> {
        match key.len() {
            16 => Aes128::new_from_slice(key).map(|aes| Self::Short(Box::new(aes))),
            _ => Aes256::new_from_slice(key).map(|aes| Self::Long(Box::new(aes))),
        }
        .map_err(|_| Malformed::Length)
    }

    fn decrypt(&self, block: &mut [u8; BLOCK]) {
        match self {
            Self::Short(aes) => aes.decrypt_block(GenericArray::from_mut_slice(block)),
            Self::Long(aes) => aes.decrypt_block(GenericArray::from_mut_slice(block)),
        }
    }
}

/// What is random in a sealed part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// For the derivation of the key.
    pub salt: [u8; 16],
    /// For the first block.
    pub iv: [u8; BLOCK],
}

/// Seals with PBES2, PBKDF2-HMAC-SHA256 and AES-256-CBC: the AlgorithmIdentifier, and the ciphertext.
pub(super) fn seal(plain: &[u8], password: &Secret, fresh: &Fresh) -> (Vec<u8>, Vec<u8>) {
    let rounds = NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN);
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &fresh.salt, password.expose(), key.as_mut());
    let aes = Aes256::new(GenericArray::from_slice(key.as_ref()));
    let count = BLOCK - plain.len() % BLOCK;
    let padded: Zeroizing<Vec<u8>> =
        Zeroizing::new(plain.iter().copied().chain(std::iter::repeat_n(count as u8, count)).collect());
    let mut sealed = Vec::with_capacity(padded.len());
    let mut before = fresh.iv;
    for block in padded.chunks_exact(BLOCK) {
        for (one, other) in before.iter_mut().zip(block) {
            *one ^= other;
        }
        aes.encrypt_block(GenericArray::from_mut_slice(&mut before));
        sealed.extend_from_slice(&before);
    }
    let prf = asn1::sequence(&[&asn1::write(tag::OID, &[oid::HMAC_SHA256]), &asn1::write(tag::NULL, &[])]);
    let parameters = asn1::sequence(&[
        &asn1::write(tag::OCTET_STRING, &[&fresh.salt]),
        &asn1::write_number(tag::INTEGER, u64::from(ROUNDS)),
        &prf,
    ]);
    let derivation = asn1::sequence(&[&asn1::write(tag::OID, &[oid::PBKDF2]), &parameters]);
    let cipher = asn1::sequence(&[
        &asn1::write(tag::OID, &[oid::AES256_CBC]),
        &asn1::write(tag::OCTET_STRING, &[&fresh.iv]),
    ]);
    let both = asn1::sequence(&[&derivation, &cipher]);
    (asn1::sequence(&[&asn1::write(tag::OID, &[oid::PBES2]), &both]), sealed)
}

/// The check over a PKCS #12 file: which digest, and the key that comes from the password.
pub(super) struct Integrity {
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

impl Integrity {
    /// From the identifier of a digest.
    pub(super) fn new(kind: &[u8]) -> Result<Self, Sealed> {
        let (hmac, digest) = match kind {
            // Old exports; the check only tells a wrong password, the encryption decides what is safe.
            oid::SHA1 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA1_FOR_LEGACY_USE_ONLY),
            oid::SHA256 => (hmac::HMAC_SHA256, &digest::SHA256),
            oid::SHA384 => (hmac::HMAC_SHA384, &digest::SHA384),
            oid::SHA512 => (hmac::HMAC_SHA512, &digest::SHA512),
            other => return Err(Sealed::Scheme(oid::display(other))),
        };
        Ok(Self { hmac, digest })
    }

    /// The key of the check. RFC 7292 appendix B.2 with ID 3; one output block is as long as the key, so the steps that
    /// chain several blocks fall away.
    pub(super) fn key(&self, password: &Secret, salt: &[u8], count: u64) -> Result<hmac::Key, Sealed> {
        let count = rounds(count)?.get();
        if password.expose().len() > MAX_PASSWORD {
            return Err(Sealed::LongPassword);
        }
        let text = password.expose_str().ok_or(Sealed::Password)?;
        // BMPString with a final zero (appendix B.1).
        let bmp: Zeroizing<Vec<u8>> =
            Zeroizing::new(text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect());
        let block = self.digest.block_len();
        let mut input = Zeroizing::new(vec![3; block]);
        input.extend(filled(salt, block));
        input.extend(filled(&bmp, block));
        let mut value = digest::digest(self.digest, &input);
        for _ in 1..count {
            value = digest::digest(self.digest, value.as_ref());
        }
        Ok(hmac::Key::new(self.hmac, value.as_ref()))
    }
}

/// The bytes repeated until they fill whole blocks.
fn filled(bytes: &[u8], block: usize) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().copied().cycle().take(bytes.len().div_ceil(block) * block)
}
