//! The image in an emulated machine. Two tests run with every test run where an image was built; the others are for `make
//! test-image` and `make test-image-more`, half an hour each.

mod audit;
mod figures;
mod flash;
mod install;
mod kernel;
mod pair;
mod power;
mod secure;
mod setup;
mod start;
mod state;
mod update;
mod watchdog;
mod whole;

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use rempart_image_tests::{BOOT, Cable, Disk, Firmware, Frozen, Image, Machine, SOON, Scratch, Spec, Stick};

/// One box between two networks: the LAN reaches UDP port 7000 outside, and nothing else is allowed.
pub const DOCUMENT: &str = r#"version = 1
node = "fw"

[interface.wan]
device  = "enp0s16"
zone    = "wan"
address = "203.0.113.1/24"

[interface.lan]
device  = "enp0s17"
zone    = "lan"
address = "192.168.10.254/24"

[zone.wan]
block_private = false

[[flow]]
id    = "game"
from  = "lan"
to    = "wan"
allow = ["udp/7000"]
"#;
/// The box inside.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
/// The box outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// A desk.
pub const DESK: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 21);
/// A server somewhere.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// The image, or a word on why nothing is tested. Whoever asks for these tests by `REMPART_IMAGE` gets a failure instead.
pub fn image() -> Option<Image> {
    let found = Image::find();
    if found.is_none() {
        assert!(std::env::var_os("REMPART_IMAGE").is_none(), "there is no image in REMPART_IMAGE");
        eprintln!("skipped: no image was built (make image)");
    }
    found
}

/// Where a box stands: its disk as flashed, a stick with the document, and the cables of the document's two interfaces in their
/// order.
#[derive(Debug)]
pub struct Site {
    /// What was flashed.
    pub image: Image,
    /// Everything of this test.
    pub scratch: Scratch,
    /// The box's disk.
    pub disk: Disk,
    /// With the document.
    pub stick: Stick,
    /// Outside and inside.
    pub cables: [Cable; 2],
}

impl Site {
    /// A new box.
    pub fn new(image: &Image) -> Self {
        Self::with(image, |scratch| Disk::flashed(image, scratch))
    }

    /// Another box, with what is on the disk of this one.
    pub fn twin(&self) -> Self {
        Self::with(&self.image, |scratch| self.disk.copied(scratch, "disk.raw"))
    }

    fn with(image: &Image, disk: impl FnOnce(&Scratch) -> Disk) -> Self {
        let scratch = Scratch::new();
        let (disk, stick) = (disk(&scratch), Stick::new(&scratch, "fw", DOCUMENT));
        let cables = [Cable::new(&scratch, "wan"), Cable::new(&scratch, "lan")];
        Self { image: image.clone(), scratch, disk, stick, cables }
    }

    /// The box, started by `firmware`, with its cables in.
    pub fn spec(&self, firmware: Firmware) -> Spec<'_> {
        Spec::new(firmware, &self.disk).cables(&self.cables)
    }

    /// Switches it on.
    pub fn start(&self, spec: &Spec) -> Machine {
        Machine::start(&self.image, &self.scratch, "fw", spec)
    }

    /// Switches it on, and waits until the document is in force.
    #[track_caller]
    pub fn up(&self, spec: &Spec) -> Machine {
        let machine = self.start(spec);
        machine.console.expect("revision 1", BOOT);
        machine
    }

    /// After the first start, with a shell: the document was taken over from the stick, and all programs run. One box has made that
    /// start for all tests, and each of them goes on where it stood.
    #[track_caller]
    pub fn first(&self) -> Machine {
        static FIRST: OnceLock<Frozen> = OnceLock::new();
        let first = FIRST.get_or_init(|| {
            let site = Self::new(&self.image);
            let mut machine = site.up(&site.with_stick());
            let started = machine.shell().try_run("systemctl is-system-running --wait; sync", BOOT);
            assert!(started.as_ref().is_ok_and(|(code, _)| *code == 0), "the first start: {started:?}");
            Frozen::take(machine, &site.disk)
        });
        first.restore(&self.disk);
        let machine = self.start(&self.with_stick().frozen(first));
        // Nobody has seen what it wrote before: it draws its screen once more.
        machine.console.send("\x0c");
        machine.console.expect("revision 1", SOON);
        machine
    }

    fn with_stick(&self) -> Spec<'_> {
        self.spec(Firmware::Direct).stick(&self.stick)
    }
}
