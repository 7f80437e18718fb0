//! Updates on the real disk: one that is good, one that cannot start, and the power fails in the middle.
//!
//! `make test-image` builds a second image with a higher version for this. What is to be installed comes on the stick, by the
//! shell of a directly started kernel; what follows is started by UEFI, or by GRUB, from the disk alone.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rempart_image_tests::{BOOT, Cable, Disk, Firmware, Image, Machine, SOON, Scratch, Spec, Stick};
use rempart_update::manifest::{Content, Description, Draft, Head, SigningKey};
use rempart_update::{Part, Version};
use sha2::{Digest as _, Sha256};

use crate::{DOCUMENT, cables, image};

/// The version of the second image.
const NEXT: &str = "0.1.1";
/// Longest probation, and as much again for a busy machine.
const PROBATION: Duration = Duration::from_secs(600);
/// How often the power fails; `REMPART_CUTS` says otherwise.
const CUTS: u32 = 4;

/// The update file of the second image, if it was built.
fn update(image: &Image) -> Option<PathBuf> {
    let path = image.file("raw").with_file_name(format!("rempart-{NEXT}.update"));
    if !path.is_file() {
        eprintln!("skipped: there is no second image (make test-image builds it)");
        return None;
    }
    Some(path)
}

fn spec<'a>(firmware: Firmware, disk: &'a Disk, stick: Option<&'a Stick>, cables: &'a [Cable]) -> Spec<'a> {
    let spec = Spec::new(firmware, disk).cables(cables);
    match stick {
        Some(stick) => spec.stick(stick),
        None => spec,
    }
}

/// A disk with the document of the stick, and the machine that it was made in.
fn installed<'a>(
    image: &Image,
    scratch: &Scratch,
    disk: &'a Disk,
    stick: &'a Stick,
    cables: &'a [Cable],
) -> Machine {
    let machine = Machine::start(image, scratch, "fw", &spec(Firmware::Direct, disk, Some(stick), cables));
    machine.console.expect("revision 1", BOOT);
    machine
}

#[test]
#[ignore = "long: make test-image"]
fn an_update_proves_itself_and_stays_by_uefi_and_by_bios() {
    // An update on the stick in; it is verified, installed, started, judged and blessed, and the box says so. Both firmwares.
    let Some((image, update)) = image().and_then(|image| Some((image.clone(), update(&image)?))) else {
        return;
    };
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        let scratch = Scratch::new();
        let disk = Disk::flashed(&image, &scratch);
        let stick = Stick::new(&scratch, "fw", DOCUMENT);
        fs::copy(&update, stick.folder.join("next.update")).expect("a file of our own");
        let cables = cables(&scratch);
        let mut machine = installed(&image, &scratch, &disk, &stick, &cables);
        let shell = machine.shell();
        assert!(shell.run("rempart --lang en update files").contains(NEXT));
        let (code, said) =
            shell.try_run("rempart --lang en update check next.update", PROBATION).expect("an answer");
        assert!(code == 0 && said.contains("signed for this box"), "{said}");
        let (code, said) =
            shell.try_run("rempart --lang en update install next.update", PROBATION).expect("an answer");
        assert!(code == 0 && said.contains("ready"), "{said}");
        shell.start("rempart --lang en update restart");
        assert!(machine.wait_for_end(SOON * 2), "the box does not start again");
        assert_eq!(kernels(&disk), [format!("rempart_{NEXT}+3.efi"), own_kernel()]);

        let machine = Machine::start(&image, &scratch, "fw", &spec(firmware, &disk, None, &cables));
        machine.console.expect("revision 1", BOOT);
        await_kernels(&disk, &[format!("rempart_{NEXT}.efi"), own_kernel()]);
        machine.cut_power();
        // It is what starts from now on.
        let machine = Machine::start(&image, &scratch, "fw", &spec(firmware, &disk, None, &cables));
        machine.console.expect("revision 1", BOOT);
    }
}

#[test]
#[ignore = "long: make test-image"]
fn an_update_that_cannot_start_comes_back_by_itself() {
    // Signed and damaged: each of three tries ends in a restart, the fourth start is the old version, which says what happened.
    let Some((image, update)) = image().and_then(|image| Some((image.clone(), update(&image)?))) else {
        return;
    };
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        let scratch = Scratch::new();
        let disk = Disk::flashed(&image, &scratch);
        let stick = Stick::new(&scratch, "fw", DOCUMENT);
        fs::write(stick.folder.join("bad.update"), damaged(&image, &update)).expect("a file of our own");
        let cables = cables(&scratch);
        let mut machine = installed(&image, &scratch, &disk, &stick, &cables);
        let shell = machine.shell();
        let (code, said) =
            shell.try_run("rempart --lang en update install bad.update", PROBATION).expect("an answer");
        assert_eq!(code, 0, "{said}");
        shell.start("rempart update restart");
        assert!(machine.wait_for_end(SOON * 2), "the box does not start again");
        for attempt in 1..=3 {
            let machine = Machine::start(&image, &scratch, "fw", &spec(firmware, &disk, None, &cables));
            assert!(machine.wait_for_end(BOOT), "try {attempt} does not end");
        }
        let machine = Machine::start(&image, &scratch, "fw", &spec(firmware, &disk, None, &cables));
        machine.console.expect("revision 1", BOOT);
        machine.cut_power();
        let mut machine =
            Machine::start(&image, &scratch, "fw", &spec(Firmware::Direct, &disk, None, &cables));
        machine.console.expect("revision 1", BOOT);
        let said = machine.shell().run("rempart --lang en update status");
        assert!(said.contains(&format!("Rempart {} runs", env!("CARGO_PKG_VERSION"))), "{said}");
        assert!(said.contains("did not start"), "{said}");
        if firmware == Firmware::Uefi {
            assert!(
                kernels(&disk).iter().any(|name| name.starts_with("rempart_0.1.2+0")),
                "{:?}",
                kernels(&disk)
            );
        }
    }
}

#[test]
#[ignore = "long: make test-image"]
fn a_power_cut_in_the_middle_of_an_update_harms_nothing() {
    // SIGKILL at any moment of an installation; each time the old version starts, and in the end the update goes through.
    let Some((image, update)) = image().and_then(|image| Some((image.clone(), update(&image)?))) else {
        return;
    };
    let scratch = Scratch::new();
    let disk = Disk::flashed(&image, &scratch);
    let stick = Stick::new(&scratch, "fw", DOCUMENT);
    fs::copy(&update, stick.folder.join("next.update")).expect("a file of our own");
    let cables = cables(&scratch);
    let cuts = std::env::var("REMPART_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(CUTS);
    let mut machine = installed(&image, &scratch, &disk, &stick, &cables);
    for cut in 1..=cuts {
        machine.shell().start("rempart update install next.update");
        // Spread over the whole installation.
        std::thread::sleep(Duration::from_millis(u64::from(500 + 7919 * cut % 20_000)));
        machine.cut_power();
        eprintln!("cut {cut}: {:?}", kernels(&disk));
        let started = Machine::start(&image, &scratch, "fw", &spec(Firmware::Uefi, &disk, None, &cables));
        started.console.expect("revision 1", BOOT);
        started.cut_power();
        machine =
            Machine::start(&image, &scratch, "fw", &spec(Firmware::Direct, &disk, Some(&stick), &cables));
        machine.console.expect("revision 1", BOOT);
        let said = machine.shell().run("until rempart --lang en update status; do sleep 1; done");
        assert!(said.contains(&format!("Rempart {} runs", env!("CARGO_PKG_VERSION"))), "{said}");
    }
    let said = machine
        .shell()
        .try_run("rempart --lang en update install next.update", PROBATION)
        .expect("an answer");
    assert_eq!(said.0, 0, "{}", said.1);
}

/// An update with the parts of the second image, one block of its root file system changed, and a good signature.
fn damaged(image: &Image, update: &PathBuf) -> Vec<u8> {
    let bytes = fs::read(update).expect("the update");
    let head = Head::read(&bytes).expect("an update").expect("whole");
    let root = usize::try_from(head.claims().part(Part::Root).bytes).expect("short");
    let mut parts = bytes[head.length()..].to_vec();
    // The superblock of erofs: nothing is mounted without it.
    parts[1024..1536].fill(0x5a);
    let mut description =
        Description { version: Version::new("0.1.2").expect("a version"), ..head.claims().clone() };
    description.parts[0] = Content { bytes: root as u64, sha256: Sha256::digest(&parts[..root]).into() };
    let key = image.file("raw").with_file_name("..").join("throw-away.key");
    let key =
        SigningKey::from_pkcs8(&fs::read(&key).expect("the key of the image for tests")).expect("a key");
    let mut bad = Draft(description).sign(&[key]).expect("a head");
    bad.extend(parts);
    bad
}

fn own_kernel() -> String {
    format!("rempart_{}.efi", env!("CARGO_PKG_VERSION"))
}

/// Waits until the EFI system partition holds these kernels and no others.
#[track_caller]
fn await_kernels(disk: &Disk, wanted: &[String]) {
    let begun = Instant::now();
    while kernels(disk) != wanted {
        assert!(begun.elapsed() < PROBATION, "{:?} and not {wanted:?}", kernels(disk));
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// The names of the kernels, newest first, as a boot loader reads them from the disk.
fn kernels(disk: &Disk) -> Vec<String> {
    let fat = Fat::open(disk);
    let folder = fat.names(fat.root).into_iter().find(|(name, _)| name == "EFI").expect("EFI").1;
    let folder =
        fat.names(folder).into_iter().find(|(name, _)| name.eq_ignore_ascii_case("Linux")).expect("Linux").1;
    let names = fat.names(folder).into_iter().map(|(name, _)| name);
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".efi")).collect();
    names.sort_by(|a, b| b.cmp(a));
    names
}

/// The folders of a FAT32 file system (Microsoft, "FAT32 File System Specification" 1.03): read, by a reader of our own.
struct Fat {
    bytes: Vec<u8>,
    table: usize,
    data: usize,
    cluster_bytes: usize,
    root: u32,
}

impl Fat {
    /// As much as the folders can take: the build puts them at the beginning, behind the files' tables.
    fn open(disk: &Disk) -> Self {
        let (begin, length) = disk.partition("rempart-esp");
        let mut file = File::open(&disk.path).expect("the disk");
        let mut bytes = vec![0; usize::try_from(length).expect("a small partition")];
        file.seek(SeekFrom::Start(begin)).and_then(|_| file.read_exact(&mut bytes)).expect("the partition");
        let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (sector, reserved, copies) = (two(11), two(14), usize::from(bytes[16]));
        let table = reserved * sector;
        let data = table + copies * four(36) as usize * sector;
        let (cluster_bytes, root) = (usize::from(bytes[13]) * sector, four(44));
        Self { bytes, table, data, cluster_bytes, root }
    }

    /// Names and first clusters of what is in a folder.
    fn names(&self, mut cluster: u32) -> Vec<(String, u32)> {
        let (mut found, mut long) = (Vec::new(), Vec::new());
        while (2..0x0fff_fff8).contains(&cluster) {
            let at = self.data + (cluster as usize - 2) * self.cluster_bytes;
            for entry in self.bytes[at..at + self.cluster_bytes].chunks(32) {
                match (entry[0], entry[11]) {
                    (0, _) => return found,
                    (0xe5, _) => long.clear(),
                    // Thirteen characters, the last ones first.
                    (_, 0x0f) => {
                        let units = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
                        let units = units.chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
                        long.splice(0..0, units.collect::<Vec<_>>());
                    }
                    _ => {
                        let end = long.iter().position(|unit| *unit == 0).unwrap_or(long.len());
                        let short = String::from_utf8_lossy(&entry[..11]).trim_end().to_owned();
                        let name =
                            if long.is_empty() { short } else { String::from_utf16_lossy(&long[..end]) };
                        let low = u32::from(u16::from_le_bytes([entry[26], entry[27]]));
                        let high = u32::from(u16::from_le_bytes([entry[20], entry[21]]));
                        found.push((name, high << 16 | low));
                        long.clear();
                    }
                }
            }
            let next = self.table + cluster as usize * 4;
            cluster =
                u32::from_le_bytes(self.bytes[next..next + 4].try_into().expect("four bytes")) & 0x0fff_ffff;
        }
        found
    }
}
