//! Which disk is meant and which may be taken, by tables; and a machine with a stick, four disks and a drive for discs, as sysfs
//! shows it.

use super::*;

fn disk(name: &str, model: &str, serial: &str) -> Seen {
    Seen {
        name: name.into(),
        model: model.into(),
        serial: serial.into(),
        bytes: 16_013_942_784,
        ..Seen::default()
    }
}

#[test]
fn a_disk_is_taken_only_where_it_is_clear_which_one_is_meant_and_nothing_is_lost_unasked() {
    let stick = disk("sda", "Ultra Fit", "4C53");
    let ssd = disk("sdb", "SSD 870", "S5Y1");
    let bare = disk("vda", "", "");
    let twin = disk("sdc", "SSD 870", "S5Y2");
    let small = Seen { bytes: 1_000_000_000, ..disk("sdd", "CF card", "C1") };
    let locked = Seen { read_only: true, ..disk("sde", "Locked", "L1") };
    let used = Seen { used: Some("sdf2 is mounted on /srv".into()), ..disk("sdf", "Used", "U1") };
    let box_of_before = Seen { carries: true, ..disk("sdg", "Old box", "B1") };
    let all = [&stick, &ssd, &bare, &small, &locked, &used, &box_of_before].map(Clone::clone);
    let one = [stick.clone(), ssd.clone()];
    let brought = [stick.clone(), Seen { brings: true, ..disk("sdh", "Documents", "D1") }, ssd.clone()];
    let twins = [stick.clone(), ssd.clone(), twin];
    let named = |names: &[&str], wanted: &str| Choice::Several {
        wanted: wanted.into(),
        names: names.iter().map(ToString::to_string).collect(),
    };
    let unfit = |name: &str, why| Err(Choice::Unfit(name.into(), why));
    type Case<'a> = (&'a [Seen], &'a str, Option<&'a str>, Result<&'a str, Choice>);
    let table: &[Case] = &[
        (&one, "only", None, Ok("sdb")),
        // A second stick, which brought the order, is no disk of the box.
        (&brought, "only", None, Ok("sdb")),
        (&one, "sdb", None, Ok("sdb")),
        (&one, "S5Y1", None, Ok("sdb")),
        (&one, "SSD 870", None, Ok("sdb")),
        (&one, "sdb", Some("SSD 870"), Ok("sdb")),
        (&one, "sdb", Some("SSD 860"), Err(Choice::Answer { name: "sdb".into(), answer: "SSD 870".into() })),
        (&all, "vda", Some("16 GB"), Ok("vda")),
        (&one, "", None, Err(Choice::None(String::new()))),
        (&one, "sdz", None, Err(Choice::None("sdz".into()))),
        (&one, "sda", None, Err(Choice::Stick("sda".into()))),
        (&one, "Ultra Fit", Some("Ultra Fit"), Err(Choice::Stick("sda".into()))),
        (&one[..1], "only", None, Err(Choice::NoDisk)),
        (&twins, "only", None, Err(named(&["sdb", "sdc"], "only"))),
        (&twins, "SSD 870", None, Err(named(&["sdb", "sdc"], "SSD 870"))),
        (&twins, "S5Y2", None, Ok("sdc")),
        (&all, "sdd", Some("CF card"), unfit("sdd", Unfit::Small(1_000_000_000))),
        (&all, "sde", None, unfit("sde", Unfit::ReadOnly)),
        (&all, "sdf", None, unfit("sdf", Unfit::InUse("sdf2 is mounted on /srv".into()))),
        // Somebody who types its name may write an installed box over; a stick that was forgotten may not.
        (&all, "sdg", Some("Old box"), Ok("sdg")),
        (&all, "sdg", None, Err(Choice::Carries("sdg".into()))),
    ];
    for (disks, wanted, answer, expected) in table {
        let chosen = choose(disks, "sda", wanted, *answer).map(|disk| disk.name.as_str());
        assert_eq!(chosen, expected.clone(), "{wanted} {answer:?}");
    }
}

/// A sysfs, procfs and udev of a machine.
struct Machine(PathBuf);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(std::env::temp_dir().join(format!("rempart-disks-{}", std::process::id())));
        for (path, text) in files {
            let path = machine.0.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of our own");
            fs::write(path, text).expect("our file");
        }
        machine
    }

    fn places(&self) -> Places {
        Places { sys: self.0.join("sys"), proc: self.0.join("proc"), udev: self.0.join("udev") }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_disks_of_a_machine_are_seen_with_what_is_on_them_and_who_uses_them() {
    let machine = Machine::new(&[
        ("sys/block/sda/size", "15654912\n"),
        ("sys/block/sda/dev", "8:0\n"),
        ("sys/block/sda/device/model", "Ultra Fit       \n"),
        ("sys/block/sda/sda3/partition", "3\n"),
        ("sys/block/sda/sda3/dev", "8:3\n"),
        ("sys/block/sda/sda3/holders/dm-0/dm/name", "root\n"),
        ("udev/b8:0", "N:sda\nE:ID_SERIAL_SHORT=4C53\nE:ID_PART_TABLE_TYPE=gpt\n"),
        ("sys/block/nvme0n1/size", "468862128\n"),
        ("sys/block/nvme0n1/dev", "259:0\n"),
        ("sys/block/nvme0n1/device/model", "INTEL SSDPEKKW256G7                     \n"),
        ("sys/block/nvme0n1/device/serial", "BTPY7301\u{1b}[2J\n"),
        ("sys/block/nvme0n1/nvme0n1p10/partition", "10\n"),
        ("sys/block/nvme0n1/nvme0n1p10/dev", "259:10\n"),
        ("sys/block/nvme0n1/nvme0n1p2/partition", "2\n"),
        ("sys/block/nvme0n1/nvme0n1p2/dev", "259:2\n"),
        ("udev/b259:2", "E:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=data\n"),
        ("udev/b259:10", "E:ID_PART_ENTRY_NAME=EFI\nE:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=EFI\n"),
        ("sys/block/vda/size", "4194304\n"),
        ("sys/block/vda/dev", "254:0\n"),
        ("sys/block/vda/ro", "1\n"),
        ("sys/block/vda/serial", "disk1"),
        ("sys/block/vda/device/vendor", "0x1af4\n"),
        ("sys/block/vda/vda1/partition", "1\n"),
        ("sys/block/vda/vda1/uevent", "DEVNAME=vda1\nPARTNAME=rempart-esp\n"),
        ("sys/block/sdb/size", "1032192\n"),
        ("sys/block/sdb/dev", "8:16\n"),
        ("sys/block/sdb/device/model", "Documents\n"),
        ("sys/block/sdb/sdb1/partition", "1\n"),
        ("sys/block/sdb/sdb1/dev", "8:17\n"),
        ("udev/b8:17", "E:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=REMPART\n"),
        ("sys/block/vdb/size", "0\n"),
        ("sys/block/vdb/device/vendor", "0x1af4\n"),
        ("sys/block/sr0/size", "2097152\n"),
        ("sys/block/sr0/device/model", "DVD\n"),
        ("sys/block/mmcblk0boot0/size", "8192\n"),
        ("sys/block/mmcblk0boot0/device/name", "eMMC\n"),
        ("sys/block/dm-0/size", "212992\n"),
        (
            "proc/self/mountinfo",
            "30 22 259:2 / /srv\\040x rw - ext4 /dev/x rw\n31 22 0:24 / /tmp rw - tmpfs tmpfs rw\n",
        ),
        ("proc/swaps", "Filename Type Size Used Priority\n/dev/nvme0n1p10 partition 1 0 -2\n"),
    ]);
    let seen = observe(&machine.places()).expect("it is read");
    let (mb, gb) = (1_000_000, 1_000_000_000);
    assert_eq!(seen.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["nvme0n1", "sda", "sdb", "vda"]);
    let [nvme, stick, documents, virtio] = seen.as_slice() else { unreachable!("four") };
    assert!(documents.brings && !stick.brings && !nvme.brings);
    assert_eq!(
        (nvme.model.as_str(), nvme.serial.as_str(), nvme.bytes / gb),
        ("INTEL SSDPEKKW256G7", "BTPY7301?[2J", 240)
    );
    assert_eq!(nvme.holds, ["nvme0n1p2 ext4 data", "nvme0n1p10 EFI vfat"]);
    assert_eq!(nvme.unfit(), Some(Unfit::InUse("nvme0n1p2 is mounted on /srv\\040x".into())));
    assert_eq!((stick.serial.as_str(), stick.used.as_deref()), ("4C53", Some("root is made of sda3")));
    assert_eq!((virtio.serial.as_str(), virtio.answer().as_str(), virtio.carries), ("disk1", "2 GB", true));
    assert_eq!(virtio.bytes / mb, 2147);
    assert_eq!((virtio.unfit(), virtio.holds.as_slice()), (Some(Unfit::ReadOnly), &["vda1".to_owned()][..]));
}
