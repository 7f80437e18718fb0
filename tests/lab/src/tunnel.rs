//! Remote access as a person has it: made known on the active router by the console's verbs, then the stock openvpn with the
//! exported profile on a host outside.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::process::{Process, output_with_input, succeeded, tail, wait_until};
use crate::{Host, Lab, Node, Stock};

/// What openvpn says once it is connected, each time.
pub const UP: &str = "Initialization Sequence Completed";
/// What it says when a person would notice something: it begins anew, asks, is turned away.
pub const TROUBLE: [&str; 6] =
    ["SIGUSR1", "AUTH_FAILED", "Restart pause", "decrypt packet error", "Enter Auth", "Inactivity timeout"];

/// How long a verb may take: making a key and hashing a password take their time.
const VERB: Duration = Duration::from_secs(60);
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(30);
/// What the demonstration's agent is called, on the example's group, and what is typed.
const AGENT: &str = "demo";
const GROUP: &str = "agents";
const PASSWORD: &str = "a password for the lab alone";
/// The length of a step of RFC 6238, in seconds.
pub const STEP_S: u64 = 30;

/// How long a client may take to ask.
const ASKS: Duration = Duration::from_secs(20);

/// A person at a graphical client: what openvpn asks by its management interface, and the answers.
#[derive(Debug)]
pub struct Person(BufReader<UnixStream>);

impl Person {
    /// At the client that was started on a host with `--management SOCKET unix --management-query-passwords`.
    pub fn at(host: &Host, socket: &str) -> Result<Self> {
        let mut stream = None;
        wait_until(ASKS, || {
            stream = UnixStream::connect(host.run_dir().join(socket)).ok();
            stream.is_some()
        });
        let stream = stream.context("the client has no management interface")?;
        stream.set_read_timeout(Some(ASKS))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Waits for a question that begins like this; its rest.
    pub fn asked(&mut self, beginning: &str) -> Result<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                bail!("the client has gone and never asked {beginning:?}");
            }
            if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// Says something.
    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.0.get_mut(), "{line}")?)
    }
}

/// A stock client with a profile. Dropping it ends the client.
#[derive(Debug)]
pub struct Tunnel {
    process: Process,
}

impl Host {
    /// Starts openvpn with a profile; name and password come from a file, as unattended clients have it. Does not wait:
    /// [`Tunnel::wait_up`] does.
    pub fn openvpn(&self, profile: &Path, user: &str, password: &str) -> Result<Tunnel> {
        self.stock_openvpn(Stock::Own, profile, user, password, &[])
    }

    /// The same with another version of openvpn and more of its options, such as `["--proto", "tcp"]`.
    pub fn stock_openvpn(
        &self,
        stock: Stock,
        profile: &Path,
        user: &str,
        password: &str,
        more: &[&str],
    ) -> Result<Tunnel> {
        let login = format!("{user}.login");
        let mut file = (fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))
            .open(self.run_dir().join(&login))?;
        write!(file, "{user}\n{password}\n")?;
        self.start_openvpn(stock, profile, &[&["--auth-user-pass", &login], more].concat())
    }

    /// With a profile and nobody's name. Paths among the options are relative to [`Self::run_dir`].
    pub fn start_openvpn(&self, stock: Stock, profile: &Path, more: &[&str]) -> Result<Tunnel> {
        let name = profile.file_name().context("a profile is a file")?;
        let own = self.run_dir().join(name);
        if own != profile {
            fs::copy(profile, &own)?;
        }
        let words = stock.words(self.run_dir());
        let (program, arguments) = words.split_first().context("a program")?;
        let mut openvpn = self.command(program);
        openvpn.args(arguments).arg("--config").arg(name).args(more);
        Ok(Tunnel { process: self.spawn("openvpn", openvpn)? })
    }
}

impl Tunnel {
    /// What holds its place in the system.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What the client has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How often it has said something.
    pub fn said(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    /// Waits until it is connected.
    pub fn wait_up(&mut self) -> Result<()> {
        let log = self.process.log_path().to_path_buf();
        let up = || fs::read_to_string(&log).is_ok_and(|log| log.contains(UP));
        wait_until(CONNECT, || up() || !self.process.is_running());
        if !up() {
            bail!("openvpn is not connected; it said:\n{}", tail(&self.log(), 30));
        }
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Fails unless it came up once and nothing has happened since that its person would have noticed.
    pub fn undisturbed(&self) -> Result<()> {
        let log = self.log();
        let trouble: Vec<_> = TROUBLE.into_iter().filter(|word| log.contains(word)).collect();
        match (self.said(UP), trouble.as_slice()) {
            (1, []) => Ok(()),
            (times, trouble) => bail!("up {times} times, {trouble:?}:\n{}", tail(&log, 60)),
        }
    }

    /// Lets it outlive this value.
    pub fn detach(self) {
        self.process.detach();
    }
}

impl Node {
    /// Runs a verb of the console that reads a line, such as a password.
    pub fn must_with<S: AsRef<OsStr>>(&self, words: &[S], line: &str) -> Result<String> {
        let mut command = self.rempart()?;
        command.args(words);
        let output = output_with_input(command, &format!("{line}\n"), VERB)?;
        let what = words.iter().map(|w| w.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        Ok(String::from_utf8_lossy(&succeeded(output, &format!("rempart {what}"))?.stdout).into_owned())
    }

    /// A new person in a group, with a password, and a profile for a device of theirs; the file that it is in.
    pub fn vpn_profile(&self, user: &str, group: &str, password: &str) -> Result<PathBuf> {
        self.must(&["vpn", "user", "add", user, "--groups", group])?;
        self.must_with(&["vpn", "password", user], password)?;
        self.vpn_export(user, "laptop")
    }

    /// A profile for another device of a person.
    pub fn vpn_export(&self, user: &str, label: &str) -> Result<PathBuf> {
        let file = self.host().run_dir().join(format!("{user}-{label}.ovpn"));
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("the profile"),
            _ => {}
        }
        self.must(&["vpn", "export", user, "--label", label, "--out", &file.to_string_lossy()])?;
        Ok(file)
    }
}

impl Lab {
    /// The demonstration: an agent with certificate, password and code, made on `node`, the active one, and connected from cli-wan.
    /// Goes on until [`stop_vpn`](Self::stop_vpn) or the end of the lab. Says where the client's log is.
    pub fn start_vpn(&self, node: &Node) -> Result<PathBuf> {
        let Some(client) = self.find_host("cli-wan") else { bail!("this lab has no cli-wan") };
        self.stop_vpn();
        let authorities = node.must(&["vpn", "authority", "show", "--json"])?;
        if authorities.trim() == "[]" {
            node.must(&["vpn", "authority", "make"])?;
        }
        // Anew each time: a code that was used is not taken again.
        let _ = node.verb(&["vpn", "user", "remove", AGENT])?;
        let profile = node.vpn_profile(AGENT, GROUP, PASSWORD)?;
        let enrolled = node.must(&["vpn", "code", "enrol", AGENT, "--json"])?;
        let enrolled: rempart_bus::vpn::Enrolment = serde_json::from_str(&enrolled)?;
        node.must(&["vpn", "code", "confirm", AGENT, &code(client, &enrolled.secret, 0)?])?;
        // The present one has confirmed the application; the next one is taken early.
        let next = code(client, &enrolled.secret, STEP_S)?;
        // Nobody is there to be asked: name, password and code come from a file, as the client would send them.
        let asks = |line: &&str| !line.starts_with("static-challenge");
        let text = fs::read_to_string(&profile)?;
        let unattended: String = text.lines().filter(asks).flat_map(|line| [line, "\n"]).collect();
        fs::write(&profile, unattended)?;
        let typed = format!("SCRV1:{}:{}", base64(client, PASSWORD)?, base64(client, &next)?);
        let mut tunnel = client.openvpn(&profile, AGENT, &typed)?;
        tunnel.wait_up()?;
        let log = tunnel.process.log_path().to_path_buf();
        tunnel.detach();
        Ok(log)
    }

    /// Ends the demonstration's client, if it runs.
    pub fn stop_vpn(&self) {
        let stop = || self.signal("cli-wan", "openvpn", None, Signal::SIGTERM).is_ok();
        if stop() {
            wait_until(VERB, || !stop());
        }
    }
}

/// What an application shows `ahead_s` from now (RFC 6238, SHA-1, six digits), from the letters of its enrolment.
pub fn code(host: &Host, letters: &str, ahead_s: u64) -> Result<String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let step = (since.as_secs() + ahead_s) / STEP_S;
    let mut openssl = host.command("openssl");
    openssl.args(["dgst", "-sha1", "-mac", "HMAC", "-macopt", &format!("hexkey:{}", hex(letters)), "-r"]);
    // As bytes: the counter is binary, and the tool takes what a file holds.
    let file = host.run_dir().join("counter");
    fs::write(&file, step.to_be_bytes())?;
    openssl.arg(&file);
    let said = succeeded(crate::output_within(openssl, VERB)?, "openssl dgst")?.stdout;
    let said = String::from_utf8_lossy(&said);
    let tag: Vec<u8> = said
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    // RFC 4226 §5.3: the last four bits say where the number is.
    let place = usize::from(*tag.last().context("openssl says nothing")? & 15);
    let word = tag.get(place..).and_then(|rest| rest.first_chunk()).context("a tag of SHA-1")?;
    Ok(format!("{:06}", (u32::from_be_bytes(*word) & 0x7fff_ffff) % 1_000_000))
}

/// Base 32 (RFC 4648 §6) as hexadecimal digits.
fn hex(letters: &str) -> String {
    let (mut bits, mut count, mut out) = (0_u64, 0, String::new());
    for letter in letters.bytes().filter(|l| l.is_ascii_alphabetic() || (b'2'..=b'7').contains(l)) {
        let value =
            if letter.is_ascii_digit() { letter - b'2' + 26 } else { letter.to_ascii_uppercase() - b'A' };
        (bits, count) = (bits << 5 | u64::from(value), count + 5);
        if count >= 8 {
            count -= 8;
            out += &format!("{:02x}", (bits >> count) as u8);
        }
    }
    out
}

/// RFC 4648 §4.
pub fn base64(host: &Host, text: &str) -> Result<String> {
    let mut openssl = host.command("openssl");
    openssl.args(["base64", "-A"]);
    let output = output_with_input(openssl, text, VERB)?;
    Ok(String::from_utf8_lossy(&succeeded(output, "openssl base64")?.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: the secret of RFC 6238's appendix B, in base 32. Out: its bytes.
    #[test]
    fn the_letters_of_an_enrolment_are_read() {
        assert_eq!(hex("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "3132333435363738393031323334353637383930");
    }
}
