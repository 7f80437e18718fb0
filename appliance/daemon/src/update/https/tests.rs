//! A server of one thread, with an authority of its own.

use std::net::TcpListener;
use std::thread;

use super::*;

#[test]
fn addresses_are_read() {
    let url = |text: &str| Url::parse(text).map(|url| url.to_string());
    for good in ["https://updates.example/r.update", "https://[2001:db8::1]:8443/a?b=c", "https://192.0.2.1/"]
    {
        assert_eq!(url(good).as_deref(), Ok(good));
    }
    assert_eq!(url("https://updates.example").as_deref(), Ok("https://updates.example/"));
    assert_eq!(url("https://updates.example:443/a#b").as_deref(), Ok("https://updates.example/a"));
    for wrong in [
        "http://a/",
        "https:///a",
        "https://a:x/",
        "https://a:0/",
        "https://u@a/",
        "https://a/ b",
        "https://a/\r\nX: y",
    ] {
        assert!(url(wrong).is_err(), "{wrong}");
    }
    let here = Url::parse("https://a:8443/x").expect("a URL");
    assert_eq!(here.moved("/y").map(|url| url.to_string()).as_deref(), Ok("https://a:8443/y"));
    assert!(here.moved("http://a/y").is_err() && here.moved("//b/y").is_err());
}

#[test]
fn answers_are_read() {
    // Heads in; what they say, or that they are none, out.
    let good = Answer::parse("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nServer: x\r\n\r\n").expect("an answer");
    assert_eq!((good.status, good.length, good.encoded), (200, Some(7), false));
    let moved = Answer::parse("HTTP/1.1 302 Found\r\nlocation:\t/x \r\n\r\n").expect("an answer");
    assert_eq!((moved.status, moved.location.as_deref()), (302, Some("/x")));
    assert!(
        Answer::parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_some_and(|a| a.encoded)
    );
    for wrong in [
        "",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        assert_eq!(Answer::parse(wrong), None, "{wrong:?}");
    }
}

/// Answers these texts to as many connections, and gives the URL and the file with its authority.
fn server(answers: Vec<String>, folder: &Path) -> (Url, std::path::PathBuf) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("a certificate");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let authority_pem = authority.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let own = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a certificate");
    let own = own.signed_by(&key, &issuer).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}/v.update", listener.local_addr().expect("an address").port());
    let config = Arc::new(config);
    thread::spawn(move || {
        for answer in answers {
            let Ok((socket, _)) = listener.accept() else { return };
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = StreamOwned::new(connection, socket);
            let mut request = [0; 4096];
            // Who does not trust us says so here.
            if stream.read(&mut request).is_ok() {
                let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    let path = folder.join("ca.pem");
    std::fs::write(&path, authority_pem).expect("a file of our own");
    (Url::parse(&url).expect("a URL"), path)
}

fn fetched(answers: &[&str]) -> io::Result<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, authorities) = server(answers.iter().map(|text| (*text).to_owned()).collect(), folder.path());
    let mut text = String::new();
    open(&url, &authorities)?.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_file_comes_and_no_more_than_it() {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloand more";
    assert_eq!(fetched(&[good]).expect("a file"), "hello");
    let moved = "HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\n\r\n";
    assert_eq!(fetched(&[moved, moved, good]).expect("a file"), "hello");
    assert!(fetched(&[moved; 5]).is_err());
    assert!(fetched(&["HTTP/1.1 404 Not Found\r\n\r\n"]).is_err_and(|e| e.to_string().contains("404")));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(10_000));
    assert!(fetched(&[&endless]).is_err());
}

#[test]
fn a_stranger_is_not_asked() {
    // A server whose certificate another authority has signed.
    let folder = tempfile::tempdir().expect("a folder");
    let (url, _) = server(vec!["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".into()], folder.path());
    let (_, other) = server(Vec::new(), folder.path());
    let refused = open(&url, &other).map(|_| ()).expect_err("a stranger");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let missing = open(&url, Path::new("/nowhere/ca.pem")).map(|_| ()).expect_err("no authority");
    assert!(missing.to_string().contains("no server can be trusted"), "{missing}");
}
