//! A TPM for a machine: Debian's swtpm, which keeps what it seals in a folder.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::Scratch;

/// A TPM, plugged in and switched on.
#[derive(Debug)]
pub struct Tpm {
    process: Child,
    /// Where QEMU reaches it.
    pub(crate) socket: PathBuf,
}

impl Tpm {
    /// Starts the TPM that keeps its secrets in `scratch`; none where swtpm is not installed.
    pub fn start(scratch: &Scratch) -> Option<Self> {
        let (state, socket) = (scratch.at("tpm"), scratch.at("tpm.ctl"));
        std::fs::create_dir_all(&state).expect("a folder of our own");
        let _ = std::fs::remove_file(&socket);
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={}", state.display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let process = swtpm.stdin(Stdio::null()).spawn().ok()?;
        Some(Self { process, socket })
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
