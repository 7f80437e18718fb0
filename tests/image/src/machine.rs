//! The emulated machine: what it is made of, its start, its power.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::disk::{Disk, Image, Stick};
use crate::terminal::{self, Shell, Terminal};
use crate::tpm::Tpm;
use crate::{Cable, Frozen, Scratch};

/// Where Debian's package ovmf keeps UEFI's code, and the empty variables that go with it.
const OVMF: (&str, &str) = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd");
/// The same with Secure Boot switched on, and whose signatures it takes: ovmf's own test key, which the image for tests is
/// signed with, or Microsoft's.
const OVMF_SECURE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const ENROLLED_OURS: &str = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";
const ENROLLED_FOREIGN: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// More words for a kernel that is started directly; those that a firmware starts have the shipped words. An emulated processor
/// throws away all that it has translated whenever the page tables change, and with page table isolation they change at each
/// system call. And where the machine that emulates is busy, the second processor never finishes measuring its own pace
/// against the clock of the first: it is told one, loops to a tick of 4 ms at 2.5 GHz. What guards against the faults of real
/// processors, and clears memory, costs a fifth of a start there.
const EMULATED: &str = "pti=off lpj=10000000 mitigations=off spectre_v2=off spec_store_bypass_disable=off init_on_alloc=0 \
                        init_on_free=0 page_alloc.shuffle=0 randomize_kstack_offset=off";

/// What starts the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// UEFI: systemd-boot, the unified kernel image.
    Uefi,
    /// The same under Secure Boot.
    Secure(Enrolled),
    /// A legacy BIOS: GRUB.
    Bios,
    /// QEMU starts the image's kernel with the image's initial file system, and adds to that one unit in /run: a shell of
    /// root's on the second serial line. The root file system is the image's, checked as ever.
    Direct,
}

/// Whose certificate Secure Boot knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enrolled {
    /// The one that the image for tests is signed with.
    Ours,
    /// Somebody else's.
    Foreign,
}

/// What the machine is made of.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    firmware: Firmware,
    disk: &'a Disk,
    on_usb: bool,
    beside: Option<&'a Disk>,
    stick: Option<&'a Stick>,
    tpm: Option<&'a Tpm>,
    cables: &'a [Cable],
    watchdog: bool,
    words: &'a str,
    processors: u32,
    frozen: Option<&'a Frozen>,
}

impl<'a> Spec<'a> {
    /// A machine that `firmware` starts from `disk`.
    pub fn new(firmware: Firmware, disk: &'a Disk) -> Self {
        Self {
            firmware,
            disk,
            on_usb: false,
            beside: None,
            stick: None,
            tpm: None,
            cables: &[],
            watchdog: false,
            words: "",
            processors: 1,
            frozen: None,
        }
    }

    /// With a second processor. One is the rule: where the emulating machine is busy, two wait for each other's turns, and several
    /// machines with one each get more done.
    pub fn two_processors(self) -> Self {
        Self { processors: 2, ..self }
    }

    /// The disk is a stick in a USB port.
    pub fn on_usb(self) -> Self {
        Self { on_usb: true, ..self }
    }

    /// With a further disk.
    pub fn beside(self, disk: &'a Disk) -> Self {
        Self { beside: Some(disk), ..self }
    }

    /// With a stick in its USB port.
    pub fn stick(self, stick: &'a Stick) -> Self {
        Self { stick: Some(stick), ..self }
    }

    /// With a TPM.
    pub fn tpm(self, tpm: &'a Tpm) -> Self {
        Self { tpm: Some(tpm), ..self }
    }

    /// With network ports: `enp0s16`, `enp0s17`, …
    pub fn cables(self, cables: &'a [Cable]) -> Self {
        Self { cables, ..self }
    }

    /// With a hardware watchdog (Intel 6300ESB).
    pub fn watchdog(self) -> Self {
        Self { watchdog: true, ..self }
    }

    /// With more words for a kernel that is started directly.
    pub fn words(self, words: &'a str) -> Self {
        Self { words, ..self }
    }

    /// Goes on where a machine of the same parts stood still; the disk has what was on its disk ([`Frozen::restore`]).
    pub fn frozen(self, frozen: &'a Frozen) -> Self {
        Self { frozen: Some(frozen), ..self }
    }
}

/// A running machine; its power goes when it is dropped.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    /// The serial console.
    pub console: Terminal,
    shell: Option<Shell>,
    monitor: PathBuf,
}

impl Machine {
    /// Starts a machine whose sockets lie in `scratch` under `name`.
    pub fn start(image: &Image, scratch: &Scratch, name: &str, spec: &Spec) -> Self {
        let path = |what: &str| scratch.at(&format!("{name}.{what}"));
        let (serial, shell, monitor) = (path("tty"), path("sh"), path("qmp"));
        for socket in [&serial, &shell, &monitor] {
            let _ = fs::remove_file(socket);
        }
        let mut qemu = Command::new("qemu-system-x86_64");
        let accelerator =
            std::env::var("REMPART_QEMU_ACCEL").unwrap_or_else(|_| "tcg,thread=multi,tb-size=512".into());
        // The variables of Secure Boot are written in system management mode only.
        let chipset = if matches!(spec.firmware, Firmware::Secure(_)) { "q35,smm=on" } else { "q35" };
        qemu.args(["-machine", chipset, "-accel", &accelerator, "-cpu", "max", "-m", "1024"]);
        qemu.arg("-smp").arg(spec.processors.to_string());
        qemu.args([
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-vga",
            "std",
            "-device",
            "virtio-rng-pci",
        ]);
        socket_line(&mut qemu, "serial", &serial);
        qemu.arg("-qmp").arg(option("unix:", &monitor, ",server=on,wait=off"));
        if spec.on_usb || spec.stick.is_some() {
            qemu.args(["-device", "qemu-xhci,id=usb"]);
        }
        firmware(&mut qemu, image, scratch, name, spec);
        if let Some(disk) = spec.beside {
            qemu.arg("-drive").arg(option("if=none,id=beside,format=raw,cache=unsafe,file=", &disk.path, ""));
            qemu.args(["-device", "virtio-blk-pci,drive=beside"]);
        }
        if spec.firmware == Firmware::Direct {
            socket_line(&mut qemu, "serial", &shell);
        }
        for (number, cable) in spec.cables.iter().enumerate() {
            attach(&mut qemu, number, cable);
        }
        if let Some(stick) = spec.stick {
            qemu.arg("-blockdev").arg(stick_drive(stick).to_string());
            qemu.arg("-device").arg(stick_device().to_string());
        }
        if spec.watchdog {
            qemu.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        if let Some(tpm) = spec.tpm {
            qemu.arg("-chardev").arg(option("socket,id=tpm,path=", &tpm.socket, ""));
            qemu.args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm"]);
        }
        if let Some(frozen) = spec.frozen {
            qemu.arg("-incoming").arg(option("exec:cat ", &frozen.memory(), ""));
        }
        let process = qemu.stdin(Stdio::null()).spawn().expect("qemu-system-x86_64 starts: is it installed?");
        let console = Terminal::open(&serial);
        let shell = (spec.firmware == Firmware::Direct).then(|| Shell::new(Terminal::open(&shell)));
        let machine = Self { process, console, shell, monitor };
        // What is said to it before it has its memory is forgotten.
        while spec.frozen.is_some()
            && machine.monitor(&json!({"execute": "query-status"}))["status"] != "running"
        {
            std::thread::sleep(Duration::from_millis(100));
        }
        machine
    }

    /// The shell of a directly started kernel.
    pub fn shell(&mut self) -> &mut Shell {
        self.shell.as_mut().expect("only a directly started kernel has a shell")
    }

    /// The power fails, at this instant.
    pub fn cut_power(mut self) {
        self.end();
    }

    /// Waits until the machine ended by itself (a restart ends it, too).
    pub fn wait_for_end(mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if self.process.try_wait().is_ok_and(|s| s.is_some()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        eprintln!("the machine does not end; its screen:\n{}", self.console.text());
        false
    }

    /// A picture of the VGA screen, as PPM.
    pub fn picture(&self, to: &Path) -> Vec<u8> {
        self.monitor(&json!({"execute": "screendump", "arguments": {"filename": to}}));
        fs::read(to).expect("QEMU wrote a picture")
    }

    /// Stops it and writes its memory to a file; what is on its disk belongs to that.
    pub(crate) fn freeze(self, to: &Path) {
        let no_limit = i64::MAX;
        self.monitor(&json!({"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": no_limit}}));
        let uri = format!("exec:cat >{}", to.display());
        self.monitor(&json!({"execute": "migrate", "arguments": {"uri": uri}}));
        loop {
            let state = self.monitor(&json!({"execute": "query-migrate"}));
            match state["status"].as_str() {
                Some("completed") => return,
                Some("failed" | "cancelled") => panic!("the machine cannot be frozen: {state}"),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Pulls the stick out of the USB port and puts another one in.
    pub fn change_stick(&self, stick: &Stick) {
        self.monitor(&json!({"execute": "device_del", "arguments": {"id": STICK}}));
        let until = Instant::now() + Duration::from_secs(60);
        // The box has to let go of it first.
        while let Err(why) =
            self.try_monitor(&json!({"execute": "blockdev-del", "arguments": {"node-name": STICK}}))
        {
            assert!(Instant::now() < until, "the stick does not go out: {why}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.monitor(&json!({"execute": "blockdev-add", "arguments": stick_drive(stick)}));
        self.monitor(&json!({"execute": "device_add", "arguments": stick_device()}));
    }

    /// Has QEMU do something (QMP).
    pub fn monitor(&self, command: &Value) -> Value {
        self.try_monitor(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    fn try_monitor(&self, command: &Value) -> Result<Value, Value> {
        let mut line = terminal::connect(&self.monitor);
        let mut answers = BufReader::new(line.try_clone().expect("a second handle")).lines();
        let mut ask = |request: &Value| {
            writeln!(line, "{request}").expect("QEMU listens");
            loop {
                let answer = answers.next().expect("QEMU answers").expect("QEMU answers");
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                if let Some(error) = answer.get("error") {
                    return Err(error.clone());
                }
                if let Some(value) = answer.get("return") {
                    return Ok(value.clone());
                }
            }
        };
        ask(&json!({"execute": "qmp_capabilities"}))?;
        ask(command)
    }

    fn end(&mut self) {
        // SIGKILL: nothing is written any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the machine's screen at the end:\n{}", self.console.text());
        }
        self.end();
    }
}

/// What QEMU calls the stick, and the folder behind it.
const STICK: &str = "stick";

fn stick_drive(stick: &Stick) -> Value {
    json!({"driver": "vvfat", "node-name": STICK, "dir": stick.folder, "label": "REMPART", "fat-type": 16, "read-only": true})
}

fn stick_device() -> Value {
    json!({"driver": "usb-storage", "id": STICK, "bus": "usb.0", "drive": STICK})
}

fn option(before: &str, path: &Path, after: &str) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text.push(after);
    text
}

fn socket_line(qemu: &mut Command, kind: &str, path: &Path) {
    qemu.arg(format!("-{kind}")).arg(option("unix:", path, ",server=on,wait=on"));
}

fn firmware(qemu: &mut Command, image: &Image, scratch: &Scratch, name: &str, spec: &Spec) {
    // What the host's cache holds is on the disk, as far as a killed QEMU is concerned.
    qemu.arg("-drive").arg(option("if=none,id=disk,format=raw,cache=unsafe,file=", &spec.disk.path, ""));
    match spec.firmware {
        Firmware::Uefi => uefi(qemu, OVMF, &scratch.at(&format!("{name}.vars")), spec),
        Firmware::Secure(enrolled) => {
            let variables = match enrolled {
                Enrolled::Ours => ENROLLED_OURS,
                Enrolled::Foreign => ENROLLED_FOREIGN,
            };
            qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
            uefi(qemu, (OVMF_SECURE, variables), &scratch.at(&format!("{name}.{enrolled:?}.vars")), spec);
        }
        // The controller of most boxes.
        Firmware::Bios => _ = qemu.args(["-device", "ide-hd,drive=disk,bus=ide.0,bootindex=0"]),
        Firmware::Direct => {
            let initrd = scratch.at(&format!("{name}.initrd"));
            fs::write(&initrd, initrd_with_shell(image)).expect("a file of our own");
            let cmdline = fs::read_to_string(image.file("cmdline")).expect("the image's command line");
            qemu.args(["-device", &format!("{},drive=disk", bus(spec))]);
            qemu.arg("-kernel").arg(image.file("vmlinuz")).arg("-initrd").arg(initrd);
            qemu.args(["-append", &format!("{cmdline} rdinit=/test/init {EMULATED} {}", spec.words)]);
        }
    }
}

/// UEFI of this code, whose variables are kept in a file that begins as a copy.
fn uefi(qemu: &mut Command, (code, variables): (&str, &str), kept: &Path, spec: &Spec) {
    if !kept.exists() {
        fs::copy(variables, kept).expect("the package ovmf is installed");
    }
    qemu.args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={code}")]);
    qemu.arg("-drive").arg(option("if=pflash,format=raw,file=", kept, ""));
    qemu.args(["-device", &format!("{},drive=disk,bootindex=0", bus(spec))]);
}

/// What the disk that the machine starts from hangs on.
fn bus(spec: &Spec) -> &'static str {
    if spec.on_usb { "usb-storage,bus=usb.0" } else { "virtio-blk-pci" }
}

/// Port `number` is at PCI slot 16 + number, so that it has a name that can be known.
fn attach(qemu: &mut Command, number: usize, cable: &Cable) {
    let _ = fs::remove_file(&cable.machine);
    let (own, other) = (cable.machine.display(), cable.other.display());
    qemu.args([
        "-netdev",
        &format!("dgram,id=n{number},local.type=unix,local.path={own},remote.type=unix,remote.path={other}"),
        "-device",
        &format!(
            "virtio-net-pci,netdev=n{number},addr={:#x},mac={},romfile=",
            16 + number,
            mac(&cable.machine, number)
        ),
    ]);
}

/// A MAC that no other machine of the test has.
fn mac(socket: &Path, number: usize) -> String {
    let sum =
        socket.as_os_str().as_encoded_bytes().iter().fold(7u32, |a, b| a.wrapping_mul(31) ^ u32::from(*b));
    let [_, b, c, d] = sum.to_be_bytes();
    format!("52:54:{b:02x}:{c:02x}:{d:02x}:{number:02x}")
}

/// The image's initial file system, and behind it one more: what is unpacked last is added.
fn initrd_with_shell(image: &Image) -> Vec<u8> {
    const INIT: &str = include_str!("../guest/init");
    const UNIT: &str = include_str!("../guest/shell.service");
    let mut all = fs::read(image.file("initrd")).expect("the image's initial file system");
    all.resize(all.len().next_multiple_of(4), 0);
    let folder = 0o040_755;
    entry(&mut all, "test", folder, b"");
    entry(&mut all, "test/init", 0o100_755, INIT.as_bytes());
    entry(&mut all, "test/shell.service", 0o100_644, UNIT.as_bytes());
    entry(&mut all, "TRAILER!!!", 0, b"");
    all
}

/// One file of a cpio archive in the form newc (Documentation/driver-api/early-userspace/buffer-format.rst).
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let size = u32::try_from(data.len()).expect("short");
    let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, u32::try_from(name.len() + 1).expect("short"), 0];
    archive.extend(b"070701");
    fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
