//! What is read from files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rempart_system::sysctl;

use super::super::facts::{Fact, Facts, Known, Seen};
use super::super::policy::Policy;
use super::parse::{self, Listener, Mount};
use super::walk;

/// The longest file that is read, in bytes: a kernel's configuration is 300 kB.
const MAX_FILE: u64 = 4 << 20;
/// A program that asks another machine has a socket of UDP for as long as it waits. Who is there at both of two looks so
/// far apart listens.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// The vendor of a variable of the firmware (UEFI 2.10 §8.2), and that of those that systemd's stub leaves behind.
const EFI_GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// See [`EFI_GLOBAL`].
const EFI_LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Kernel settings that are shown to `CAP_SYS_ADMIN` alone, as they were at the end of the start
/// (`rempart-modules-lock.service`).
const SHOWN_AT_START: &str = "/run/rempart/sysctl";
/// Our services' account that listens for everybody.
const VPN_USER: &str = "rempart-vpn";

/// Reads what is asked for. Waits for a second.
pub fn read(asked: &BTreeSet<Fact>, policy: &Policy) -> Facts {
    let files = Files::load();
    let mut facts = Facts::default();
    for fact in asked {
        if let Some(seen) = files.see(*fact, policy) {
            facts.note(*fact, seen);
        }
    }
    facts
}

/// What is read once for many facts. `None` is what could not be read.
struct Files {
    words: Option<BTreeMap<String, String>>,
    config: Option<BTreeMap<String, String>>,
    /// As process 1 sees them.
    mounts: Option<Vec<Mount>>,
    passwd: Option<String>,
    shadow: Option<String>,
    found: Option<walk::Found>,
    logind: BTreeMap<String, String>,
    journald: BTreeMap<String, String>,
    sshd: Option<BTreeMap<String, String>>,
}

impl Files {
    fn load() -> Self {
        let passwd = text("/etc/passwd");
        let group = text("/etc/group");
        // Our own would not do: under NoNewPrivileges= systemd mounts everything `nosuid`, and the rest read-only.
        let mounts = text("/proc/1/mountinfo").map(|t| parse::mounts(&t));
        let found = match (&passwd, &group, &mounts) {
            (Some(passwd), Some(group), Some(mounts)) => {
                let users = parse::accounts(passwd).into_iter().map(|a| a.uid).collect();
                Some(walk::walk(mounts, &users, &parse::groups(group)))
            }
            _ => None,
        };
        Self {
            words: text("/proc/cmdline").map(|t| parse::command_line(&t)),
            config: kernel_config(),
            mounts,
            passwd,
            shadow: text("/etc/shadow"),
            found,
            logind: systemd_settings("logind.conf"),
            journald: systemd_settings("journald.conf"),
            sshd: text("/etc/ssh/sshd_config").map(|whole| {
                let parts = folder(Path::new("/etc/ssh/sshd_config.d"));
                parse::first_settings(parts.iter().map(String::as_str).chain([whole.as_str()]))
            }),
        }
    }

    fn see(&self, fact: Fact, policy: &Policy) -> Option<Seen> {
        match fact {
            Fact::Sysctl(key) => match sysctl::read(key) {
                // Several numbers stand between tabs.
                Ok(Some(value)) => Some(Seen::text(value.split_whitespace().collect::<Vec<_>>().join(" "))),
                Ok(None) => Some(Seen::Absent),
                Err(_) => text(Path::new(SHOWN_AT_START).join(key)).map(|value| Seen::text(value.trim())),
            },
            Fact::Word(word) => Some(word_or_absent(self.words.as_ref()?.get(word))),
            Fact::Config(option) => {
                let value = self.config.as_ref()?.get(option);
                Some(Seen::text(value.map_or("n", String::as_str)))
            }
            Fact::Mount(path) => {
                let mount = parse::mounted_at(self.mounts.as_ref()?, path);
                Some(mount.map_or(Seen::Absent, |m| Seen::Many(m.options.clone())))
            }
            Fact::Mode(path) => match fs::symlink_metadata(path) {
                Ok(about) => Some(Seen::text(format!("{} {:o}", about.uid(), about.mode() & 0o7777))),
                Err(error) => absent(&error),
            },
            Fact::File(path) => match fs::symlink_metadata(path) {
                Ok(_) => Some(Seen::yes(true)),
                Err(error) => absent(&error),
            },
            Fact::Setting("logind", key) => Some(word_or_absent(self.logind.get(key))),
            Fact::Setting("journald", key) => Some(word_or_absent(self.journald.get(key))),
            Fact::Setting("sshd", key) => Some(word_or_absent(self.sshd.as_ref()?.get(key))),
            Fact::Setting(..) => None,
            Fact::Known(known) => self.know(known, policy),
            Fact::Unit(..) | Fact::Manager(_) => None,
        }
    }

    fn know(&self, known: Known, policy: &Policy) -> Option<Seen> {
        match known {
            Known::Processor => Some(Seen::Many(parse::processor(&text("/proc/cpuinfo")?))),
            Known::SecureBoot => secure_boot(),
            Known::BootEditor if is_bios() => Some(Seen::text("bios")),
            Known::BootEditor => {
                let locked = parse::is_editor_off(&text("/efi/loader/loader.conf")?);
                Some(Seen::text(if locked { "locked" } else { "open" }))
            }
            Known::UnifiedKernel if is_bios() => Some(Seen::text("bios")),
            Known::UnifiedKernel => Some(Seen::yes(variable("StubInfo", EFI_LOADER).exists())),
            Known::RootDevice => self.root_device(),
            Known::PasswordAccounts => Some(Seen::many(parse::passwords(self.shadow.as_ref()?).into_keys())),
            Known::RootPassword => {
                let open = parse::passwords(self.shadow.as_ref()?).contains_key("root");
                Some(Seen::text(if open { "usable" } else { "locked" }))
            }
            Known::WeakPasswords => {
                let all = parse::passwords(self.shadow.as_ref()?).into_iter();
                Some(Seen::many(all.filter(|(_, hash)| parse::is_weak(hash)).map(|(name, _)| name)))
            }
            Known::ServiceShells => {
                let all = parse::accounts(self.passwd.as_ref()?).into_iter();
                Some(Seen::many(all.filter(parse::is_service_with_shell).map(|a| a.name)))
            }
            Known::AppArmor => {
                let on = text("/sys/module/apparmor/parameters/enabled").is_some_and(|t| t.trim() == "Y");
                Some(Seen::text(if on { "on" } else { "off" }))
            }
            Known::Enforced => {
                Some(Seen::Many(parse::enforced(&text("/sys/kernel/security/apparmor/profiles")?)))
            }
            Known::Orphans => Some(Seen::Many(self.found.as_ref()?.orphans.clone())),
            Known::WritableByAll => Some(Seen::Many(self.found.as_ref()?.writable.clone())),
            Known::SetId => Some(Seen::Many(self.found.as_ref()?.set_id.clone())),
            Known::RemotePam => {
                let files = folder(Path::new("/etc/pam.d"));
                Some(Seen::Many(files.iter().flat_map(|file| parse::remote_pam(file)).collect()))
            }
            Known::RemoteNames => Some(Seen::Many(parse::remote_names(&text("/etc/nsswitch.conf")?))),
            Known::Listeners => self.strangers(policy),
            Known::UnusedCards => unused_cards(policy.devices.as_ref()?),
            Known::Services
            | Known::AdministrationFromAnywhere
            | Known::SharedAdministration
            | Known::Spoofable
            | Known::RevisionComment
            | Known::Final
            | Known::InForce
            | Known::WithoutReason
            | Known::WithoutOwner
            | Known::AnyToAny
            | Known::AnyService
            | Known::Shadowed
            | Known::Expired
            | Known::OpenToFirewall
            | Known::OpenFromFirewall
            | Known::SilentAdministration
            | Known::AnswersOutside
            | Known::ShownOutside => None,
        }
    }

    /// What stands between the root file system and its disk.
    fn root_device(&self) -> Option<Seen> {
        let root = parse::mounted_at(self.mounts.as_ref()?, "/")?;
        let block = Path::new("/sys/dev/block").join(&root.device);
        let about = |file: &str| text(block.join(file)).unwrap_or_default();
        let checked = about("dm/uuid").starts_with("CRYPT-VERITY") || about("dm/name").trim() == "root";
        // dm-verity is read-only by its nature (Documentation/admin-guide/device-mapper/verity.rst).
        Some(if checked && about("ro").trim() == "1" { Seen::text("verity") } else { Seen::Absent })
    }

    /// Where somebody listens who has no business there.
    fn strangers(&self, policy: &Policy) -> Option<Seen> {
        let vpn =
            parse::accounts(self.passwd.as_ref()?).into_iter().find(|a| a.name == VPN_USER).map(|a| a.uid);
        let first = sockets()?;
        std::thread::sleep(SECOND_LOOK);
        let both: BTreeSet<_> = sockets()?.intersection(&first).cloned().collect();
        let strange = both.into_iter().filter(|(protocol, socket)| {
            !socket.address.is_loopback()
                && !policy.admitted.has(*protocol, socket.port)
                && Some(socket.uid) != vpn
        });
        Some(Seen::many(strange.map(|(protocol, socket)| {
            let name = if protocol == TCP { "tcp" } else { "udp" };
            format!("{name}/{} {}", socket.port, socket.address)
        })))
    }
}

const TCP: u8 = rempart_config::model::TCP;
const UDP: u8 = rempart_config::model::UDP;

fn sockets() -> Option<BTreeSet<(u8, Listener)>> {
    let mut found = BTreeSet::new();
    for (file, protocol, state) in [
        ("/proc/net/tcp", TCP, parse::TCP_LISTEN),
        ("/proc/net/tcp6", TCP, parse::TCP_LISTEN),
        ("/proc/net/udp", UDP, parse::UDP_OPEN),
        ("/proc/net/udp6", UDP, parse::UDP_OPEN),
    ] {
        // A kernel without IPv6 has no such file.
        let text = if file.ends_with('6') { text(file).unwrap_or_default() } else { text(file)? };
        found.extend(parse::listeners(&text, state).into_iter().map(|l| (protocol, l)));
    }
    Some(found)
}

/// The content of a file, as far as it is text; `None` when it cannot be read.
fn text(path: impl AsRef<Path>) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files of a folder, by name.
fn folder(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let paths: BTreeSet<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.iter().filter_map(text).collect()
}

/// Settings of a part of systemd (systemd.syntax(7)): its file, then those beside it, in the order of their names.
fn systemd_settings(name: &str) -> BTreeMap<String, String> {
    let whole = text(Path::new("/etc/systemd").join(name));
    let mut parts = BTreeMap::new();
    for root in ["/usr/lib/systemd", "/etc/systemd"] {
        let Ok(entries) = fs::read_dir(Path::new(root).join(format!("{name}.d"))) else { continue };
        parts.extend(entries.flatten().map(|e| (e.file_name(), e.path())));
    }
    let parts: Vec<String> = whole.into_iter().chain(parts.values().filter_map(text)).collect();
    parse::last_settings(parts.iter().map(String::as_str))
}

fn kernel_config() -> Option<BTreeMap<String, String>> {
    let release = text("/proc/sys/kernel/osrelease")?;
    let release = release.trim();
    // The image keeps the one of its only kernel in the third place.
    let here = [
        format!("/usr/lib/modules/{release}/config"),
        format!("/boot/config-{release}"),
        "/usr/lib/rempart/kernel-config".to_owned(),
    ];
    here.iter().find_map(text).map(|t| parse::kernel_config(&t))
}

fn word_or_absent(word: Option<&String>) -> Seen {
    word.map_or(Seen::Absent, Seen::text)
}

/// Not there, or not to be seen.
fn absent(error: &io::Error) -> Option<Seen> {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory).then_some(Seen::Absent)
}

/// Whether the machine was started without UEFI.
fn is_bios() -> bool {
    !Path::new("/sys/firmware/efi").exists()
}

fn variable(name: &str, vendor: &str) -> PathBuf {
    Path::new("/sys/firmware/efi/efivars").join(format!("{name}-{vendor}"))
}

fn secure_boot() -> Option<Seen> {
    if is_bios() {
        return Some(Seen::text("bios"));
    }
    // Four bytes of attributes come before the value (Documentation/filesystems/efivarfs.rst).
    let value = fs::read(variable("SecureBoot", EFI_GLOBAL)).ok()?;
    Some(Seen::text(if value.get(4) == Some(&1) { "on" } else { "off" }))
}

/// `IFF_UP` in `linux/if.h`.
const UP: u32 = 1;

/// Cards that are up and that the document does not name.
fn unused_cards(named: &BTreeSet<String>) -> Option<Seen> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/sys/class/net").ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let flags = text(entry.path().join("flags")).unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
        // What is made of nothing but software has no `device`.
        if entry.path().join("device").exists() && flags & UP != 0 && !named.contains(&name) {
            found.insert(name);
        }
    }
    Some(Seen::Many(found))
}
