//! A machine of files: a disk with two slots, an EFI system partition, the program, and a boot loader like systemd-boot.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rempart_bus::Update1Proxy;
use rempart_bus::update::UpdateStatus;
use rempart_lab::dbus::PrivateBus;
use rempart_system::slots::{Esp, Mounted, RootHash, Slots};
use rempart_update::Version;
use tokio::time::{Instant, sleep};

use crate::around::Around;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rempart-update");

/// Where releases are made: a folder with a key.
pub struct Works(tempfile::TempDir);

impl Works {
    /// With a key of its own.
    pub fn new() -> Self {
        let works = Self(tempfile::tempdir().expect("a folder"));
        run(Command::new(PROGRAM).arg("new-key").arg(works.0.path().join("key")));
        works
    }

    /// A release, made as the build makes it; `fill` makes it different from others.
    pub fn release(&self, version: &str, fill: u8) -> Release {
        let at = |name: &str| self.0.path().join(format!("{version}-{name}"));
        let hash = [fill; 32].iter().map(|b| format!("{b:02x}")).collect::<String>();
        let parts = [("root", 3_000_001), ("tree", 8192), ("kernel", 1_500_000), ("entry", 425)];
        for (name, bytes) in parts {
            let content: Vec<u8> = (0..bytes).map(|n: u32| (n as u8).wrapping_mul(31) ^ fill).collect();
            fs::write(at(name), content).expect("a file of our own");
        }
        fs::write(at("hash"), format!("{hash}\n")).expect("a file of our own");
        let mut sign = Command::new(PROGRAM);
        sign.args(["sign", "--release", version, "--made", "1790000000", "--key"])
            .arg(self.0.path().join("key"));
        sign.arg("--root-hash").arg(at("hash"));
        for (name, _) in parts {
            sign.arg(format!("--{name}")).arg(at(name));
        }
        run(sign.arg("--update").arg(at("update")).arg("--head").arg(at("head")));
        let read = |name: &str| fs::read(at(name)).expect("a file of our own");
        Release {
            version: version.into(),
            hash,
            parts: parts.map(|(name, _)| read(name)),
            head: read("head"),
            update: read("update"),
        }
    }

    fn public(&self) -> Vec<u8> {
        Command::new(PROGRAM).arg("public").arg(self.0.path().join("key")).output().expect("it runs").stdout
    }
}

/// A release.
pub struct Release {
    version: String,
    hash: String,
    parts: [Vec<u8>; 4],
    head: Vec<u8>,
    update: Vec<u8>,
}

impl Release {
    /// The update file.
    pub fn file(&self) -> Vec<u8> {
        self.update.clone()
    }
}

/// A machine.
pub struct Machine {
    folder: tempfile::TempDir,
    bus: PrivateBus,
    /// The pretended daemons.
    pub around: Arc<Around>,
    serve: Option<Child>,
    health: Option<Child>,
    running: String,
    /// Versions that cannot start.
    pub broken: BTreeSet<String>,
    /// How often it was started again.
    pub restarts: u32,
}

impl Machine {
    /// A machine that was flashed with a release, and runs.
    pub async fn flashed(works: &Works, release: &Release, name: &str, active: bool) -> Self {
        let folder =
            tempfile::Builder::new().prefix(&format!("rempart-{name}-")).tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["esp/EFI/Linux", "esp/EFI/rempart", "esp/grub", "keys", "stick", "state"] {
            fs::create_dir_all(at(name)).expect("a folder of our own");
        }
        fs::write(at("keys/own.pub"), works.public()).expect("a file of our own");
        disk(&at("disk.raw"), release);
        let esp =
            |name: &str, content: &[u8]| fs::write(at("esp").join(name), content).expect("a file of our own");
        let version = &release.version;
        esp(&format!("EFI/Linux/rempart_{version}.efi"), &release.parts[2]);
        esp(&format!("EFI/rempart/rempart_{version}.head"), &release.head);
        esp(&format!("grub/rempart_{version}.cfg"), &release.parts[3]);
        let mut environment = format!("# GRUB Environment Block\ngood={version}\n").into_bytes();
        environment.resize(1024, b'#');
        esp("grub/grubenv", &environment);
        let bus = bus(folder.path());
        let around = Around::start(&bus.address, active).await;
        let mut machine = Self {
            folder,
            bus,
            around,
            serve: None,
            health: None,
            running: version.clone(),
            broken: BTreeSet::new(),
            restarts: 0,
        };
        machine.power_on(&release.hash).await;
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts files on the stick.
    pub fn stick(&self, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            fs::write(self.at("stick").join(name), content).expect("a file of our own");
        }
    }

    /// The interface, once it is there.
    pub async fn update(&self) -> Update1Proxy<'static> {
        let bus =
            zbus::connection::Builder::address(self.bus.address.as_str()).build().await.expect("the bus");
        let proxy = Update1Proxy::new(&bus).await.expect("a proxy");
        let begun = Instant::now();
        while proxy.status().await.is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "rempart-update does not answer: {:?}",
                proxy.status().await
            );
            sleep(Duration::from_millis(100)).await;
        }
        proxy
    }

    /// How it is.
    pub async fn status(&self) -> UpdateStatus {
        let text = self.update().await.status().await.expect("a status");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The status once the job has ended.
    pub async fn ended(&self, limit: Duration) -> UpdateStatus {
        self.until(limit, |status| status.job.as_ref().is_some_and(|job| job.state != "running")).await
    }

    /// The status once the running version has proved itself.
    pub async fn proved(&self, limit: Duration) -> UpdateStatus {
        self.until(limit, |status| !status.on_trial).await
    }

    async fn until(&self, limit: Duration, seen: impl Fn(&UpdateStatus) -> bool) -> UpdateStatus {
        let begun = Instant::now();
        loop {
            let status = self.status().await;
            if seen(&status) {
                return status;
            }
            assert!(begun.elapsed() < limit, "still {status:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// systemd was asked for a restart.
    pub fn wants_restart(&self) -> bool {
        self.around.wants_restart()
    }

    /// Waits until the machine wants to restart, and does.
    pub async fn restarted(&mut self) {
        let begun = Instant::now();
        while !self.around.take_restart() {
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody asks for a restart");
            sleep(Duration::from_millis(50)).await;
        }
        self.restarts += 1;
        self.around.set_up(false);
        for child in [self.serve.take(), self.health.take()].into_iter().flatten() {
            end(child);
        }
        loop {
            self.running = self.boot();
            if !self.broken.contains(&self.running) {
                break;
            }
        }
        let head =
            Esp::new(Mounted(self.at("esp"))).head(&self.version()).expect("the partition").expect("a head");
        let head = rempart_update::Head::read(&head).expect("a head").expect("whole");
        let hash = RootHash::new(head.claims().root_hash);
        let slots =
            Slots::open(File::options().read(true).write(true).open(self.at("disk.raw")).expect("the disk"));
        assert!(slots.expect("a table").find(hash).is_some(), "{} has no slot", self.running);
        let text: String = head.claims().root_hash.iter().map(|b| format!("{b:02x}")).collect();
        self.power_on(&text).await;
    }

    fn version(&self) -> Version {
        Version::new(&self.running).expect("a version")
    }

    async fn power_on(&mut self, hash: &str) {
        fs::write(self.at("os-release"), format!("IMAGE_VERSION={}\n", self.running))
            .expect("a file of our own");
        fs::write(self.at("cmdline"), format!("quiet roothash={hash}\n")).expect("a file of our own");
        self.serve = Some(self.program("serve"));
        self.around.set_up(true);
        self.health = Some(self.program("health"));
        self.update().await;
    }

    fn program(&self, verb: &str) -> Child {
        let mut program = Command::new(PROGRAM);
        program.arg(verb).env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus.address);
        for (option, name) in [
            ("--state", "state"),
            ("--esp", "esp"),
            ("--keys", "keys"),
            ("--stick", "stick"),
            ("--disk", "disk.raw"),
            ("--os-release", "os-release"),
            ("--cmdline", "cmdline"),
        ] {
            program.arg(option).arg(self.at(name));
        }
        program.spawn().expect("the program")
    }

    /// The version that would be started now: systemd-boot's order.
    pub fn next_start(&self) -> String {
        self.pick().0
    }

    fn pick(&self) -> (String, Option<u32>) {
        let mut kernels = Esp::new(Mounted(self.at("esp"))).kernels().expect("the partition");
        kernels.sort_by(|a, b| {
            let bad = [a.tries, b.tries].map(|tries| tries == Some(0));
            bad[0].cmp(&bad[1]).then_with(|| b.version.compare(&a.version))
        });
        let first = kernels.first().expect("a kernel");
        (first.version.to_string(), first.tries)
    }

    /// Starts it: a version with a counter has one try less.
    fn boot(&self) -> String {
        let (version, tries) = self.pick();
        if let Some(tries) = tries.filter(|tries| *tries > 0) {
            let folder = self.at("esp/EFI/Linux");
            let old = fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
            let begin = format!("rempart_{version}+");
            let mine =
                |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&begin));
            let old = old.into_iter().find(mine).expect("its kernel");
            fs::rename(old, folder.join(format!("{begin}{}-{}.efi", tries - 1, 4 - tries)))
                .expect("our file");
        }
        version
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [self.serve.take(), self.health.take()].into_iter().flatten() {
            end(child);
        }
    }
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn run(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
}

/// 64 MiB with both slots, the first one written.
fn disk(path: &Path, release: &Release) {
    File::create(path).and_then(|file| file.set_len(64 << 20)).expect("a file of our own");
    let id = |half: &str| {
        format!("{}-{}-{}-{}-{}", &half[..8], &half[8..12], &half[12..16], &half[16..20], &half[20..])
    };
    let (root, tree) = release.hash.split_at(32);
    let table = format!(
        "label: gpt\n\
         size=1MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=rempart-esp\n\
         size=16MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid={}, name=rempart_1\n\
         size=2MiB, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, uuid={}, name=rempart_1_verity\n\
         size=16MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=_empty\n\
         size=2MiB, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name=_empty\n",
        id(root),
        id(tree),
    );
    let mut sfdisk =
        Command::new("/sbin/sfdisk").arg("-q").arg(path).stdin(Stdio::piped()).spawn().expect("sfdisk");
    sfdisk.stdin.take().expect("a pipe").write_all(table.as_bytes()).expect("sfdisk reads");
    assert!(sfdisk.wait().is_ok_and(|status| status.success()), "sfdisk refuses the table");
    // sfdisk begins at 1 MiB and aligns to that.
    let mut file = File::options().write(true).open(path).expect("the disk");
    for (at, part) in [(2, &release.parts[0]), (18, &release.parts[1])] {
        file.seek(SeekFrom::Start(at << 20)).and_then(|_| file.write_all(part)).expect("the disk");
    }
}

/// A bus with the image's policy for updates.
fn bus(folder: &Path) -> PrivateBus {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../rootfs-overlay/usr/share/dbus-1/system.d/org.rempart.Update1.conf");
    let root = r#"  <policy user="root">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>"#;
    PrivateBus::start(folder, &format!("{root}\n  <include>{}</include>", policy.display())).expect("a bus")
}
