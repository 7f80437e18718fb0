//! The administrator's password: asked for by the screens, judged here.
//!
//! The bus decides who may ask this daemon at all: root, and the group of the console. On a box nobody of that group can run
//! anything but `rempart`, so the screens are the door, and this is its key: they show nothing and do nothing until the password
//! was right. The hash is root's; a console that is broken into learns no hash, and each guess waits for the throttle here.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_daemon::disk;
use rempart_identity::demand::{Origin, Throttle};
use rempart_identity::password::Hash;
use rempart_identity::secret::Secret;
use ring::rand::SystemRandom;
use tracing::{info, warn};

use crate::control::failed;

/// The file in the state.
const FILE: &str = "administrator";
/// A PHC string of argon2id has about a hundred bytes.
const FILE_MAX: u64 = 1024;
/// Who it is, for the judge of new passwords and for the throttle.
const NAME: &str = "admin";

/// See the head of the file.
#[derive(Debug)]
pub struct Administrator {
    file: PathBuf,
    throttle: Throttle,
}

/// Whether there is a password, in a state.
pub fn has_password(state: &Path) -> bool {
    // What cannot be read shuts the door.
    !matches!(disk::read_private(&state.join(FILE), FILE_MAX), Ok(None))
}

impl Administrator {
    /// Of this state.
    pub fn of(state: &Path) -> Self {
        Self { file: state.join(FILE), throttle: Throttle::new() }
    }

    /// Whether this is the password. Without one any is right.
    pub async fn login(&mut self, password: Secret) -> Result<(), Error> {
        let Some(hash) = self.hash().map_err(failed)? else { return Ok(()) };
        let admitted = self.throttle.admit(Instant::now(), origin());
        if let Err(wait) = admitted {
            let seconds = wait.as_secs().max(1);
            return Err(RefusalCode::TooManyTries.error(format!("{seconds} s")));
        }
        // The loop of the daemon goes on: this takes a tenth of a second of pure work.
        let right = tokio::task::spawn_blocking(move || hash.verify(&password)).await.map_err(failed)?;
        if right {
            self.throttle.succeeded(Instant::now(), origin());
            info!("the administrator has logged in");
            return Ok(());
        }
        self.throttle.failed(Instant::now(), origin());
        warn!("a wrong password of the administrator");
        Err(RefusalCode::WrongPassword.error("that is not the administrator's password"))
    }

    /// Takes a new password, if this is the current one.
    pub async fn set(&mut self, current: Secret, new: Secret) -> Result<(), Error> {
        self.login(current).await?;
        let made = tokio::task::spawn_blocking(move || Hash::new(&new, NAME, &SystemRandom::new())).await;
        let hash = made.map_err(failed)?.map_err(|weak| RefusalCode::WeakPassword.error(weak))?;
        disk::write_private(&self.file, String::from(hash).as_bytes()).map_err(failed)?;
        info!("the administrator has a new password");
        Ok(())
    }

    fn hash(&self) -> io::Result<Option<Hash>> {
        let Some(text) = disk::read_private(&self.file, FILE_MAX)? else { return Ok(None) };
        let text = std::str::from_utf8(&text).map_err(io::Error::other)?.trim().to_owned();
        Hash::try_from(text).map(Some).map_err(io::Error::other)
    }
}

/// Who knocks is not known here: the console's terminals and SSH are counted as one.
fn origin() -> Origin<'static> {
    Origin { user: NAME, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), own_device: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text)
    }

    fn code(result: Result<(), Error>) -> Option<RefusalCode> {
        match result {
            Err(Error::Refused(text)) => RefusalCode::of(&text),
            other => panic!("no refusal: {other:?}"),
        }
    }

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rempart-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn the_first_password_is_set_and_the_next_needs_the_one_before() {
        let folder = Folder::new("administrator");
        let mut administrator = Administrator::of(&folder.0);
        assert!(!has_password(&folder.0));
        administrator.login(secret("anything")).await.unwrap();
        let weak = administrator.set(secret(""), secret("short")).await;
        assert_eq!(code(weak), Some(RefusalCode::WeakPassword));
        administrator.set(secret(""), secret("correct horse battery")).await.unwrap();
        assert!(has_password(&folder.0));
        administrator.login(secret("correct horse battery")).await.unwrap();
        let wrong = administrator.set(secret("wrong horse battery"), secret("another good one")).await;
        assert_eq!(code(wrong), Some(RefusalCode::WrongPassword));
        administrator.set(secret("correct horse battery"), secret("another good one")).await.unwrap();
        // After a restart it is the same.
        let mut administrator = Administrator::of(&folder.0);
        administrator.login(secret("another good one")).await.unwrap();
        for file in std::fs::read_dir(&folder.0).unwrap() {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn whoever_guesses_waits() {
        let folder = Folder::new("administrator-guess");
        let mut administrator = Administrator::of(&folder.0);
        administrator.set(secret(""), secret("correct horse battery")).await.unwrap();
        let mut codes = Vec::new();
        for _ in 0..12 {
            codes.push(code(administrator.login(secret("a guess of twelve")).await));
        }
        assert_eq!(codes.first(), Some(&Some(RefusalCode::WrongPassword)));
        assert_eq!(codes.last(), Some(&Some(RefusalCode::TooManyTries)));
        // The right one has to wait, too.
        let right = administrator.login(secret("correct horse battery")).await;
        assert_eq!(code(right), Some(RefusalCode::TooManyTries));
    }

    #[tokio::test]
    async fn a_hash_that_cannot_be_read_shuts_the_door() {
        let folder = Folder::new("administrator-torn");
        std::fs::write(folder.0.join(FILE), "$argon2id$torn").unwrap();
        assert!(has_password(&folder.0));
        assert!(Administrator::of(&folder.0).login(secret("")).await.is_err());
    }
}
