//! Who a session is of and what it has. A file of its own, because it crosses to the other node: `value` writes it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rempart_identity::names::{DeviceId, GroupName, UserName};

/// Who a session is of, and what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The group whose addresses and options it has.
    pub group: String,
    /// Who.
    pub user: UserName,
    /// All groups that were admitted.
    pub groups: BTreeSet<GroupName>,
    /// On which device.
    pub device: Option<DeviceId>,
    /// Its addresses.
    pub inner: Inner,
    /// Networks behind it.
    pub networks: Vec<IpNet>,
    /// Since when, in seconds since 1970.
    pub since_unix_s: u64,
}

impl Grant {
    /// By what its address is remembered.
    pub fn who(&self) -> String {
        match self.device {
            Some(device) => String::from(device),
            None => self.user.as_str().to_owned(),
        }
    }

    /// The same person on the same device.
    pub fn is_of(&self, other: &Self) -> bool {
        self.user == other.user && self.device == other.device
    }

    /// Everything behind the session: its addresses, and the networks.
    pub fn own(&self) -> Vec<IpNet> {
        self.inner.nets().chain(self.networks.iter().copied()).collect()
    }
}

/// Addresses of one client in the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inner {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Inner {
    /// Both.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::from).into_iter().chain(self.v6.map(IpAddr::from))
    }

    /// As networks of one address.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.addresses().map(IpNet::from)
    }
}
