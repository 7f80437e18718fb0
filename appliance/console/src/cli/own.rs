//! Owns the verbs about this very box: its ports, its administrator's password.

use std::io::{self, IsTerminal as _};

use clap::Subcommand;
use rempart_bus::setup::{SetupStatus, SshStatus};

use super::print::{dim, heads, plain};
use super::run::{Console, Stop, ask, connect, read};
use super::table::{Align, Table};
use super::vpn::secret;
use crate::bus::{Reply, Request, Secret};
use crate::format::integer;
use crate::tr;
use crate::words::Tone;

/// A verb about SSH.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum SshVerb {
    /// How it is.
    Status,
    /// It may be used.
    On,
    /// It may not, and whoever is on goes.
    Off,
    /// Keys of administrators.
    Key {
        /// What about them.
        #[command(subcommand)]
        verb: KeyVerb,
    },
}

/// A verb about keys.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum KeyVerb {
    /// All of them.
    List,
    /// One may come in.
    Add {
        /// The words of the key, or a file, `-` for stdin.
        #[arg(required = true, value_name = "KEY")]
        key: Vec<String>,
    },
    /// One may not any more.
    Remove {
        /// Its fingerprint, or the beginning of it.
        fingerprint: String,
    },
}

/// `rempart ssh …`
pub async fn ssh(console: &Console, verb: Option<SshVerb>) -> Result<(), Stop> {
    let lang = console.lang;
    let bus = connect().await?;
    let done = match verb {
        None | Some(SshVerb::Status | SshVerb::Key { verb: KeyVerb::List }) => {
            return console.forward(Request::Ssh).await;
        }
        Some(SshVerb::On) => {
            ask(&bus, &Request::SshSwitch(true)).await?;
            // What may still be in its way comes with it.
            return console.forward(Request::Ssh).await;
        }
        Some(SshVerb::Off) => {
            ask(&bus, &Request::SshSwitch(false)).await?;
            tr!(lang, "ssh-off")
        }
        Some(SshVerb::Key { verb: KeyVerb::Add { key } }) => {
            let line = match key.as_slice() {
                [file] => read(lang, file)?,
                words => words.join(" "),
            };
            let fingerprint = ask(&bus, &Request::SshAdd(line.trim().to_owned())).await?;
            tr!(lang, "ssh-added", fingerprint = fingerprint.as_str())
        }
        Some(SshVerb::Key { verb: KeyVerb::Remove { fingerprint } }) => {
            ask(&bus, &Request::SshRemove(fingerprint)).await?;
            tr!(lang, "ssh-removed")
        }
    };
    console.say(&done);
    Ok(())
}

/// `rempart password`: the current one, where there is one, and the new one twice.
pub async fn password(console: &Console) -> Result<(), Stop> {
    let lang = console.lang;
    let bus = connect().await?;
    let answer = ask(&bus, &Request::Setup).await?;
    let has_one = matches!(Reply::parse(&Request::Setup, answer)?, Reply::Setup(status) if status.password);
    let mut current = Secret::default();
    if has_one {
        current = Secret::new(secret::ask(lang, &tr!(lang, "password-current"))?);
        // Said before two more lines are typed.
        ask(&bus, &Request::Login(current.clone())).await?;
    }
    let new = secret::ask(lang, &tr!(lang, "password-new"))?;
    if io::stdin().is_terminal() && secret::ask(lang, &tr!(lang, "vpn-ask-again"))? != new {
        return Err(Stop::Usage(tr!(lang, "vpn-password-differs")));
    }
    ask(&bus, &Request::SetPassword(current, Secret::new(new))).await?;
    console.say(&tr!(lang, "password-done"));
    Ok(())
}

impl Console {
    /// How SSH is, what is in its way, and whose keys come in.
    pub fn ssh(&self, s: &SshStatus) -> String {
        let lang = self.lang;
        let (tone, first) =
            if s.on { (Tone::Good, tr!(lang, "ssh-on")) } else { (Tone::Plain, tr!(lang, "ssh-off")) };
        let mut lines = vec![self.paint.tone(tone, &first)];
        let reached = match s.flows.as_slice() {
            [] => (Tone::Warn, tr!(lang, "ssh-no-flow")),
            flows => (Tone::Plain, tr!(lang, "ssh-flows", flows = flows.join(", "))),
        };
        lines.push(self.paint.tone(reached.0, &reached.1));
        lines.extend(s.host.iter().map(|host| tr!(lang, "ssh-host", fingerprint = host.as_str())));
        if s.keys.is_empty() {
            lines.push(self.paint.tone(Tone::Warn, &tr!(lang, "ssh-no-key")));
            return lines.join("\n") + "\n";
        }
        let mut table = heads!(lang; "head-ssh-key" Left, "head-ssh-kind" Left, "head-ssh-comment" Left);
        for key in &s.keys {
            table.row([(key.fingerprint.clone(), Tone::Accent), plain(&key.kind), plain(&key.comment)]);
        }
        lines.join("\n") + "\n\n" + &table.print(self.paint)
    }

    /// The ports and their lamps.
    pub fn ports(&self, status: &SetupStatus) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "setup-head-port" Left, "setup-head-lamp" Left, "setup-head-speed" Left, "setup-head-driver" Left,
            "setup-head-mac" Left);
        for port in &status.ports {
            let lamp = match port.link {
                true => (tr!(lang, "setup-lamp-lit"), Tone::Good),
                false => (tr!(lang, "setup-lamp-dark"), Tone::Dim),
            };
            let speed = port
                .speed_mbps
                .map_or("-".to_owned(), |mbps| format!("{} Mbit/s", integer(lang, mbps.into())));
            table.row([
                (port.device.clone(), Tone::Accent),
                lamp,
                plain(speed),
                dim(&port.driver),
                dim(&port.mac),
            ]);
        }
        table.print(self.paint)
    }
}
