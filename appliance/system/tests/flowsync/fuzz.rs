//! What is asked of any bytes that a peer sends: by the fuzz target `flow`, and by the ordinary tests with a few of them.

use rempart_system::flowsync::{HashKey, Identity, MAX_ENCODED, Record, fingerprint};

const HASH: HashKey = HashKey([7; 16]);

/// What is read has one form, and that is the bytes it was read from. Whether anything was read.
pub fn flow(data: &[u8]) -> bool {
    let mut bytes = Vec::new();
    let record = Record::decode(data);
    if let Some(record) = &record {
        record.encode(&mut bytes);
        assert!(bytes == data && data.len() <= MAX_ENCODED);
        let _ = (record.key(&HASH), record.depth(), fingerprint(data, &HASH));
    }
    bytes.clear();
    let identity = Identity::decode(data);
    if let Some(identity) = &identity {
        identity.encode(&mut bytes);
        assert_eq!(bytes, data);
        let _ = identity.key(&HASH);
    }
    record.is_some() || identity.is_some()
}
