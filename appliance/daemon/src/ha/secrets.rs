//! Secrets that the plan names: passwords of CARP and VRRPv2, each a file `DIR/secrets/NAME` of the node's state.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rempart_plan::ha::HaPlan;
use zeroize::Zeroizing;

/// The longest secret in bytes; the protocols take 20 and 8.
const MAX_SECRET: u64 = 256;

/// Secrets by name, wiped when dropped and never printed. Compared only with other copies of the same store.
#[derive(Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Secrets {
    /// Reads those that `plan` names. One that is missing is left out: the router that needs it says so.
    pub fn load(folder: &Path, plan: &HaPlan) -> Self {
        let carp = plan.routers.iter().filter_map(|router| router.carp.as_ref()).map(|carp| &carp.password);
        let text = plan.routers.iter().filter_map(|router| router.auth.as_ref());
        let read = |name: &String| Some((name.clone(), read(folder, name).ok()?));
        Self(carp.chain(text).filter_map(read).collect())
    }

    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|secret| secret.as_slice())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The content without the newline that editors leave at the end.
fn read(folder: &Path, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    if !plain {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_SECRET as usize));
    File::open(folder.join(name))?.take(MAX_SECRET).read_to_end(&mut secret)?;
    while secret.last() == Some(&b'\n') {
        secret.pop();
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_lead_out_of_the_folder() {
        assert!(read(Path::new("/etc"), "../etc/hostname").is_err());
        assert!(read(Path::new("/etc"), "").is_err());
    }
}
