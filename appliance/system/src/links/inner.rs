//! The device of a tunnel: what its program needs of it. The device is that program's; the document's network knows nothing
//! of it, and its routes carry a number of their own, so that neither side takes away what the other has made.

use std::collections::BTreeSet;

use netlink_packet_route::address::AddressHeaderFlags;

use super::*;

/// Whose routes these are (`RTPROT_*`; from 80 on nobody's): one beside that of the document's routes.
const TUNNEL_PROTOCOL: u8 = 83;

/// Why a tunnel's device is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} of {device}: {source}")]
pub struct InnerError {
    what: &'static str,
    device: Device,
    source: io::Error,
}

impl Links {
    /// Gives a device its MTU and these addresses, takes others away but link-local ones, and switches it on.
    pub async fn set_up_inner(
        &self,
        device: &Device,
        mtu: u32,
        addresses: &[IpNet],
    ) -> Result<(), InnerError> {
        let index = self.inner_index(device).await?;
        let message = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
        done(device, "set the MTU", self.handle.link().change(message).execute().await, &[])?;
        let listed: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(|error| failed(device, "read the addresses", error))?;
        let wanted: BTreeSet<IpNet> = addresses.iter().copied().collect();
        let there: BTreeSet<IpNet> = listed.iter().filter_map(address_of).collect();
        for net in there.difference(&wanted).filter(|net| !is_link_local(net)) {
            let gone = self.handle.address().del(address_message(index, *net)).execute().await;
            done(device, "take away an address", gone, &[Errno::EADDRNOTAVAIL])?;
        }
        for net in wanted.difference(&there) {
            let mut request = self.handle.address().add(index, net.addr(), net.prefix_len());
            if net.addr().is_ipv6() {
                // Nobody else is on the link.
                request.message_mut().header.flags = AddressHeaderFlags::Nodad;
            }
            done(device, "add an address", request.execute().await, &[Errno::EEXIST])?;
        }
        Ok(())
    }

    /// Leads a network into a tunnel's device, or no longer.
    pub async fn route_inner(&self, device: &Device, to: IpNet, there: bool) -> Result<(), InnerError> {
        let index = match self.inner_index(device).await {
            // Its routes have gone with it.
            Err(error) if !there && error.source.kind() == io::ErrorKind::NotFound => return Ok(()),
            index => index?,
        };
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to.network(), to.prefix_len())
            .map_err(|error| InnerError {
                what: "make a route",
                device: device.clone(),
                source: io::Error::new(io::ErrorKind::InvalidInput, error.to_string()),
            })?
            .output_interface(index)
            .protocol(RouteProtocol::from(TUNNEL_PROTOCOL))
            .build();
        match there {
            true => {
                let added = self.handle.route().add(route).replace().execute().await;
                done(device, "add a route", added, &[])
            }
            false => {
                let gone = self.handle.route().del(route).execute().await;
                done(device, "take away a route", gone, &[Errno::ESRCH])
            }
        }
    }

    async fn inner_index(&self, device: &Device) -> Result<u32, InnerError> {
        let lost = |source| InnerError { what: "find the number", device: device.clone(), source };
        let index = self.index(device).await.map_err(|error| lost(io::Error::other(error.to_string())))?;
        index.ok_or_else(|| lost(io::ErrorKind::NotFound.into()))
    }
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

fn failed(device: &Device, what: &'static str, error: rtnetlink::Error) -> InnerError {
    let source = match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        other => io::Error::other(other.to_string()),
    };
    InnerError { what, device: device.clone(), source }
}

fn done(
    device: &Device,
    what: &'static str,
    result: Result<(), rtnetlink::Error>,
    benign: &[Errno],
) -> Result<(), InnerError> {
    let Err(error) = result else { return Ok(()) };
    let error = failed(device, what, error);
    let errno = error.source.raw_os_error().map(Errno::from_raw);
    if errno.is_some_and(|errno| benign.contains(&errno)) { Ok(()) } else { Err(error) }
}
