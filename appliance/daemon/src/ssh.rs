//! SSH to the console: on or off, and whose keys come in.
//!
//! What sshd reads lies beside the daemon's own state: `enabled`, without which its unit does not start, the key of the box, and
//! one file with the administrators' keys. Whether a packet reaches port 22 is the policy's to say and nobody else's.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::setup::{SshKey, SshStatus};
use rempart_daemon::{disk, systemd};
use ring::digest::{SHA256, digest};
use tracing::info;
use zbus::Connection;

use crate::control::failed;

/// Most keys: administrators have one or two each.
const KEYS_MAX: usize = 64;
/// Longest line of a key, in bytes: RSA of 16,384 bits has 2,800.
const LINE_MAX: usize = 4096;
/// Longest comment, in characters.
const COMMENT_MAX: usize = 100;
/// Shortest RSA key (ANSSI, guide on cryptographic mechanisms), as `RequiredRSASize` in sshd_config says.
const RSA_BITS_MIN: usize = 3072;
/// What sshd_config lets in, as a key file calls it.
const KINDS: [&str; 5] =
    ["ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa"];
/// The account that keys are for.
const ACCOUNT: &str = "admin";
const UNIT: &str = "ssh.service";

/// See the head of the file.
#[derive(Debug)]
pub struct Ssh {
    folder: PathBuf,
}

/// A public key as a line of a file has it (sshd(8), AUTHORIZED_KEYS FILE FORMAT), without options.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    kind: String,
    blob: Vec<u8>,
    comment: String,
}

/// Why a line is no key that may come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum BadKey {
    #[error(
        "this is no public key: a line that begins with ssh-ed25519, as a file with the ending .pub has it"
    )]
    NoKey,
    #[error("this is a private key, which is nobody else's to see: the file with the ending .pub is meant")]
    Private,
    #[error(
        "keys of this kind are not let in: ssh-ed25519, ecdsa of 256 or 384 bits, or rsa of 3072 bits and more"
    )]
    Kind,
    #[error("an RSA key needs 3072 bits at least")]
    Short,
}

impl Ssh {
    /// Beside this state.
    pub fn beside(state: &Path) -> Self {
        Self { folder: state.parent().unwrap_or(state).join("rempart-ssh") }
    }

    /// How it is; the flows are the caller's to say.
    pub fn status(&self, flows: Vec<String>) -> Result<SshStatus, Error> {
        let shown =
            |key: Key| SshKey { fingerprint: key.fingerprint(), kind: key.kind, comment: key.comment };
        let host = disk::read(&self.folder.join("host_ed25519.pub")).map_err(failed)?;
        let host = host.and_then(|line| Key::parse(line.trim()).ok()).map(|key| key.fingerprint());
        let keys = self.keys()?.into_iter().map(shown).collect();
        Ok(SshStatus { on: self.enabled().exists(), keys, host, flows })
    }

    /// Switches it on or off. Off ends the sessions that are open.
    pub async fn switch(&self, on: bool, bus: &Connection) -> Result<(), Error> {
        if on {
            disk::write(&self.enabled(), b"").map_err(failed)?;
        } else {
            disk::remove(&self.enabled()).map_err(failed)?;
        }
        info!(on, "SSH to the console");
        systemd::ask(bus, if on { "StartUnit" } else { "StopUnit" }, UNIT).await
    }

    /// Lets a key in; returns its fingerprint.
    pub fn add(&self, line: &str) -> Result<String, Error> {
        let key = Key::parse(line.trim()).map_err(|why| RefusalCode::BadField.error(why))?;
        let mut keys = self.keys()?;
        keys.retain(|other| other.blob != key.blob);
        if keys.len() >= KEYS_MAX {
            return Err(RefusalCode::Full.error(format!("there are {KEYS_MAX} keys")));
        }
        let fingerprint = key.fingerprint();
        info!(fingerprint, comment = key.comment, "a key may come in by SSH");
        keys.push(key);
        self.keep(&keys)?;
        Ok(fingerprint)
    }

    /// Lets a key in no more: by its fingerprint, or as much of it as is no other's.
    pub fn remove(&self, fingerprint: &str) -> Result<(), Error> {
        let wanted = fingerprint.strip_prefix("SHA256:").unwrap_or(fingerprint);
        let is = |key: &Key| key.fingerprint().strip_prefix("SHA256:").is_some_and(|f| f.starts_with(wanted));
        let mut keys = self.keys()?;
        let found = keys.iter().filter(|key| is(key)).count();
        if wanted.is_empty() || found != 1 {
            return Err(Error::NotFound(format!("{found} keys begin with `{fingerprint}`")));
        }
        keys.retain(|key| !is(key));
        info!(fingerprint, "a key may come in by SSH no more");
        self.keep(&keys)
    }

    fn enabled(&self) -> PathBuf {
        self.folder.join("enabled")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("keys").join(ACCOUNT)
    }

    fn keys(&self) -> Result<Vec<Key>, Error> {
        let text = disk::read(&self.file()).map_err(failed)?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| Key::parse(line).ok()).take(KEYS_MAX).collect())
    }

    fn keep(&self, keys: &[Key]) -> Result<(), Error> {
        let text: String = keys.iter().map(|key| key.line() + "\n").collect();
        let written = || -> io::Result<()> {
            let file = self.file();
            disk::write(&file, text.as_bytes())?;
            // sshd reads it as the administrator; the mask of this daemon would leave it to root.
            if let Some(folder) = file.parent() {
                fs::set_permissions(folder, Permissions::from_mode(0o755))?;
            }
            fs::set_permissions(&file, Permissions::from_mode(0o644))
        };
        written().map_err(failed)
    }
}

impl Key {
    fn parse(line: &str) -> Result<Self, BadKey> {
        if line.contains("PRIVATE KEY") {
            return Err(BadKey::Private);
        }
        if line.len() > LINE_MAX || line.chars().any(char::is_control) {
            return Err(BadKey::NoKey);
        }
        let mut words = line.splitn(3, ' ');
        let (kind, text) = (words.next().unwrap_or_default(), words.next().ok_or(BadKey::NoKey)?);
        let comment = words.next().unwrap_or_default().trim();
        let blob = Base64::decode_vec(text).map_err(|_| BadKey::NoKey)?;
        // RFC 4253 §6.6: the blob begins with the name of its algorithm.
        let (name, rest) = string(&blob).ok_or(BadKey::NoKey)?;
        if name != kind.as_bytes() {
            return Err(BadKey::NoKey);
        }
        if !KINDS.contains(&kind) {
            return Err(BadKey::Kind);
        }
        if kind == "ssh-rsa" {
            // mpint e, mpint n; a leading zero keeps n positive (RFC 4251 §5).
            let (_, rest) = string(rest).ok_or(BadKey::NoKey)?;
            let (n, _) = string(rest).ok_or(BadKey::NoKey)?;
            let first = n.iter().position(|byte| *byte != 0).ok_or(BadKey::NoKey)?;
            let bits = n
                .get(first..)
                .map_or(0, |n| n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize));
            if bits < RSA_BITS_MIN {
                return Err(BadKey::Short);
            }
        }
        let comment = comment.chars().take(COMMENT_MAX).collect();
        Ok(Self { kind: kind.to_owned(), blob, comment })
    }

    fn line(&self) -> String {
        format!("{} {} {}", self.kind, Base64::encode_string(&self.blob), self.comment).trim_end().to_owned()
    }

    fn fingerprint(&self) -> String {
        format!("SHA256:{}", Base64Unpadded::encode_string(digest(&SHA256, &self.blob).as_ref()))
    }
}

/// A string and what follows it (RFC 4251 §5).
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7K8Yw6a9Y0n8nX0yWc3mZrj4a7mYxW0o6n2t1m3v5q alice@desk";

    fn rsa(bits: usize) -> String {
        let mut n = vec![0];
        n.extend(vec![0xff; bits / 8]);
        let parts: [&[u8]; 3] = [b"ssh-rsa", &[1, 0, 1], &n];
        let mut blob = Vec::new();
        for part in parts {
            blob.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(part);
        }
        format!("ssh-rsa {} bob", Base64::encode_string(&blob))
    }

    #[test]
    fn a_key_is_read_with_its_comment_and_nothing_else() {
        let key = Key::parse(ED25519).unwrap();
        assert_eq!(
            (key.kind.as_str(), key.comment.as_str(), key.line().as_str()),
            ("ssh-ed25519", "alice@desk", ED25519)
        );
        assert!(key.fingerprint().starts_with("SHA256:") && key.fingerprint().len() == 50);
        assert!(Key::parse(&rsa(3072)).is_ok());
        for (line, why) in [
            (rsa(2048), BadKey::Short),
            ("".into(), BadKey::NoKey),
            ("ssh-ed25519".into(), BadKey::NoKey),
            ("ssh-ed25519 ????".into(), BadKey::NoKey),
            (ED25519.replace("ssh-ed25519 ", "ssh-dss "), BadKey::NoKey),
            (format!("command=\"id\" {ED25519}"), BadKey::NoKey),
            (format!("{ED25519}\nssh-rsa x"), BadKey::NoKey),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), BadKey::Private),
            ("ssh-dss AAAAB3NzaC1kc3M=".into(), BadKey::Kind),
            ("ssh-rsa AAAAB3NzaC1yc2E=".into(), BadKey::NoKey),
            // A length that is longer than what follows.
            ("ssh-rsa /////w==".into(), BadKey::NoKey),
        ] {
            assert_eq!(Key::parse(&line), Err(why), "{line}");
        }
    }

    #[test]
    fn keys_are_kept_where_sshd_may_read_them() {
        let folder = std::env::temp_dir().join(format!("rempart-ssh-{}", std::process::id()));
        let ssh = Ssh::beside(&folder.join("rempart"));
        let one = ssh.add(ED25519).unwrap();
        assert_eq!(ssh.add(&ED25519.replace("alice@desk", "alice again")).unwrap(), one);
        let two = ssh.add(&rsa(4096)).unwrap();
        let status = ssh.status(Vec::new()).unwrap();
        let shown: Vec<_> = status.keys.iter().map(|key| (key.comment.as_str(), &key.fingerprint)).collect();
        assert_eq!((shown, status.on), (vec![("alice again", &one), ("bob", &two)], false));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("rempart-ssh/keys/admin")), 0o644);
        assert!(matches!(ssh.remove("SHA256:"), Err(Error::NotFound(_))));
        assert!(matches!(ssh.remove("SHA256:nobody"), Err(Error::NotFound(_))));
        ssh.remove(&two[..20]).unwrap();
        assert_eq!(ssh.status(Vec::new()).unwrap().keys.len(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
