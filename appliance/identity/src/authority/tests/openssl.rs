//! The command line of OpenSSL in a directory of its own.

use std::process::{Command, Stdio};

pub(in crate::authority) struct Openssl {
    directory: tempfile::TempDir,
}

impl Openssl {
    pub(in crate::authority) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(in crate::authority) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }

    pub(in crate::authority) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).unwrap()
    }

    /// Runs a command that must succeed; its output. Words are split at blanks; `␣` stands for a blank in a word.
    pub(in crate::authority) fn accepts(&self, arguments: &str) -> String {
        let (success, output, complaint) = self.run(arguments);
        assert!(success, "openssl {arguments}:\n{output}{complaint}");
        output
    }

    /// Runs a command that must fail; what it says.
    pub(in crate::authority) fn refuses(&self, arguments: &str) -> String {
        let (success, output, complaint) = self.run(arguments);
        assert!(!success, "openssl {arguments} should fail:\n{output}");
        output + &complaint
    }

    fn run(&self, arguments: &str) -> (bool, String, String) {
        let words = arguments.split(' ').map(|word| word.replace('␣', " "));
        let output = Command::new("openssl")
            .args(words)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program openssl, of the Debian package of that name (make setup)");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }
}
