//! A walk through the file systems of this machine, for files that should not be as they are.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::parse::Mount;

/// File systems whose files are on this machine and were put there by somebody.
const LOCAL: [&str; 8] = ["btrfs", "erofs", "ext4", "overlay", "squashfs", "tmpfs", "vfat", "xfs"];
/// Most files that are looked at: the image has some ten thousand, a full journal some hundred more.
const MAX_FILES: usize = 1_000_000;
/// Most files that are named, of each kind.
const MAX_NAMED: usize = 64;

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const BY_ALL: u32 = 0o002;

/// Files that should not be as they are.
#[derive(Debug, Default)]
pub struct Found {
    /// Whose owner or group has no name.
    pub orphans: BTreeSet<String>,
    /// That anybody may write to.
    pub writable: BTreeSet<String>,
    /// That give their owner's or group's rights to whoever starts them.
    pub set_id: BTreeSet<String>,
}

/// Walks. Folders that cannot be entered are left out.
pub fn walk(mounts: &[Mount], users: &BTreeSet<u32>, groups: &BTreeSet<u32>) -> Found {
    let mut found = Found::default();
    let mut left = MAX_FILES;
    let mut seen = BTreeSet::new();
    for mount in mounts.iter().filter(|m| LOCAL.contains(&m.kind.as_str())) {
        // The same file system again, at another place.
        if !seen.insert(&mount.device) {
            continue;
        }
        let start = PathBuf::from(&mount.target);
        let Ok(device) = fs::symlink_metadata(&start).map(|m| m.dev()) else { continue };
        let mut folders = vec![start];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let Ok(about) = entry.metadata() else { continue };
                if about.dev() != device {
                    continue;
                }
                left = left.saturating_sub(1);
                if left == 0 {
                    return found;
                }
                found.look(mount, &entry.path().to_string_lossy(), &about, users, groups);
                if about.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
    }
    found
}

impl Found {
    fn look(
        &mut self,
        mount: &Mount,
        path: &str,
        about: &fs::Metadata,
        users: &BTreeSet<u32>,
        groups: &BTreeSet<u32>,
    ) {
        let name = |into: &mut BTreeSet<String>| {
            if into.len() < MAX_NAMED {
                into.insert(path.to_owned());
            }
        };
        if !users.contains(&about.uid()) || !groups.contains(&about.gid()) {
            name(&mut self.orphans);
        }
        let by_all = about.mode() & BY_ALL != 0;
        if (about.is_dir() && by_all && about.mode() & STICKY == 0) || (about.is_file() && by_all) {
            name(&mut self.writable);
        }
        // Where it is mounted so, nobody gets any rights from it.
        let harmless = mount.options.contains("nosuid");
        if about.is_file() && about.mode() & SET_ID != 0 && !harmless {
            name(&mut self.set_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_should_not_be_is_found() {
        // A folder with one file of each kind in; their names out, and not those of files that are well.
        let root = std::env::temp_dir().join(format!("rempart-walk-{}", std::process::id()));
        fs::create_dir_all(root.join("open")).unwrap();
        let set = |name: &str, mode| {
            let path = root.join(name);
            if !path.exists() {
                fs::write(&path, "").unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_string_lossy().into_owned()
        };
        let (open, setuid, writable, well) =
            (set("open", 0o777), set("setuid", 0o4755), set("writable", 0o666), set("well", 0o644));
        let own = fs::metadata(&well).unwrap();
        let (users, groups) = (BTreeSet::from([own.uid()]), BTreeSet::from([own.gid()]));
        let mount = |option: &str| Mount {
            device: "0:1".into(),
            target: root.to_string_lossy().into_owned(),
            kind: "tmpfs".into(),
            options: BTreeSet::from([option.to_owned()]),
        };
        let found = walk(&[mount("rw")], &users, &groups);
        assert_eq!(found.set_id, BTreeSet::from([setuid.clone()]));
        assert_eq!(found.writable, BTreeSet::from([open, writable]));
        assert!(found.orphans.is_empty());
        assert!(walk(&[mount("nosuid")], &users, &groups).set_id.is_empty());
        assert!(walk(&[mount("rw")], &BTreeSet::new(), &groups).orphans.contains(&well));
        fs::remove_dir_all(root).unwrap();
    }
}
