//! What is asked of any bytes that come from the other node or from `rempart-ha`: by the fuzz targets `vpn_value` and `relay`, and
//! by the ordinary tests with a few of them.

use crate::relay::{Frame, MAX_FRAME, MAX_MESSAGE};
use crate::value::{MAX_VALUE, Value};

/// A session as the other node holds it. What is taken has bounds, and is the same when it is written and read again.
pub fn value(data: &[u8]) {
    if let Ok(value) = Value::decode(data) {
        assert!(data.len() <= MAX_VALUE);
        let again = value.encode();
        assert_eq!(Value::decode(&again).as_ref(), Ok(&value));
        // A group that is named twice is written once.
        assert!(again.len() <= data.len());
    }
}

/// What comes over the relay's socket: frames one after another, the last of which may not be whole.
pub fn relay(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((frame, length))) = Frame::read(rest) {
        assert!(length <= MAX_FRAME);
        if let Frame::Message(message) = frame {
            assert!(message.len() <= MAX_MESSAGE);
        }
        let mut again = Vec::new();
        frame.write(&mut again);
        assert_eq!(again, rest[..length]);
        rest = &rest[length..];
    }
}
