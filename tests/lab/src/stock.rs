//! The versions of the stock openvpn that are tested: this machine's, and those that `tests/setup/clients.sh` has unpacked into
//! roots of their own in the folder `stock` of the build.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::requirements::in_path;

/// A version of the stock client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stock {
    /// 2.5 of Debian 11: without exported keys, with the PRF of TLS 1.0.
    V25,
    /// The machine's own: 2.6 on Debian 12 and 13.
    Own,
    /// 2.7 of the suite after that.
    V27,
}

/// Makes the root see the machine's devices and the folder of the client, in a mount namespace that goes with the client.
const ENTER: &str = "mount --bind /dev \"$0/dev\" && mount --bind \"$1\" \"$0/tmp\" && root=$0 && shift && \
                     exec chroot \"$root\" /usr/sbin/openvpn --cd /tmp \"$@\"";

impl Stock {
    /// From the oldest to the newest.
    pub const ALL: [Self; 3] = [Self::V25, Self::Own, Self::V27];

    /// Those that are on this machine. The absence of another one is said: `make setup-clients` brings them.
    pub fn all_here() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|stock| {
            let here = stock.is_here();
            if !here {
                eprintln!("SKIPPED: {stock:?} is not on this machine (make setup-clients)");
            }
            here
        })
    }

    /// Whether it can be started.
    pub fn is_here(self) -> bool {
        match self {
            Self::Own => in_path("openvpn").is_some(),
            Self::V25 | Self::V27 => self.root().is_some(),
        }
    }

    /// The words that start it with `folder` as its working folder. Arguments follow; a path among them is relative to that.
    /// The process that they start becomes the client.
    pub fn words(self, folder: &Path) -> Vec<OsString> {
        let words: &[&str] = match self {
            Self::Own => &["openvpn", "--cd"],
            Self::V25 | Self::V27 => &["unshare", "--mount", "--", "sh", "-ec", ENTER],
        };
        let root = self.root().map(PathBuf::into_os_string);
        words.iter().map(OsString::from).chain(root).chain([folder.as_os_str().to_owned()]).collect()
    }

    /// In `REMPART_STOCK_DIR`, or above the running program, which is a test or a program of the build.
    fn root(self) -> Option<PathBuf> {
        let name = match self {
            Self::Own => return None,
            Self::V25 => "openvpn-2.5",
            Self::V27 => "openvpn-2.7",
        };
        let exe = env::current_exe().ok()?;
        let above = exe.ancestors().skip(1).take(3).map(|dir| dir.join("stock"));
        let mut folders = env::var_os("REMPART_STOCK_DIR").map(PathBuf::from).into_iter().chain(above);
        folders.find_map(|dir| Some(dir.join(name)).filter(|root| root.join("usr/sbin/openvpn").is_file()))
    }
}
