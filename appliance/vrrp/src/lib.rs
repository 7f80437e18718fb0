//! VRRP and CARP.
