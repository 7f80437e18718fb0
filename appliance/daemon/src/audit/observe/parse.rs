//! The forms of the files that are looked at. Pure. Whatever they hold, nothing panics: a line that cannot be read is as if it
//! were not there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kernel's command line: word to value, empty where there is none. The last of several counts.
pub fn command_line(text: &str) -> BTreeMap<String, String> {
    let pair = |word: &str| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (word.to_owned(), String::new()),
    };
    text.split_whitespace().map(pair).collect()
}

/// What the kernel was built with: option, without `CONFIG_`, to value.
pub fn kernel_config(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// A mount, as in `/proc/pid/mountinfo` (proc(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// `major:minor` of its device.
    pub device: String,
    /// Where it is.
    pub target: String,
    /// The kind of file system.
    pub kind: String,
    /// Options of the mount, and of the file system.
    pub options: BTreeSet<String>,
}

/// The mounts, in their order: a later one lies over an earlier one at the same place.
pub fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (device, target, options) = (before.next()?, before.nth(1)?, before.next()?);
        let mut after = after.split(' ');
        let kind = after.next()?;
        let superblock = after.nth(1).unwrap_or("");
        let options = options.split(',').chain(superblock.split(','));
        Some(Mount {
            device: device.to_owned(),
            target: target.to_owned(),
            kind: kind.to_owned(),
            options: options.filter(|o| !o.is_empty()).map(str::to_owned).collect(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// What is mounted at `target`, if anything is. What would be mounted at the first look is not.
pub fn mounted_at<'a>(mounts: &'a [Mount], target: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|m| m.target == target).filter(|m| m.kind != "autofs")
}

/// An account, as in passwd(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// What is started when it logs in.
    pub shell: String,
}

/// The accounts.
pub fn accounts(passwd: &str) -> Vec<Account> {
    let account = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        let shell = fields.nth(3)?;
        Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, shell: shell.to_owned() })
    };
    passwd.lines().filter_map(account).collect()
}

/// The numbers of the groups, as in group(5).
pub fn groups(group: &str) -> BTreeSet<u32> {
    group.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

/// Programs that let nobody in, and the console, which is no shell.
const NO_SHELL: [&str; 5] =
    ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/usr/lib/rempart/login"];
/// Numbers below this are services' (`SYS_UID_MAX` of Debian's login.defs is 999).
const FIRST_PERSON: u32 = 1000;

/// Whether a service has a shell.
pub fn is_service_with_shell(account: &Account) -> bool {
    (1..FIRST_PERSON).contains(&account.uid) && !NO_SHELL.contains(&account.shell.as_str())
}

/// The passwords that open something, as in shadow(5): name to hash.
pub fn passwords(shadow: &str) -> BTreeMap<String, String> {
    let usable = |line: &str| {
        let mut fields = line.split(':');
        let (name, hash) = (fields.next()?, fields.next()?);
        (!hash.starts_with(['!', '*'])).then(|| (name.to_owned(), hash.to_owned()))
    };
    shadow.lines().filter_map(usable).collect()
}

/// Whether a password is kept in a weak form: any but yescrypt, gost-yescrypt, scrypt and SHA-512 (crypt(5)).
pub fn is_weak(hash: &str) -> bool {
    !["$y$", "$gy$", "$7$", "$6$"].iter().any(|good| hash.starts_with(good))
}

/// The last value of each key in files of systemd's form, in the order in which they count.
pub fn last_settings<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    let lines = texts.into_iter().flat_map(str::lines).map(str::trim);
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (!line.starts_with(['#', ';'])).then(|| (key.trim().to_owned(), value.trim().to_owned()))
    };
    lines.filter_map(pair).collect()
}

/// The first value of each key in files of sshd_config(5)'s form. What follows `Match` holds for some only, and is not
/// what is asked for.
pub fn first_settings<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for text in texts {
        let lines = text.lines().map(str::trim);
        for line in lines.take_while(|line| !line.starts_with("Match")).filter(|line| !line.starts_with('#'))
        {
            if let Some((key, value)) = line.split_once(char::is_whitespace) {
                found.entry(key.to_owned()).or_insert_with(|| value.trim().to_owned());
            }
        }
    }
    found
}

/// A socket that waits for others, as in `/proc/net/tcp` and `/proc/net/udp` (proc(5)).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listener {
    /// Where.
    pub address: IpAddr,
    /// On which port.
    pub port: u16,
    /// Whose it is.
    pub uid: u32,
}

/// The state of a TCP socket that listens, and that of a UDP socket that is not connected (include/net/tcp_states.h).
pub const TCP_LISTEN: &str = "0A";
/// See [`TCP_LISTEN`].
pub const UDP_OPEN: &str = "07";

/// The sockets in `state`.
pub fn listeners(text: &str, state: &str) -> BTreeSet<Listener> {
    let listener = |line: &str| {
        // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, found) = (fields.next()?, fields.next()?, fields.next()?);
        let uid = fields.nth(3)?.parse().ok()?;
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (found == state).then_some(())?;
        Some(Listener { address: kernel_address(address)?, port, uid })
    };
    text.lines().skip(1).filter_map(listener).collect()
}

/// An address as the kernel prints it: words of 32 bits in hexadecimal, each in the byte order of the machine, which is
/// little-endian on all that Rempart runs on.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_le_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            let address = Ipv6Addr::from(bytes);
            Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
        }
        _ => None,
    }
}

/// The features of the first processor, as in `/proc/cpuinfo`.
pub fn processor(text: &str) -> BTreeSet<String> {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    flags.map_or_else(BTreeSet::new, |(_, flags)| flags.split_whitespace().map(str::to_owned).collect())
}

/// The profiles that are enforced, as AppArmor lists them: `rempartd (enforce)`.
pub fn enforced(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_suffix(" (enforce)")).map(str::to_owned).collect()
}

/// PAM modules that ask another machine.
const REMOTE_PAM: [&str; 6] = ["pam_ldap", "pam_krb5", "pam_radius", "pam_winbind", "pam_sss", "pam_nis"];

/// The PAM modules that ask another machine, of those that a file names.
pub fn remote_pam(text: &str) -> BTreeSet<String> {
    let lines = || text.lines().filter(|line| !line.trim_start().starts_with('#'));
    REMOTE_PAM
        .iter()
        .filter(|module| lines().any(|l| l.contains(**module)))
        .map(|m| (*m).to_owned())
        .collect()
}

/// Where accounts come from besides this machine, as in nsswitch.conf(5).
pub fn remote_names(text: &str) -> BTreeSet<String> {
    let accounts = |line: &&str| ["passwd:", "group:", "shadow:"].iter().any(|name| line.starts_with(name));
    let sources = text.lines().filter(accounts).flat_map(|line| line.split_whitespace().skip(1));
    let remote =
        sources.filter(|source| !["files", "systemd", "compat"].contains(source) && !source.starts_with('['));
    remote.map(str::to_owned).collect()
}

/// Whether the boot loader's configuration lets nobody edit an entry (loader.conf(5)).
pub fn is_editor_off(text: &str) -> bool {
    let mut editor = text.lines().filter_map(|line| line.trim().strip_prefix("editor"));
    editor.next_back().is_some_and(|value| ["no", "0", "false", "off"].contains(&value.trim()))
}

#[cfg(test)]
mod tests;
