//! The power fails at every instant of an update, on a disk that loses what was not synchronised: some of it, in any order.
//! Afterwards the firmware starts what it finds, and that is always a whole version; and another update goes through.
//!
//! The FAT file system of the model is worse than a real one: names that were not synchronised are kept or lost one by one,
//! and a file that was being renamed may have both names. What it does not have is a torn directory entry: see `esp`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rempart_update::Manifest;
use rempart_update::manifest::{Description, Draft, Head, Part, SigningKey};

use super::*;

const SECTOR: usize = 512;
const SECTORS: usize = 160;

/// A generator of numbers (Marsaglia, "Xorshift RNGs", 2003): the seed names a run.
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The power supply, which fails after so many operations.
#[derive(Clone)]
struct Power(Rc<RefCell<usize>>);

impl Power {
    fn lasting(operations: usize) -> Self {
        Self(Rc::new(RefCell::new(operations)))
    }

    fn draw(&self) -> io::Result<()> {
        let mut left = self.0.borrow_mut();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(())
    }
}

/// A disk with a cache that nobody may rely on.
#[derive(Clone)]
struct Platter {
    kept: Vec<u8>,
    seen: Vec<u8>,
    at: usize,
    power: Power,
}

impl Platter {
    fn after_power_cut(&self, chance: &mut Chance, power: Power) -> Self {
        let mut kept = self.kept.clone();
        for (sector, seen) in kept.chunks_mut(SECTOR).zip(self.seen.chunks(SECTOR)) {
            if chance.coin() {
                sector.copy_from_slice(seen);
            }
        }
        Self { seen: kept.clone(), kept, at: 0, power }
    }
}

impl Read for Platter {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.seen.len() - self.at);
        bytes[..count].copy_from_slice(&self.seen[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for Platter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.power.draw()?;
        // Sector by sector, so that the power fails between any two.
        let count = bytes.len().min(SECTOR - self.at % SECTOR);
        self.seen[self.at..self.at + count].copy_from_slice(&bytes[..count]);
        self.at += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Platter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at as usize,
            SeekFrom::End(back) => (self.seen.len() as i64 + back) as usize,
            SeekFrom::Current(by) => (self.at as i64 + by) as usize,
        };
        Ok(self.at as u64)
    }
}

impl Disk for Platter {
    fn sync(&mut self) -> io::Result<()> {
        self.power.draw()?;
        self.kept.clone_from(&self.seen);
        Ok(())
    }

    fn forget(&mut self, _: u64, _: u64) {}
}

#[derive(Clone, Default)]
struct Bytes {
    kept: Vec<u8>,
    seen: Vec<u8>,
}

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl Change {
    fn folder(&self) -> &str {
        let (Self::Create(path, _) | Self::Rename(_, path, _) | Self::Remove(path)) = self;
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

/// A FAT file system.
#[derive(Clone)]
struct Fat {
    files: Vec<Bytes>,
    kept: BTreeMap<String, usize>,
    seen: BTreeMap<String, usize>,
    changes: Vec<Change>,
    power: Power,
}

impl Fat {
    fn change(&mut self, change: Change) -> io::Result<()> {
        self.power.draw()?;
        change.apply(&mut self.seen);
        self.changes.push(change);
        Ok(())
    }

    fn file(&mut self, path: &str) -> io::Result<&mut Bytes> {
        let file = *self.seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[file])
    }

    fn after_power_cut(&self, chance: &mut Chance, power: Power) -> Self {
        let mut kept = self.kept.clone();
        for change in &self.changes {
            match change {
                // Both names of the one file.
                Change::Rename(_, to, file) if chance.below(3) == 0 => drop(kept.insert(to.clone(), *file)),
                change if chance.coin() => change.apply(&mut kept),
                _ => {}
            }
        }
        let mut files = self.files.clone();
        for file in &mut files {
            let content = match chance.below(3) {
                0 => file.kept.clone(),
                1 => file.seen.clone(),
                // In place and within a sector there is nothing in between.
                _ if file.kept.len() == file.seen.len() => file.kept.clone(),
                _ => file.seen[..chance.below(file.seen.len() + 1)].to_vec(),
            };
            *file = Bytes { seen: content.clone(), kept: content };
        }
        Self { files, seen: kept.clone(), kept, changes: Vec::new(), power }
    }

    fn with(mut self, path: &str, content: &[u8]) -> Self {
        self.files.push(Bytes { kept: content.into(), seen: content.into() });
        self.kept.insert(path.into(), self.files.len() - 1);
        self.seen.clone_from(&self.kept);
        self
    }
}

impl Folders for Fat {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let within = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(self.seen.keys().filter_map(within).collect())
    }

    fn read(&self, path: &str, at: u64, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(file) = self.seen.get(path) else { return Ok(None) };
        let rest = self.files[*file].seen.get(at as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(Some(count))
    }

    fn create(&mut self, path: &str) -> io::Result<()> {
        self.files.push(Bytes::default());
        self.change(Change::Create(path.into(), self.files.len() - 1))
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.power.draw()?;
        self.file(path)?.seen.extend(bytes);
        Ok(())
    }

    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.power.draw()?;
        assert!(bytes.len() <= SECTOR, "more than a disk writes at once");
        self.file(path)?.seen[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.power.draw()?;
        let file = self.file(path)?;
        file.kept.clone_from(&file.seen);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = *self.seen.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.change(Change::Rename(from.into(), to.into(), file))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.change(Change::Remove(path.into()))
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.power.draw()?;
        for change in self.changes.extract_if(.., |change| change.folder() == folder) {
            change.apply(&mut self.kept);
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        Ok(64 << 20)
    }
}

/// A version that was built and signed.
struct Built {
    manifest: Manifest,
    parts: Vec<u8>,
}

impl Built {
    fn new(version: &str, fill: u8) -> Self {
        let parts: [Vec<u8>; 4] =
            [(7 * SECTOR + 9, fill), (SECTOR, fill + 1), (2 * SECTOR, fill + 2), (100, fill + 3)]
                .map(|(length, fill)| vec![fill; length]);
        let content =
            |bytes: &Vec<u8>| Content { bytes: bytes.len() as u64, sha256: Sha256::digest(bytes).into() };
        let description = Description {
            version: Version::new(version).expect("a version"),
            made_unix_s: 1,
            grammar: 2,
            root_hash: [fill; 32],
            parts: [content(&parts[0]), content(&parts[1]), content(&parts[2]), content(&parts[3])],
        };
        let key = SigningKey::generate(&ring::rand::SystemRandom::new()).expect("a key");
        let key = SigningKey::from_pkcs8(&key).expect("a key");
        let public = key.public();
        let head = Draft(description).sign(&[key]).expect("a head");
        let manifest = Head::read(&head).expect("a head").expect("whole").verify(&[public]).expect("signed");
        Self { manifest, parts: parts.concat() }
    }

    fn running(&self) -> Running {
        let description = self.manifest.description();
        Running { version: description.version.clone(), root: RootHash::new(description.root_hash) }
    }

    fn part(&self, part: Part) -> &[u8] {
        let before = Part::ALL.into_iter().take_while(|p| *p != part);
        let begin: u64 = before.map(|p| self.manifest.description().part(p).bytes).sum();
        &self.parts[begin as usize..][..self.manifest.description().part(part).bytes as usize]
    }
}

#[derive(Clone)]
struct Machine {
    disk: Platter,
    fat: Fat,
}

impl Machine {
    /// A box as it was flashed with `first`.
    fn flashed(first: &Built) -> Self {
        let power = Power::lasting(usize::MAX);
        let mut disk = Platter {
            kept: vec![0; SECTORS * SECTOR],
            seen: vec![0; SECTORS * SECTOR],
            at: 0,
            power: power.clone(),
        };
        let ids = first.running().root.guids();
        let empty = [Guid::of_place(9), Guid::of_place(10)];
        let places = [(Guid::ROOT, ids[0], 40, 55), (Guid::VERITY, ids[1], 56, 59)];
        let places =
            places.into_iter().chain([(Guid::ROOT, empty[0], 60, 75), (Guid::VERITY, empty[1], 76, 79)]);
        gpt::format(&mut disk, places).expect("a table");
        for (sector, part) in [(40, Part::Root), (56, Part::Tree)] {
            disk.seek(SeekFrom::Start(sector * SECTOR as u64)).expect("a place");
            disk.write_all(first.part(part)).expect("power");
        }
        disk.sync().expect("power");
        let fat = Fat {
            files: Vec::new(),
            kept: BTreeMap::new(),
            seen: BTreeMap::new(),
            changes: Vec::new(),
            power,
        };
        let mut environment = b"# GRUB Environment Block\ngood=1\n".to_vec();
        environment.resize(1024, b'#');
        let fat = fat
            .with("EFI/Linux/rempart_1.efi", first.part(Part::Kernel))
            .with("EFI/rempart/rempart_1.head", first.manifest.head())
            .with("grub/rempart_1.cfg", first.part(Part::Entry))
            .with("grub/grubenv", &environment);
        Self { disk, fat }
    }

    fn on(&self, power: &Power) -> Self {
        let mut one = self.clone();
        (one.disk.power, one.fat.power) = (power.clone(), power.clone());
        one
    }

    /// Gives itself back in the state of when the power failed, if it did.
    fn update(self, running: &Running, to: &Built) -> (Self, Result<(), SlotError>) {
        let mut slots = match Slots::open(self.disk) {
            Ok(slots) => slots,
            Err(error) => panic!("the table is gone: {error}"),
        };
        let mut esp = Esp::new(self.fat);
        let done = stage(&mut slots, &mut esp, running, &to.manifest, &mut &to.parts[..])
            .and_then(|()| Ok(esp.arm(&running.version).map(drop)?));
        (Self { disk: slots.disk, fat: esp.into_folders() }, done)
    }

    /// What UEFI starts: the newest kernel with tries left, and it must be whole, with its root file system.
    fn start_by_uefi<'a>(&self, known: &[&'a Built]) -> &'a Built {
        let esp = Esp::new(self.fat.clone());
        let mut kernels = esp.kernels().expect("names");
        kernels.sort_by(|a, b| {
            let bad = |kernel: &Kernel| kernel.tries == Some(0);
            bad(a).cmp(&bad(b)).then_with(|| b.version.compare(&a.version))
        });
        self.start(&kernels.first().expect("a kernel").version, known)
    }

    /// What GRUB starts: `next` while it has tries, else `good`.
    fn start_by_bios<'a>(&self, known: &[&'a Built]) -> &'a Built {
        let mut text = [0; 1024];
        self.fat.read("grub/grubenv", 0, &mut text).expect("the environment");
        let text = String::from_utf8(text.into()).expect("text");
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let pick = match (value("next="), value("tries=").as_deref()) {
            (Some(next), Some("3" | "2" | "1")) => next,
            _ => value("good=").expect("a good one"),
        };
        self.start(&Version::new(&pick).expect("a version"), known)
    }

    fn start<'a>(&self, version: &Version, known: &[&'a Built]) -> &'a Built {
        let built = known.iter().find(|built| built.running().version == *version).expect("a known version");
        let esp = Esp::new(self.fat.clone());
        for (part, entry) in [(Part::Kernel, false), (Part::Entry, true)] {
            let mut bytes = vec![0; built.part(part).len()];
            esp.read(version, entry, 0, &mut bytes)
                .unwrap_or_else(|e| panic!("{version}: its {}: {e}", part.name()));
            assert!(bytes == built.part(part), "{version}: its {} is torn", part.name());
        }
        let mut slots = Slots::open(self.disk.clone()).expect("a table");
        let slot = slots.find(built.running().root).unwrap_or_else(|| panic!("{version} has no slot"));
        for (part, tree) in [(Part::Root, false), (Part::Tree, true)] {
            let mut bytes = vec![0; built.part(part).len()];
            slots.read(slot, tree, 0, &mut bytes).expect("the slot");
            assert!(bytes == built.part(part), "{version}: its {} is torn", part.name());
        }
        built
    }
}

#[test]
fn whenever_the_power_fails_something_whole_starts() {
    // Version 1 was flashed, 2 was installed and proved itself, 3 is being installed when the power fails; every instant,
    // with several fates of what was not synchronised.
    let (first, second, third, fourth) =
        (Built::new("1", 10), Built::new("2", 20), Built::new("3", 30), Built::new("4", 40));
    let (mut before, done) = Machine::flashed(&first).update(&first.running(), &second);
    done.expect("power");
    assert_eq!(before.start_by_uefi(&[&first, &second]).running(), second.running());
    assert_eq!(before.start_by_bios(&[&first, &second]).running(), second.running());
    let mut esp = Esp::new(before.fat);
    esp.bless(&second.running().version).expect("power");
    before.fat = esp.into_folders();
    let known = [&first, &second, &third, &fourth];
    let (mut operations, mut newest) = (0, 0);
    loop {
        let power = Power::lasting(operations);
        let (cut, done) = before.on(&power).update(&second.running(), &third);
        for seed in 1..=12 {
            let mut chance = Chance(seed * 7919 + operations as u64 * 104_729);
            let endless = Power::lasting(usize::MAX);
            let after = Machine {
                disk: cut.disk.after_power_cut(&mut chance, endless.clone()),
                fat: cut.fat.after_power_cut(&mut chance, endless.clone()),
            };
            eprintln!("seed {seed}, power for {operations} operations");
            for started in [after.start_by_uefi(&known), after.start_by_bios(&known)] {
                let is_third = started.running() == third.running();
                newest += usize::from(is_third);
                assert!(is_third || started.running() == second.running());
                // The old one still takes an update; the new one is blessed first, and takes one as well.
                let mut again = after.on(&endless);
                if is_third {
                    let mut esp = Esp::new(again.fat);
                    esp.bless(&started.running().version).expect("power");
                    again.fat = esp.into_folders();
                }
                let (again, done) = again.update(&started.running(), &fourth);
                done.unwrap_or_else(|e| panic!("no update after the power cut: {e}"));
                assert_eq!(again.start_by_uefi(&known).running(), fourth.running());
                assert_eq!(again.start_by_bios(&known).running(), fourth.running());
            }
        }
        if done.is_ok() {
            break;
        }
        operations += 1;
    }
    assert!(operations >= 40 && newest > 20, "{operations} operations, {newest} starts of the new version");
}

#[test]
fn a_version_that_fails_gives_way_and_can_be_asked_for_again() {
    // 2 is tried and gives up; 1 is back, also for GRUB; `back` brings 2 again, on trial; from there `back` brings 1.
    let (first, second) = (Built::new("1", 10), Built::new("2", 20));
    let known = [&first, &second];
    let (one, two) = (first.running().version, second.running().version);
    let (mut own, done) = Machine::flashed(&first).update(&first.running(), &second);
    done.expect("power");
    let mut with = |act: &dyn Fn(&mut Esp<Fat>)| {
        let mut esp = Esp::new(own.fat.clone());
        act(&mut esp);
        own.fat = esp.into_folders();
        (own.start_by_uefi(&known).running().version, own.start_by_bios(&known).running().version)
    };
    let started = with(&|esp| {
        assert!(esp.is_on_trial(&two).expect("names"));
        assert_eq!(esp.give_up(&two).expect("power"), one);
    });
    assert_eq!(started, (one.clone(), one.clone()));
    let started = with(&|esp| {
        assert!(!esp.is_on_trial(&one).expect("names"));
        assert_eq!(esp.other(&one).expect("names"), None, "a version that has failed is no way out");
        assert_eq!(esp.arm(&one).expect("power"), two);
    });
    assert_eq!(started, (two.clone(), two.clone()));
    let started = with(&|esp| esp.bless(&two).expect("power"));
    assert_eq!(started, (two.clone(), two.clone()));
    let started = with(&|esp| {
        assert!(!esp.is_on_trial(&two).expect("names"));
        assert_eq!(esp.arm(&two).expect("power"), one);
    });
    assert_eq!(started, (one.clone(), one.clone()));
    // Should the older one fail now, it is the newer one that is left.
    own.fat.rename("EFI/Linux/rempart_1+3.efi", "EFI/Linux/rempart_1+0-3.efi").expect("power");
    assert_eq!(own.start_by_uefi(&known).running().version, two);
}

#[test]
fn what_is_no_update_of_this_box_changes_nothing() {
    // The running version again; one that is too long; one whose bytes are not those that were signed: the kernels stay.
    let (first, second) = (Built::new("1", 10), Built::new("2", 20));
    let flashed = Machine::flashed(&first);
    let (_, same) = flashed.clone().update(&first.running(), &first);
    assert!(matches!(same, Err(SlotError::Same)), "{same:?}");
    let mut bent = Built::new("2", 20);
    *bent.parts.last_mut().expect("bytes") ^= 1;
    let (after, done) = flashed.clone().update(&first.running(), &bent);
    assert!(matches!(done, Err(SlotError::Esp(EspError::Content("entry for GRUB")))), "{done:?}");
    assert_eq!(after.start_by_uefi(&[&first]).running(), first.running());
    assert_eq!(after.start_by_bios(&[&first]).running(), first.running());
    let mut long = second;
    long.parts.push(0);
    let (after, done) = flashed.update(&first.running(), &long);
    assert!(matches!(done, Err(SlotError::Content("end"))), "{done:?}");
    assert_eq!(after.start_by_uefi(&[&first]).running(), first.running());
}

#[test]
fn without_its_own_kernel_a_box_is_left_alone() {
    let (first, second) = (Built::new("1", 10), Built::new("2", 20));
    let mut own = Machine::flashed(&first);
    own.fat.remove("EFI/Linux/rempart_1.efi").expect("power");
    let (_, done) = own.update(&first.running(), &second);
    assert!(matches!(done, Err(SlotError::Esp(EspError::NoKernel))), "{done:?}");
}
