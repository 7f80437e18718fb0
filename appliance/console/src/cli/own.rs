//! Owns the verbs about this very box: its ports, its administrator's password.

use std::io::{self, IsTerminal as _};

use rempart_bus::setup::SetupStatus;

use super::print::{dim, heads, plain};
use super::run::{Console, Stop, ask, connect};
use super::table::{Align, Table};
use super::vpn::secret;
use crate::bus::{Reply, Request, Secret};
use crate::format::integer;
use crate::tr;
use crate::words::Tone;

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
