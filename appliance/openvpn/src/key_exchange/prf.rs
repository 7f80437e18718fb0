//! The pseudorandom function of TLS 1.0 (RFC 2246 §5), which clients before 2.6 make their keys with. MD5 and SHA-1 are
//! used as that document says and for nothing else; the secret comes through TLS 1.2 or 1.3.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use zeroize::Zeroizing;

use super::Material;

/// The data channel's block of keys (draft "OpenVPN data channel PRF"; the session ids at its end: study §2.4).
pub(super) fn key_block(material: &Material<'_>) -> Zeroizing<[u8; 256]> {
    let (client, server) = (&material.client.randoms, material.server);
    let mut master = Zeroizing::new([0; 48]);
    let parts: [&[u8]; 3] = [b"OpenVPN master secret", &client.first, &server.first];
    prf(&material.client.pre_master[..], &parts, &mut master[..]);
    let mut block = Zeroizing::new([0; 256]);
    let parts: [&[u8]; 5] = [
        b"OpenVPN key expansion",
        &client.second,
        &server.second,
        &material.client_session.0,
        &material.server_session.0,
    ];
    prf(&master[..], &parts, &mut block[..]);
    block
}

/// RFC 2246 §5: half of the secret goes to each hash, and with an odd length both have the middle byte.
pub(super) fn prf(secret: &[u8], label_and_seed: &[&[u8]], out: &mut [u8]) {
    let length = secret.len().div_ceil(2);
    let (first, _) = secret.split_at(length);
    let (_, second) = secret.split_at(secret.len() - length);
    out.fill(0);
    expand::<Hmac<Md5>>(first, label_and_seed, out);
    expand::<Hmac<Sha1>>(second, label_and_seed, out);
}

/// P_hash of RFC 2246 §5, by exclusive or into what is there.
fn expand<M: Mac + KeyInit + Clone>(secret: &[u8], label_and_seed: &[&[u8]], out: &mut [u8]) {
    let keyed = <M as Mac>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("an HMAC takes any key"));
    let with = |first: &[u8], seed: &[&[u8]]| {
        let mut mac = keyed.clone();
        mac.update(first);
        seed.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    };
    let mut a = with(&[], label_and_seed);
    for chunk in out.chunks_mut(M::output_size()) {
        let block = Zeroizing::new(with(&a, label_and_seed).to_vec());
        for (byte, other) in chunk.iter_mut().zip(block.iter()) {
            *byte ^= other;
        }
        a = with(&a, &[]);
    }
}
