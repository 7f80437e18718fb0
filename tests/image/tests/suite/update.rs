//! Updates on the real disk: one that is good, one that cannot start, and the power fails in the middle.
//!
//! `make test-image` builds a second image with a higher version for this. What is to be installed comes on a stick that is put in while
//! the box runs; what follows is started by UEFI, and by GRUB, from a copy of the disk each.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rempart_image_tests::{BOOT, Disk, Firmware, Image, Machine, SOON, Shell, Stick};
use rempart_update::manifest::{Content, Description, Draft, Head, SigningKey};
use rempart_update::{Part, Version};
use sha2::{Digest as _, Sha256};

use crate::{Site, image};

/// The version of the second image.
const NEXT: &str = "0.1.1";
/// The version of an update that cannot start.
const BAD: &str = "0.1.2";
/// Longest probation, and as much again for a busy machine.
const PROBATION: Duration = Duration::from_secs(600);
/// The program of updates is there a little later than the document's revision.
const STATUS: &str = "until rempart --lang en update status; do sleep 2; done";
/// How often the power fails while an update is installed.
const CUTS: u32 = 4;

/// The image, and the one with the higher version.
pub fn images() -> Option<(Image, Image)> {
    let image = image()?;
    let next = image.version(NEXT);
    if next.is_none() {
        eprintln!("skipped: there is no second image (make test-image builds it)");
    }
    Some((image, next?))
}

/// A new box, and a stick with this update file.
fn offered(image: &Image, update: &[u8]) -> (Site, Stick) {
    let site = Site::new(image);
    let stick = Stick { folder: site.scratch.at("stick-update") };
    fs::create_dir(&stick.folder).expect("a folder of our own");
    fs::write(stick.folder.join("next.update"), update).expect("a file of our own");
    (site, stick)
}

/// What the console says to a verb of updates, which must end well.
#[track_caller]
pub fn update(shell: &mut Shell, verb: &str) -> String {
    let (code, said) =
        shell.try_run(&format!("rempart --lang en update {verb}"), PROBATION).expect("an answer");
    assert_eq!(code, 0, "{verb}: {said}");
    said
}

/// A box that runs, whose user puts the stick in; the update is installed, and the box ends to start it.
#[track_caller]
fn installed(image: &Image, bytes: &[u8]) -> Site {
    let (site, stick) = offered(image, bytes);
    let machine = site.first();
    machine.change_stick(&stick);
    install(machine);
    site
}

#[track_caller]
fn install(mut machine: Machine) {
    let shell = machine.shell();
    let found = "until rempart update files | grep -q next.update; do sleep 1; done";
    shell.try_run(found, SOON).expect("the stick is found");
    assert!(update(shell, "check next.update").contains("signed for this box"));
    assert!(update(shell, "install next.update").contains("ready"));
    shell.start("rempart --lang en update restart");
    assert!(machine.wait_for_end(SOON * 2), "the box does not start again");
}

/// Waits until the console of a box says all this about updates, and asks again: their program is the last one to start.
#[track_caller]
fn told(machine: &Machine, words: &[&str]) {
    let begun = Instant::now();
    loop {
        machine.console.send(":update status\r");
        std::thread::sleep(Duration::from_secs(10));
        let text = machine.console.text();
        if words.iter().all(|word| text.contains(word)) {
            return;
        }
        assert!(begun.elapsed() < SOON, "{words:?} is not on the screen:\n{text}");
        machine.console.send("\x1b");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits until the EFI system partition of a running box is whole: something may just be written.
#[track_caller]
fn await_whole(site: &Site) {
    let (begun, partition) = (Instant::now(), site.scratch.at("esp"));
    loop {
        let mut bytes = site.disk.read("rempart-esp");
        // While it is mounted its own head calls it dirty (FAT32 boot sector, `BS_Reserved1`, and its copy in sector 6).
        for head in [0, 6 * 512] {
            bytes[head + 65] = 0;
        }
        fs::write(&partition, bytes).expect("room for a partition");
        let checked =
            Command::new("fsck.vfat").arg("-n").arg(&partition).output().expect("fsck.vfat is installed");
        if checked.status.success() {
            return;
        }
        let found = String::from_utf8_lossy(&checked.stdout);
        assert!(begun.elapsed() < SOON, "the EFI system partition: {found}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

#[test]
#[ignore = "long: make test-image"]
fn an_update_that_cannot_start_comes_back_by_itself() {
    // Signed and damaged: each of three tries ends in a restart, the fourth start is the old version, which says what happened. UEFI finds
    // the kernel and the kernel no root; GRUB does not even find the kernel, because the entry is that of another version.
    let Some((image, next)) = images() else { return };
    by_each_firmware(&installed(&image, &damaged(&next)), |firmware, site| {
        let spec = site.spec(firmware);
        for attempt in 1..=3 {
            let machine = site.start(&spec);
            assert!(machine.wait_for_end(BOOT), "{firmware:?}: try {attempt} does not end");
        }
        let machine = site.up(&spec);
        let runs = format!("Rempart {} runs", env!("CARGO_PKG_VERSION"));
        told(&machine, &[&runs, "did not start"]);
        await_whole(site);
        let kernels = kernels(&site.disk);
        let spent = kernels.iter().any(|name| name.starts_with(&format!("rempart_{BAD}+0")));
        assert!(spent || firmware != Firmware::Uefi, "{kernels:?}");
    });
}

#[test]
#[ignore = "long: make test-image"]
fn an_update_that_is_interrupted_harms_nothing_and_one_that_is_not_proves_itself_and_stays() {
    // SIGKILL at any moment of an installation; each time the old version is the one that would be started, and starts, with an
    // EFI system partition that is whole. In the end the update goes through: started by UEFI and by BIOS, judged by itself and
    // by nobody else, and blessed.
    let Some((image, next)) = images() else { return };
    let (site, stick) = offered(&image, &fs::read(next.file("update")).expect("the update"));
    let spec = site.spec(Firmware::Direct).stick(&stick);
    let mut machine = site.first();
    machine.change_stick(&stick);
    for cut in 1..=CUTS {
        let shell = machine.shell();
        shell.start("rempart --lang en update install next.update >/run/install 2>&1 & installer=$!");
        // As far as it has come by this share of its bytes, wherever the machine's speed puts that moment.
        let share = cut * 100 / (CUTS + 1);
        let reached = format!(
            "n() {{ grep -o \"\\\"$1\\\": *[0-9]*\" /run/u | grep -o '[0-9]*$' || echo 0; }}
             until rempart --json update status >/run/u 2>/dev/null; [ $(n all_bytes) -gt 0 ] &&
             [ $(($(n done_bytes) * 100)) -ge $(($(n all_bytes) * {share})) ]; do
             kill -0 $installer 2>/dev/null || {{ cat /run/install; break; }}; sleep 2; done; kill -0 $installer"
        );
        let (code, said) = shell.try_run(&reached, PROBATION).expect("an answer");
        assert_eq!(code, 0, "cut {cut}: nothing is installed any more: {said}");
        machine.cut_power();
        let found = kernels(&site.disk);
        eprintln!("cut {cut} at {share} %: {found:?}");
        // What is staged has a name that no firmware looks for.
        assert_eq!(found, [own_kernel()], "cut {cut}");
        machine = site.up(&spec);
        let said = machine.shell().run(STATUS);
        await_whole(&site);
        assert!(said.contains(&format!("Rempart {} runs", env!("CARGO_PKG_VERSION"))), "cut {cut}: {said}");
    }
    install(machine);
    assert_eq!(kernels(&site.disk), [format!("rempart_{NEXT}+3.efi"), own_kernel()]);
    by_each_firmware(&site, |firmware, site| {
        let machine = site.up(&site.spec(firmware));
        await_updated(&site.disk);
        let words = [format!("Rempart {NEXT} runs"), format!("{NEXT} has proved itself,")];
        told(&machine, &words.each_ref().map(String::as_str));
        await_whole(site);
    });
}

/// Two more boxes with what is on the disk of this one, and what is to be seen on each: one started by UEFI, one by BIOS.
fn by_each_firmware(site: &Site, see: impl Fn(Firmware, &Site) + Sync) {
    let see = &see;
    std::thread::scope(|scope| {
        for firmware in [Firmware::Uefi, Firmware::Bios] {
            scope.spawn(move || see(firmware, &site.twin()));
        }
    });
}

/// An update with the parts of the second image, one block of its root file system changed, and a good signature.
fn damaged(next: &Image) -> Vec<u8> {
    let bytes = fs::read(next.file("update")).expect("the update");
    let head = Head::read(&bytes).expect("an update").expect("whole");
    let root = usize::try_from(head.claims().part(Part::Root).bytes).expect("short");
    let mut parts = bytes[head.length()..].to_vec();
    // The superblock of erofs: nothing is mounted without it.
    parts[1024..1536].fill(0x5a);
    let mut description =
        Description { version: Version::new(BAD).expect("a version"), ..head.claims().clone() };
    description.parts[0] = Content { bytes: root as u64, sha256: Sha256::digest(&parts[..root]).into() };
    let key = next.file("raw").with_file_name("..").join("throw-away.key");
    let key =
        SigningKey::from_pkcs8(&fs::read(&key).expect("the key of the image for tests")).expect("a key");
    let mut bad = Draft(description).sign(&[key]).expect("a head");
    bad.extend(parts);
    bad
}

fn own_kernel() -> String {
    format!("rempart_{}.efi", env!("CARGO_PKG_VERSION"))
}

/// Waits until the new version has proved itself: its kernel has no counter any more.
#[track_caller]
pub fn await_updated(disk: &Disk) {
    let (begun, wanted) = (Instant::now(), [format!("rempart_{NEXT}.efi"), own_kernel()]);
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
        let bytes = disk.read("rempart-esp");
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
