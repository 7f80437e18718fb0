//! How long the kernel waits until no processor can still be using what it takes away (an RCU grace period).
//!
//! A macvlan that goes down costs two or three of them, one after the other and under the lock that every change of a link
//! needs: 12 ms for each link on a quiet machine of two cores. Expedited, the other processors are interrupted instead of waited
//! for, and it is 0.2 ms. The switch belongs to the whole machine (`/sys/kernel/rcu_expedited`,
//! Documentation/admin-guide/kernel-parameters.txt, `rcupdate.rcu_expedited`), so it is on only while links go down.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// The switch, open.
#[derive(Debug)]
pub struct GracePeriods {
    /// `None` if they are always expedited, or the kernel has no such switch.
    switch: Option<File>,
}

/// They are expedited for as long as this lives.
#[derive(Debug)]
pub struct Expedited<'a>(&'a mut GracePeriods);

impl GracePeriods {
    /// Opens the switch. Fails when the program may not turn it.
    pub fn open() -> io::Result<Self> {
        let mut file = match OpenOptions::new().read(true).write(true).open(SWITCH) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self { switch: None }),
            Err(e) => return Err(e),
        };
        let mut now = [0; 1];
        let len = file.read(&mut now)?;
        Ok(Self { switch: (now.get(..len) == Some(b"0")).then_some(file) })
    }

    /// Nothing is expedited by this one.
    pub fn untouched() -> Self {
        Self { switch: None }
    }

    /// Turns the switch on. Should that fail, what follows takes longer.
    pub fn expedite(&mut self) -> Expedited<'_> {
        self.turn(b"1");
        Expedited(self)
    }

    fn turn(&mut self, to: &[u8]) {
        if let Some(file) = &mut self.switch {
            let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(to));
        }
    }
}

impl Drop for Expedited<'_> {
    fn drop(&mut self) {
        self.0.turn(b"0");
    }
}
