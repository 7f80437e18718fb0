//! A client for one thing: a file from a server, over TLS 1.3 (RFC 9110, RFC 9112).
//!
//! Everything that a server says is bounded: the head of its answer, the number of places it sends us on to, the time. What
//! the file is worth is not the server's to say; that is for the signature in it. Only bodies with a length are taken: files
//! have one.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The longest URL.
const URL_BYTES_MAX: usize = 2048;
/// The longest head of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// How often a server may send us on.
const MOVES_MAX: usize = 3;
/// How many of a name's addresses are tried.
const ADDRESSES_MAX: usize = 4;
/// How long a server may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// Authorities in the file.
const AUTHORITIES_MAX: usize = 512;

/// Where a file lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

impl Url {
    /// Reads `https://host[:port]/path`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("https://").ok_or("updates come by https:// only")?;
        if text.len() > URL_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the address is too long, or has characters that must be written as %xx");
        }
        let (place, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = path.split('#').next().unwrap_or_default();
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| "its port is no number")?)
            }
            _ => (place, 443),
        };
        if host.is_empty() || host.contains('@') || port == 0 {
            return Err("it names no server");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), port, path })
    }

    /// Where this one sends us on to.
    fn moved(&self, location: &str) -> Result<Self, &'static str> {
        match location.starts_with('/') && !location.starts_with("//") {
            true => Self::parse(&format!("https://{}{location}", self.place())),
            false => Self::parse(location),
        }
    }

    fn place(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.place(), self.path)
    }
}

/// What a server answers, without the body.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answer {
    status: u16,
    length: Option<u64>,
    location: Option<String>,
    encoded: bool,
}

impl Answer {
    /// Reads the head of an answer, up to the empty line.
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let status = lines.next()?;
        let mut words = status.split(' ');
        if !matches!(words.next()?, "HTTP/1.1" | "HTTP/1.0") {
            return None;
        }
        let status = words.next().filter(|word| word.len() == 3)?.parse().ok()?;
        let mut answer = Self { status, length: None, location: None, encoded: false };
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let length = value.parse().ok()?;
                    // RFC 9112 §6.3: two that differ are an attack.
                    if answer.length.replace(length).is_some_and(|before| before != length) {
                        return None;
                    }
                }
                "location" => answer.location = Some(value.to_owned()),
                "transfer-encoding" => answer.encoded = true,
                "content-encoding" => answer.encoded |= !value.eq_ignore_ascii_case("identity"),
                _ => {}
            }
        }
        Some(answer)
    }
}

/// Opens a file on a server; `authorities` vouch for it.
pub fn open(url: &Url, authorities: &Path) -> io::Result<Box<dyn Read + Send>> {
    let tls = Arc::new(configuration(authorities)?);
    let mut url = url.clone();
    for _ in 0..=MOVES_MAX {
        let (answer, stream, behind) = ask(&url, &tls)?;
        match answer {
            Answer { status: 200, encoded: false, length: Some(length), .. } => {
                return Ok(Box::new(io::Cursor::new(behind).chain(stream).take(length)));
            }
            Answer { status: 200, .. } => {
                return Err(io::Error::other("the server does not say how long the file is"));
            }
            Answer { status: 301 | 302 | 303 | 307 | 308, location: Some(location), .. } => {
                url = url.moved(&location).map_err(io::Error::other)?;
            }
            Answer { status, .. } => {
                return Err(io::Error::other(format!("the server answers {status} for {url}")));
            }
        }
    }
    Err(io::Error::other("the server sends us on and on"))
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn ask(url: &Url, tls: &Arc<ClientConfig>) -> io::Result<(Answer, Stream, Vec<u8>)> {
    let bare = url.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare.clone()).map_err(io::Error::other)?;
    let socket = connect(&bare, url.port)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))?;
    let client = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(client, socket);
    // In one piece: a server may answer to the first one and be gone.
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Rempart/{}\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n",
        url.path,
        url.place(),
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::with_capacity(ANSWER_BYTES_MAX);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let behind = bytes.split_off(end + 4);
            let head = std::str::from_utf8(&bytes).ok().and_then(Answer::parse);
            let answer = head.ok_or_else(|| io::Error::other("what the server answers is no HTTP"))?;
            return Ok((answer, stream, behind));
        }
        let mut piece = [0; 2048];
        let count = stream.read(&mut piece)?;
        bytes.extend(piece.iter().take(count));
        if count == 0 || bytes.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the server's answer has no end, or none in time"));
        }
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()?.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn configuration(authorities: &Path) -> io::Result<ClientConfig> {
    let none =
        |why: String| io::Error::other(format!("no server can be trusted: {}: {why}", authorities.display()));
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(authorities).map_err(|error| none(error.to_string()))?;
    for certificate in found.take(AUTHORITIES_MAX) {
        roots
            .add(certificate.map_err(|error| none(error.to_string()))?)
            .map_err(|error| none(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = config.map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;
