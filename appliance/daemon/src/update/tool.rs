//! What the build does: keys, signatures.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rempart_system::slots::RootHash;
use rempart_update::manifest::{Content, Description, Draft, SigningKey};
use rempart_update::{Part, Version};
use ring::rand::SystemRandom;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A private key has 48 or 83 bytes; as PEM some more.
const KEY_FILE_MAX: u64 = 4096;

/// What goes into an update file.
#[derive(Args)]
pub struct Sign {
    /// The private key, PKCS #8, DER or PEM; more than one signs as well.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// Its version.
    #[arg(long)]
    release: String,
    /// When it was made, in seconds since 1970.
    #[arg(long)]
    made: u64,
    /// The file that holds the root hash, in hexadecimal.
    #[arg(long)]
    root_hash: PathBuf,
    /// The root file system.
    #[arg(long)]
    root: PathBuf,
    /// The tree of its hashes.
    #[arg(long)]
    tree: PathBuf,
    /// The unified kernel image.
    #[arg(long)]
    kernel: PathBuf,
    /// How GRUB starts it.
    #[arg(long)]
    entry: PathBuf,
    /// The update file.
    #[arg(long)]
    update: Option<PathBuf>,
    /// The signed head alone, for the EFI system partition.
    #[arg(long)]
    head: Option<PathBuf>,
}

/// Writes an update file.
pub fn sign(sign: &Sign) -> anyhow::Result<()> {
    let version = Version::new(&sign.release).with_context(|| format!("{} is no version", sign.release))?;
    let hash = fs::read_to_string(&sign.root_hash).with_context(|| sign.root_hash.display().to_string())?;
    let root_hash = RootHash::parse(hash.trim()).context("the root hash has 64 hexadecimal digits")?;
    let keys = sign.key.iter().map(|path| key(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let parts = [&sign.root, &sign.tree, &sign.kernel, &sign.entry];
    let mut contents = [Content { bytes: 0, sha256: [0; 32] }; 4];
    for (content, path) in contents.iter_mut().zip(parts) {
        *content = measure(path).with_context(|| path.display().to_string())?;
    }
    let description = Description {
        version,
        made_unix_s: sign.made,
        grammar: rempart_daemon::GRAMMAR,
        root_hash: root_hash.bytes(),
        parts: contents,
    };
    let head = Draft(description).sign(&keys)?;
    if let Some(path) = &sign.head {
        fs::write(path, &head).with_context(|| path.display().to_string())?;
    }
    let Some(path) = &sign.update else { return Ok(()) };
    let mut update = File::create(path).with_context(|| path.display().to_string())?;
    update.write_all(&head)?;
    for (content, (part, source)) in contents.iter().zip(Part::ALL.into_iter().zip(parts)) {
        let copied = io::copy(&mut File::open(source)?, &mut update)?;
        ensure!(copied == content.bytes, "the {} changed while it was read", part.name());
    }
    Ok(update.sync_all()?)
}

fn measure(path: &Path) -> io::Result<Content> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(Content { bytes, sha256: hash.finalize().into() });
        }
        hash.update(chunk.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
}

fn key(path: &Path) -> anyhow::Result<SigningKey> {
    let read =
        rempart_daemon::disk::read_private(path, KEY_FILE_MAX).with_context(|| path.display().to_string())?;
    let Some(bytes) = read else { bail!("{} is not there", path.display()) };
    let der = match PrivatePkcs8KeyDer::from_pem_slice(&bytes) {
        Ok(pem) => Zeroizing::new(pem.secret_pkcs8_der().to_vec()),
        Err(_) => bytes,
    };
    SigningKey::from_pkcs8(&der).with_context(|| path.display().to_string())
}

/// Prints the public half of a key.
pub fn public(path: &Path) -> anyhow::Result<()> {
    println!("{}", key(path)?.public().text());
    Ok(())
}

/// Makes a new key.
pub fn new_key(path: &Path) -> anyhow::Result<()> {
    let key = Zeroizing::new(SigningKey::generate(&SystemRandom::new())?);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| path.display().to_string())?;
    file.write_all(&key)?;
    Ok(file.sync_all()?)
}
