//! An update comes into the other slot: the order of it, in one place.

use std::io::Read;

use rempart_update::{Manifest, Part, Version};

use super::{Disk, Esp, Folders, RootHash, SlotError, Slots};

/// What runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Running {
    /// Its version.
    pub version: Version,
    /// The hash of its root file system.
    pub root: RootHash,
}

/// Writes the parts of an update, which follow each other in `parts`, into the other slot and onto the EFI system partition.
/// Nothing starts it: see [`Esp::arm`]. What was in that slot is gone at the end, and at every instant before.
pub fn stage<D: Disk, F: Folders>(
    slots: &mut Slots<D>,
    esp: &mut Esp<F>,
    running: &Running,
    manifest: &Manifest,
    parts: &mut dyn Read,
) -> Result<(), SlotError> {
    let update = manifest.description();
    let [root, tree, kernel, entry] = Part::ALL.map(|part| update.part(part));
    let hash = RootHash::new(update.root_hash);
    // Its files would have the names of those that run.
    if update.version == running.version || hash == running.root {
        return Err(SlotError::Same);
    }
    slots.has_room(running.root, root, tree)?;
    esp.has_room(kernel, entry, &running.version)?;
    // What can be started has a root file system at every instant.
    esp.clear(&running.version)?;
    slots.install(running.root, &update.version, hash, parts, [root, tree])?;
    esp.stage(&update.version, manifest.head(), parts, [kernel, entry])?;
    // One byte more than it may have is as wrong as one less.
    if parts.read(&mut [0])? == 0 { Ok(()) } else { Err(SlotError::Content("end")) }
}
