//! A machine that stands still at one moment, from which any number of machines go on: its memory, and what was on its disk.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use crate::disk::{self, Disk};
use crate::{Machine, Scratch};

/// Memory and disk of one moment. Both are files without a name, which go with the process.
#[derive(Debug)]
pub struct Frozen {
    memory: File,
    disk: File,
}

impl Frozen {
    /// Stops `machine`, which runs from `disk`, and takes what there is of both; the disk is gone until it is restored.
    pub fn take(machine: Machine, disk: &Disk) -> Self {
        let scratch = Scratch::new();
        let memory = scratch.at("memory");
        machine.freeze(&memory);
        let open = |path: &PathBuf| {
            let file = File::open(path).expect("a file of our own");
            fs::remove_file(path).expect("a file of our own");
            file
        };
        Self { memory: open(&memory), disk: open(&disk.path) }
    }

    /// Puts what was on the disk on another one.
    pub fn restore(&self, disk: &Disk) {
        disk::copy(&path(&self.disk), &disk.path);
    }

    /// Where QEMU finds the memory.
    pub(crate) fn memory(&self) -> PathBuf {
        path(&self.memory)
    }
}

/// The name of an open file for the programs that this one starts (proc_pid_fd(5)).
fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}
