//! Owns who asks: the person's name and the network session they sit in.
//!
//! `sudo` drops `SSH_CONNECTION`, and with it the protection against locking oneself out; so the ancestors of
//! this process are asked too, which root may read.

use std::net::IpAddr;

use rempart_bus::documents::Session;

/// Most ancestors looked at: a login, a shell, sudo and an editor are four.
const ANCESTORS_MAX: usize = 32;

/// The person, from what `sudo`, `login` and the shell say.
pub fn author(env: impl Fn(&str) -> Option<String>) -> String {
    let names = ["SUDO_USER", "LOGNAME", "USER"];
    let named = names.into_iter().filter_map(env).find(|n| !n.is_empty());
    named.or_else(account).unwrap_or_else(|| "unknown".to_owned())
}

/// The account that this program runs under: a console without a login has no environment to say so.
fn account() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    // passwd(5): name:password:UID:…
    let names = accounts.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == own).then(|| name.to_owned())
    });
    names.into_iter().find(|name| !name.is_empty())
}

/// The SSH session that this program runs in, if any.
pub fn session() -> Option<Session> {
    let own = std::env::var("SSH_CONNECTION").ok();
    own.or_else(inherited).and_then(|text| parse_session(&text))
}

/// Reads `SSH_CONNECTION`: client address, client port, server address, server port (ssh(1)).
pub fn parse_session(text: &str) -> Option<Session> {
    let mut words = text.split_whitespace();
    // A link-local address carries its interface: fe80::1%eth0.
    let address = |word: &str| -> Option<IpAddr> { word.split('%').next().and_then(|a| a.parse().ok()) };
    Some(Session {
        client: address(words.next()?)?,
        client_port: words.next()?.parse().ok()?,
        server: address(words.next()?)?,
        server_port: words.next()?.parse().ok()?,
    })
}

fn inherited() -> Option<String> {
    let mut process = std::os::unix::process::parent_id();
    for _ in 0..ANCESTORS_MAX {
        if process <= 1 {
            return None;
        }
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let found = environment.split(|b| *b == 0).find_map(|v| v.strip_prefix(b"SSH_CONNECTION="));
        if let Some(value) = found {
            return String::from_utf8(value.to_vec()).ok();
        }
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // pid (comm) state ppid …; the name may contain anything, so what follows its last parenthesis counts.
        process = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_behind_sudo_comes_first() {
        let env = |name: &str| match name {
            "SUDO_USER" => Some("alice".to_owned()),
            "USER" => Some("root".to_owned()),
            _ => None,
        };
        assert_eq!(author(env), "alice");
        assert_eq!(author(|n| (n == "USER").then(|| "bob".to_owned())), "bob");
        // Without any of them it is the account; root's is in every passwd(5).
        if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
            assert_eq!(author(|_| None), "root");
        }
    }

    #[test]
    fn ssh_connection_is_four_words() {
        let session = parse_session("192.168.10.21 50022 192.168.10.1 22").unwrap();
        assert_eq!((session.client_port, session.server_port), (50022, 22));
        assert!(parse_session("fe80::1%eth0 1 fe80::2%eth0 22").is_some());
        assert_eq!(parse_session("192.168.10.21 50022"), None);
    }
}
