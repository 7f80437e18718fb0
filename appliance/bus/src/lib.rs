//! The D-Bus interfaces of the daemons and the status document.
