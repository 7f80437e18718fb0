//! A box that is started from the stick itself: installed by hand and without a person, tried live, kept.

use std::fs;

use rempart_image_tests::{BOOT, Disk, Firmware, Machine, SOON, Spec, Stick};

use crate::setup::first_page;
use crate::whole::refusals;
use crate::{DOCUMENT, Site, image};

/// A box that is started from its stick, with an empty disk of 2 GB beside it, which has no maker's name and is known by its size.
struct Bench {
    site: Site,
    /// The stick as it was flashed.
    flashed: Disk,
    target: Disk,
}

impl Bench {
    fn new() -> Option<Self> {
        let site = Site::new(&image()?);
        let flashed = site.disk.copied(&site.scratch, "flashed.raw");
        let target = Disk::blank(&site.scratch, "target.raw");
        Some(Self { site, flashed, target })
    }

    fn spec(&self, firmware: Firmware) -> Spec<'_> {
        self.site.spec(firmware).on_usb().beside(&self.target)
    }

    /// The disk that was installed on, alone.
    fn installed(&self, firmware: Firmware) -> Spec<'_> {
        Spec::new(firmware, &self.target).cables(&self.site.cables)
    }

    /// A second stick, with a document and an order to install.
    fn order(&self, disk: &str) -> Stick {
        let stick = Stick::new(&self.site.scratch, "fw", DOCUMENT);
        fs::write(stick.folder.join("install"), format!("{disk}\r\n")).expect("a file of our own");
        stick
    }

    fn is_target_blank(&self) -> bool {
        self.target.equals(&Disk::blank(&self.site.scratch, "blank.raw"))
    }
}

fn says(machine: &Machine, text: &str) {
    machine.console.expect(text, SOON);
}

#[test]
#[ignore = "long: make test-image-more"]
fn a_disk_is_installed_from_the_stick_by_hand_and_starts_alone() {
    // The first page, the disk by its size, the copy, a restart; then the disk alone, by UEFI: the set-up of a new box, and the
    // stick has the bytes that it was flashed with.
    let Some(bench) = Bench::new() else { return };
    let mut machine = bench.site.start(&bench.spec(Firmware::Direct));
    first_page(&machine, "STARTED FROM A STICK (sda)");
    machine.console.send("i");
    says(&machine, "vda");
    machine.console.send("\r");
    says(&machine, "EVERYTHING ON vda WILL BE LOST");
    machine.console.send("3 GB\r");
    says(&machine, "nothing is written");
    assert!(bench.is_target_blank());
    machine.console.send("\x152 GB\r");
    machine.console.expect("REMPART IS ON vda", BOOT);
    let shell = machine.shell();
    // The stick itself, and nothing that is typed with a slip, is written to.
    for (verb, why) in
        [("sda --yes", "the stick that the box runs from"), ("sdz --yes", "no disk has the name")]
    {
        let (code, said) = shell.try_run(&format!("rempart install {verb}"), SOON).expect("an answer");
        assert!(code == 1 && said.contains(why), "{verb}: {code} {said}");
    }
    let mounts = shell.run("ls /efi >/dev/null; cat /proc/mounts");
    assert!(mounts.lines().any(|line| line.starts_with("/dev/sda1 /efi vfat ro,")), "{mounts}");
    let refused = refusals(shell);
    assert!(refused.trim().is_empty(), "AppArmor refused: {refused}");
    machine.console.send("\r");
    assert!(machine.wait_for_end(SOON), "the box did not start again");
    assert!(bench.site.disk.equals(&bench.flashed), "the stick was written to");

    let machine = bench.site.start(&bench.installed(Firmware::Uefi));
    first_page(&machine, "THIS BOX HAS NO DOCUMENT YET");
}

#[test]
#[ignore = "long: make test-image-more"]
fn a_stick_with_an_order_installs_without_a_question_and_only_once() {
    // An order that names no disk of this box: told, and nothing written. One that names the only one: the box ends by itself, and its disk
    // comes up with revision 1 and keeps no document in the open. Once more with both sticks forgotten in their ports: the box as it was.
    let Some(bench) = Bench::new() else { return };
    let stick = bench.order("WD-1234");
    let machine = bench.site.start(&bench.spec(Firmware::Direct).stick(&stick));
    machine.console.expect("Unattended installation: nothing is installed", BOOT);
    machine.cut_power();
    assert!(bench.is_target_blank(), "something was written");

    let stick = bench.order("only");
    let machine = bench.site.start(&bench.spec(Firmware::Direct).stick(&stick));
    assert!(machine.wait_for_end(BOOT), "the box did not end by itself");
    assert!(bench.site.disk.equals(&bench.flashed), "the stick was written to");

    let mut machine = bench.site.up(&bench.installed(Firmware::Direct));
    let shell = machine.shell();
    let state = shell.run("grep ' /var ' /proc/mounts; cat /var/lib/rempart/node; ls /efi");
    assert!(state.contains("/dev/mapper/rempart-state") && state.contains("NODE=fw"), "{state}");
    shell.run("while test -e /efi/rempart; do sleep 1; done");
    shell.run("sync");
    machine.cut_power();

    let mut machine = bench.site.up(&bench.spec(Firmware::Direct).stick(&stick));
    let state = machine.shell().run(
        "cat /var/lib/rempart/node; test ! -e /run/rempart/live && dmsetup table root; cat /proc/mounts",
    );
    assert!(state.contains("NODE=fw") && state.contains("/dev/mapper/rempart-state"), "{state}");
    assert!(bench.site.disk.equals(&bench.flashed), "the stick was written to");
}

#[test]
#[ignore = "long: make test-image-more"]
fn the_stick_itself_brings_the_order_and_the_document() {
    // The three files in the folder `rempart` of the stick's EFI system partition, put there by its own first start; the second one
    // installs on the disk by its kernel name and ends, and the disk has revision 1 and the files no more.
    let Some(bench) = Bench::new() else { return };
    let mut machine = bench.site.start(&bench.spec(Firmware::Direct));
    machine.shell().ready(BOOT);
    let shell = machine.shell();
    shell.run("until grep -q ' /efi vfat' /proc/mounts; do ls /efi >/dev/null; sleep 1; done");
    shell.run("mount -o remount,rw /efi && mkdir /efi/rempart");
    shell.run("echo vda >/efi/rempart/install && echo fw >/efi/rempart/node");
    let document = DOCUMENT.replace('\n', "\\n");
    shell.run(&format!("printf '{document}' >/efi/rempart/rempart.toml && mount -o remount,ro /efi && sync"));
    machine.cut_power();

    let before = bench.site.disk.copied(&bench.site.scratch, "before.raw");
    let machine = bench.site.start(&bench.spec(Firmware::Direct));
    assert!(machine.wait_for_end(BOOT), "the box did not end by itself");
    assert!(bench.site.disk.equals(&before), "the stick was written to");

    let mut machine = bench.site.up(&bench.installed(Firmware::Direct));
    let shell = machine.shell();
    assert_eq!(shell.run("cat /var/lib/rempart/node").trim(), "NODE=fw");
    shell.run("while test -e /efi/rempart; do sleep 1; done");
}

#[test]
#[ignore = "long: make test-image-more"]
fn what_is_tried_live_leaves_the_stick_as_it_was() {
    // By UEFI, with a document on a second stick: it is in force, every screen says that nothing is kept, and after an orderly end the
    // stick has the bytes that it was flashed with.
    let Some(bench) = Bench::new() else { return };
    let machine = bench.site.start(&bench.spec(Firmware::Uefi).stick(&bench.site.stick));
    machine.console.expect("revision 1", BOOT);
    says(&machine, "nothing is kept");
    machine.console.send(":install --restart\r");
    assert!(machine.wait_for_end(SOON), "the box did not start again");
    assert!(bench.site.disk.equals(&bench.flashed), "the stick was written to");
    assert!(bench.is_target_blank());
}

#[test]
#[ignore = "long: make test-image-more"]
fn a_stick_that_is_kept_is_the_disk_of_its_box_from_then_on() {
    // `k` and a yes; at its next start the stick has a state as any disk, and no page about it.
    let Some(bench) = Bench::new() else { return };
    let machine = bench.site.start(&bench.spec(Firmware::Direct));
    first_page(&machine, "STARTED FROM A STICK (sda)");
    machine.console.send("k");
    says(&machine, "KEEP REMPART ON THIS STICK");
    machine.console.send("y");
    assert!(machine.wait_for_end(SOON), "the box did not start again");

    let mut machine = bench.site.start(&bench.spec(Firmware::Direct));
    first_page(&machine, "THIS BOX HAS NO DOCUMENT YET");
    let state = machine.shell().run("grep ' /var ' /proc/mounts; ls /efi; grep ' /efi vfat' /proc/mounts");
    assert!(
        state.contains("/dev/mapper/rempart-state") && state.contains("/dev/sda1 /efi vfat rw,"),
        "{state}"
    );
}
