//! Kernel settings. A key is the path below `/proc/sys` with slashes, `net/ipv4/conf/eth0.40/rp_filter`, because
//! names of devices may contain dots.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

const ROOT: &str = "/proc/sys";
/// Longest value that is read, in bytes. The kernel's own limit for most settings is a page.
const MAX_VALUE: usize = 4096;

/// Why a setting was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The key leads out of `/proc/sys`.
    #[error("{0:?} is not the name of a kernel setting")]
    Key(String),
    /// The kernel refused.
    #[error("cannot {verb} the kernel setting {key}: {source}")]
    Io {
        /// `read` or `write`.
        verb: &'static str,
        /// The key.
        key: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The value of `key`, without the final newline; `None` when the kernel has no such setting.
pub fn read(key: &str) -> Result<Option<String>, SysctlError> {
    let failed = |source| SysctlError::Io { verb: "read", key: key.to_owned(), source };
    match fs::read(path(key)?) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(bytes.get(..MAX_VALUE).unwrap_or(&bytes));
            Ok(Some(text.trim_end().to_owned()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// Sets `key` to `value`.
pub fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    fs::write(path(key)?, value).map_err(|source| SysctlError::Io {
        verb: "write",
        key: key.to_owned(),
        source,
    })
}

/// The values of those of `keys` that exist and may be written: the kernel shows some settings of the machine in
/// every namespace, but lets only the first one write them.
pub fn observe<'a>(
    keys: impl IntoIterator<Item = &'a String>,
) -> Result<BTreeMap<String, String>, SysctlError> {
    let mut out = BTreeMap::new();
    for key in keys {
        let writable = fs::metadata(path(key)?).is_ok_and(|m| m.permissions().mode() & 0o222 != 0);
        if writable && let Some(value) = read(key)? {
            out.insert(key.clone(), value);
        }
    }
    Ok(out)
}

fn path(key: &str) -> Result<PathBuf, SysctlError> {
    let relative = Path::new(key);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if key.is_empty() || !plain {
        return Err(SysctlError::Key(key.to_owned()));
    }
    Ok(Path::new(ROOT).join(relative))
}
