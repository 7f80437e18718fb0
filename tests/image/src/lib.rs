//! An emulated machine that boots the image: its disks, its terminal, its network cables.
//!
//! ```text
//!  test ──keys──▶ serial line ──▶ QEMU (no KVM needed) ──▶ UEFI, BIOS, or the kernel directly ──▶ the image
//!    ▲◀─ Screen ──── 80×24 ◀──┘      │ cables: Ethernet frames as datagrams of Unix sockets
//!    └───────── Host: ARP, UDP ◀─────┘
//! ```
//!
//! Owns nothing of the image: how it is built is in `image/`. Nothing here touches the machine's own networks, and
//! nothing needs root. The machine runs under TCG; `REMPART_QEMU_ACCEL` names another accelerator.

mod cable;
mod disk;
mod frozen;
mod machine;
mod screen;
mod terminal;
mod tpm;

pub use cable::{Cable, Host, Segment};
pub use disk::{Disk, Image, Stick};
pub use frozen::Frozen;
pub use machine::{Enrolled, Firmware, Machine, Spec};
pub use screen::Screen;
pub use terminal::{Shell, Terminal};
pub use tpm::Tpm;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a start may take under emulation, to the console: half a minute where nothing else runs, and more than ten times that
/// was seen where much else did.
pub const BOOT: Duration = Duration::from_secs(900);
/// How long an answer on the console may take.
pub const SOON: Duration = Duration::from_secs(300);

/// A folder of a test's own, removed with it. Its name is short: it holds sockets, whose names may have 107 bytes.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty folder.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rempart-vm-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(path)
    }

    /// A path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
