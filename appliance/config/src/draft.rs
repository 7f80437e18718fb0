//! The draft: the document as written, key by key. The doc comments become the descriptions of the JSON Schema.

use crate::decode::{At, ByNode, Either, Int, List, Many, Named, Toggle, draft};
use crate::model::{
    BondMode, ChecksumForm, Helper, Outbound, Rate, SourceAddress, VirtualProtocol, VpnStrangers,
};
use crate::text::address::{Address, AddressInNet, HostElement, InterfaceAddress, Network};
use crate::text::endpoint::EndpointText;
use crate::text::remote::{DemandWord, DomainText, ListenText, OffloadWord, RemoteText, TlsWord, TunnelWord};
use crate::text::service::ServiceText;
use crate::text::time::{Day, Days, Hours, Lapse, SynLimit};
use crate::text::wireguard::{PublicKeyText, SocketText};
use crate::text::word::{AbsolutePath, DeviceText, FailbackWord, NameText, Per, Prose, TimeZone, Via};

draft! {
    /// The Rempart document: one file for both boxes.
    Document, "the document" {
        /// Version of this grammar: 1.
        must version: At<Int<1, 1>>,
        /// The name of the box, where there is only one.
        may node: At<NameText>,
        /// The two boxes.
        may pair: PairDraft,
        /// Settings of the box as a whole.
        may system: SystemDraft,
        /// Interfaces, by the name the document calls them.
        may interface: Named<InterfaceDraft>,
        /// Settings of zones. A zone exists by being named on an interface.
        may zone: Named<ZoneDraft>,
        /// Names of hosts, networks and ranges.
        may host: Named<Many<HostElement>>,
        /// Names of services.
        may service: Named<Many<ServiceText>>,
        /// The flow matrix: the first flow that matches decides.
        may flow: List<FlowDraft>,
        /// Address translation other than publishing.
        may nat: NatDraft,
        /// Static routes.
        may route: List<RouteDraft>,
        /// Named routers.
        may gateway: Named<GatewayDraft>,
        /// Weekly schedules.
        may schedule: Named<ScheduleDraft>,
        /// Lists of addresses that are dropped.
        may blocklist: Named<BlocklistDraft>,
        /// Remote access.
        may vpn: VpnDraft,
        /// WireGuard: ChaCha20-Poly1305, outside a policy of AES-256.
        may wireguard: WireguardDraft,
        /// Settings of the policy as a whole.
        may policy: PolicyDraft,
        /// Assertions that are checked before each commit.
        may check: List<CheckDraft>,
    }

    /// Two boxes that stand in for each other.
    PairDraft, "[pair]" {
        /// Their names; the first one is preferred.
        must nodes: List<NameText>,
        /// The interface with the dedicated cable.
        may sync: At<NameText>,
        /// Whether the preferred node takes the role back by itself; default stay.
        may failback: At<FailbackWord>,
        /// How long the preferred node has been well before it does; default 60s.
        may failback_delay: At<Lapse>,
        /// Time between two heartbeats, 5ms to 1s; default 10ms.
        may heartbeat: At<Lapse>,
    }

    /// Settings of the box as a whole.
    SystemDraft, "[system]" {
        /// IANA time zone of schedules and expiry dates; default UTC.
        may timezone: At<TimeZone>,
        /// Largest number of tracked connections; default by memory.
        may max_connections: At<Int<1024, 67_108_864>>,
    }

    /// A network interface.
    InterfaceDraft, "an interface" {
        /// The kernel's device; a VLAN has one by default.
        may device: ByNode<At<DeviceText>>,
        /// The zone; without one it is in no policy and forwards nothing.
        may zone: At<NameText>,
        /// Addresses with their prefix length, `dhcp` or `slaac`.
        may address: ByNode<Many<InterfaceAddress>>,
        /// Addresses of whichever node is active, by virtual router.
        may r#virtual: Either<List<VirtualDraft>, At<VirtualDraft>>,
        /// Default routers, one per family.
        may gateway: ByNode<Many<Address>>,
        /// MTU in bytes: 1280 to 9216 where IPv6 is used, else from 576.
        may mtu: At<Int<576, 9216>>,
        /// IEEE 802.1Q on top of another interface.
        may vlan: At<VlanDraft>,
        /// Several devices used as one.
        may bond: At<BondDraft>,
        /// An Ethernet bridge.
        may bridge: At<BridgeDraft>,
        /// Whether its state counts for the health of the node; default true where it has a zone.
        may monitor: At<bool>,
        /// What it is for.
        may description: At<Prose>,
    }

    /// A virtual router: addresses of whichever node is active.
    VirtualDraft, "a virtual address" {
        /// One or several addresses of one IP version, with their prefix length.
        must address: Many<AddressInNet>,
        /// Virtual router id, one for each virtual router of an interface; IPv4 and IPv6 may share one.
        must vrid: At<Int<1, 255>>,
        /// The protocol of its adverts; default vrrp3.
        may protocol: At<VirtualProtocol>,
        /// Time between two adverts: 10ms to 40950ms in vrrp3, whole seconds in vrrp2. Default 100ms in a pair, else 1s.
        may interval: At<Lapse>,
        /// The higher one is active: 1 to 254; per node possible. Default 200 and 100 in a pair, else 100.
        may priority: ByNode<At<Int<1, 254>>>,
        /// Takes the role from a router of lower priority; in a pair only until it is paired. Default true for a
        /// single box, or as `failback` says.
        may preempt: At<bool>,
        /// How long it waits before that; default none, or as `failback_delay` says.
        may preempt_delay: At<Lapse>,
        /// Answers what is sent to the virtual address, ping for one; default true.
        may accept: At<bool>,
        /// The other routers, where the network carries no multicast; a node leaves itself out.
        may unicast: ByNode<Many<Address>>,
        /// The checksum that vrrp3 sends over IPv4; default like-peer.
        may checksum: At<ChecksumForm>,
        /// CARP: time between two adverts, in seconds; default 1.
        may advbase: At<Int<1, 254>>,
        /// CARP: added to it in 1/256 s, so that less is preferred; per node possible. Default 0 and 100 in a pair, else 0.
        may advskew: ByNode<At<Int<0, 254>>>,
        /// The name of the secret that carp and vrrp2 use: a file of that name in the directory of secrets.
        may password: At<NameText>,
    }

    /// A VLAN.
    VlanDraft, "vlan" {
        /// The interface below.
        must parent: At<NameText>,
        /// VLAN id.
        must id: At<Int<1, 4094>>,
    }

    /// A bond.
    BondDraft, "bond" {
        /// Its devices.
        must members: ByNode<Many<DeviceText>>,
        /// How they share the traffic; default active-backup.
        may mode: At<BondMode>,
    }

    /// A bridge.
    BridgeDraft, "bridge" {
        /// Its devices.
        must members: ByNode<Many<DeviceText>>,
        /// Spanning tree (IEEE 802.1D); default false.
        may stp: At<bool>,
    }

    /// Settings of a zone.
    ZoneDraft, "a zone" {
        /// Outside: refused traffic is dropped in silence; default true for `wan`, `wan2`, ….
        may external: At<bool>,
        /// Drop what arrives from private sources outside the interface's own networks; default as `external`.
        may block_private: At<bool>,
        /// Drop what arrives from sources that nobody can have; default as `external`.
        may block_bogons: At<bool>,
        /// Drop what arrives from a source that is not routed back through the same interface; default true.
        may anti_spoof: At<bool>,
        /// New TCP connections per source address, or `off`; default 500/second if external.
        may syn_limit: At<SynLimit>,
    }

    /// A line of the flow matrix. Exactly one of allow, deny, reject and drop.
    FlowDraft, "a flow" {
        /// Keeps counters and connections when the flow is edited.
        may id: At<NameText>,
        /// Where packets come from: ZONE, ZONE:HOST, ZONE:!HOST or a list.
        must from: Many<EndpointText>,
        /// Where they go to.
        must to: Many<EndpointText>,
        /// Services that are let through.
        may allow: Many<ServiceText>,
        /// Services that are refused: with an answer inside, in silence outside.
        may deny: Many<ServiceText>,
        /// Services that are refused with an answer.
        may reject: Many<ServiceText>,
        /// Services that are refused in silence.
        may drop: Many<ServiceText>,
        /// Why the flow exists.
        may why: At<Prose>,
        /// Who answers for it.
        may owner: At<Prose>,
        /// The last day on which it is in force.
        may expires: At<Day>,
        /// Only in force while this schedule is.
        may schedule: At<NameText>,
        /// Log each new connection; default false.
        may log: At<bool>,
        /// Most new connections; what is over is refused.
        may rate: At<Rate>,
        /// Most connections at once; what is over is refused.
        may connections: At<Either<Int<1, 16_777_216>, ConnectionsDraft>>,
        /// The connection-tracking helper.
        may helper: At<Helper>,
        /// Destination NAT from the outside addresses to the host in `to`.
        may publish: At<Toggle<PublishDraft>>,
    }

    /// Connections at once.
    ConnectionsDraft, "connections" {
        /// How many.
        must max: At<Int<1, 16_777_216>>,
        /// Counted over the whole flow, or for each source address; default flow.
        may per: At<Per>,
    }

    /// Destination NAT.
    PublishDraft, "publish" {
        /// The address seen from outside; default every IPv4 address of the `from` zones' interfaces.
        may address: At<Address>,
        /// The first port seen from outside; default as the service.
        may port: At<Int<1, 65535>>,
        /// Whether clients of inside zones reach it by the outside address; or which zones.
        may reflect: At<Toggle<Many<NameText>>>,
    }

    /// Address translation.
    NatDraft, "[nat]" {
        /// Where outbound rules come from; default automatic.
        may outbound: At<Outbound>,
        /// Outbound rules; the first that matches decides.
        may source: List<SourceNatDraft>,
        /// One-to-one translations.
        may one_to_one: List<OneToOneDraft>,
    }

    /// An outbound rule.
    SourceNatDraft, "an outbound rule" {
        /// Where packets come from.
        must from: Many<EndpointText>,
        /// The zones they leave to.
        must to: Many<EndpointText>,
        /// With what; default any.
        may service: Many<ServiceText>,
        /// The address they leave under: an address, `interface`, or `none` to leave it.
        must address: At<SourceAddress>,
        /// Why the rule exists.
        may why: At<Prose>,
    }

    /// A one-to-one translation.
    OneToOneDraft, "a one-to-one translation" {
        /// The host or network seen from outside.
        must outside: At<Network>,
        /// The real host or network, of the same length.
        must inside: At<Network>,
        /// The interface, where it cannot be told from `outside`.
        may interface: At<NameText>,
    }

    /// A static route.
    RouteDraft, "a route" {
        /// The network behind it.
        must to: At<Network>,
        /// A router's address, a name in `[gateway]`, or `blackhole`.
        must via: At<Via>,
        /// Lower is preferred; default 0.
        may metric: At<Int<0, 4_294_967_295>>,
    }

    /// A named router.
    GatewayDraft, "a gateway" {
        /// Its address.
        must address: At<Address>,
    }

    /// A weekly schedule: on these days in these hours.
    ScheduleDraft, "a schedule" {
        /// Days or ranges of days; default every day.
        may days: Many<Days>,
        /// Hours; what ends before it starts ends on the next day. Default the whole day.
        may hours: Many<Hours>,
    }

    /// A list of addresses that are dropped.
    BlocklistDraft, "a block list" {
        /// The file on the box: one address, network or range a line.
        must file: At<AbsolutePath>,
        /// Where it applies; default the external zones.
        may zones: Many<NameText>,
        /// Log what is dropped; default false.
        may log: At<bool>,
    }

    /// Remote access. It is there once it has a group.
    VpnDraft, "[vpn]" {
        /// Groups of remote users. Who is in several has the addresses of the first one, and all that they demand is
        /// demanded.
        may group: Named<VpnGroupDraft>,
        /// Where clients connect to: zones, interfaces or addresses; default the external zones.
        may listen: Many<ListenText>,
        /// UDP port; default 1194.
        may port: At<Int<1, 65535>>,
        /// TCP port for clients whose network lets nothing else out, or false; default 443, where nothing is published
        /// there.
        may tcp: At<Toggle<Int<1, 65535>>>,
        /// Names or addresses that profiles give the client; default the addresses that it listens on.
        may remotes: Many<RemoteText>,
        /// MTU of the tunnel in bytes, with an IPv6 pool at least 1280; default 1500.
        may mtu: At<Int<576, 1500>>,
        /// Most sessions at once; default 1000.
        may sessions: At<Int<1, 10_000>>,
        /// The longest that a key is used, 1min to 24h; default 1h.
        may rekey: At<Lapse>,
        /// A session of which nothing is heard for so long is over, 30s to 1h; default 2min.
        may idle: At<Lapse>,
        /// The lowest version of TLS; default 1.2.
        may tls: At<TlsWord>,
        /// Who carries the packets of sessions: the program alone, or the kernel (Linux 6.16 and later) where it can; default
        /// none.
        may offload: At<OffloadWord>,
        /// Who is asked about people who are not in the box's own store; default nobody.
        may strangers: At<VpnStrangers>,
        /// Active Directory.
        may directory: DirectoryDraft,
        /// RADIUS.
        may radius: RadiusDraft,
        /// What the certificates of the box's authority look like.
        may certificates: CertificatesDraft,
    }

    /// A group of remote users.
    VpnGroupDraft, "a VPN group" {
        /// The addresses that its members are given: a network of IPv4, of IPv6, or one of each. The first host is the
        /// box.
        must pool: Many<Network>,
        /// What a login demands; default all three. A code alone is not enough.
        may demand: Many<DemandWord>,
        /// Whether everything goes into the tunnel, or only `routes`, which needs a `why`; default full.
        may tunnel: At<TunnelWord>,
        /// What is behind the tunnel, where it is split.
        may routes: Many<HostElement>,
        /// Why it is split.
        may why: At<Prose>,
        /// Resolvers, by address or by a name in [host].
        may dns: Many<HostElement>,
        /// The domain of the connection.
        may domain: At<DomainText>,
        /// Domains that are searched.
        may search: Many<DomainText>,
        /// Most sessions of the group at once; default as many as of all.
        may sessions: At<Int<1, 10_000>>,
        /// Most sessions of one person at once; default 3.
        may sessions_each: At<Int<1, 100>>,
        /// How long after its login a session ends, 5min to 24h; default never.
        may limit: At<Lapse>,
        /// Groups of the directory whose members are in this one: their name, or distinguished name.
        may directory_groups: Many<Prose>,
    }

    /// Active Directory, by LDAPS.
    DirectoryDraft, "[vpn.directory]" {
        /// The domain.
        must domain: At<DomainText>,
        /// Its controllers, in the order in which they are tried: names in [host], which are taken to be in the domain,
        /// or DNS names.
        must controllers: Many<HostElement>,
        /// The name of the secret with the certificate of the authority that certified them, PEM.
        must authority: At<NameText>,
        /// Port; default 636.
        may port: At<Int<1, 65535>>,
    }

    /// RADIUS.
    RadiusDraft, "[vpn.radius]" {
        /// The servers, in the order in which they are tried: addresses, names in [host], or DNS names.
        must servers: Many<HostElement>,
        /// The name of the shared secret.
        must secret: At<NameText>,
        /// Port; default 1812.
        may port: At<Int<1, 65535>>,
        /// The address that requests come from; default the kernel's choice.
        may source: At<Address>,
        /// The group of people whom the server names none for.
        may group: At<NameText>,
    }

    /// What the certificates of the box's authority look like.
    CertificatesDraft, "[vpn.certificates]" {
        /// The organisation in their names; default Rempart.
        may organisation: At<Prose>,
        /// How long a device's certificate is valid, in days; default 365.
        may device_days: At<Int<1, 1095>>,
        /// How long before its end a warning is given, in days; default 30.
        may warn_days: At<Int<1, 365>>,
    }

    /// WireGuard: ChaCha20-Poly1305, outside a policy of AES-256.
    WireguardDraft, "[wireguard]" {
        /// Whether it is switched on; default false.
        may enabled: At<bool>,
        /// The zones in whose interfaces' addresses it listens; default the external ones.
        may zones: Many<NameText>,
        /// UDP port; default 51820.
        may port: At<Int<1, 65535>>,
        /// The box's addresses in the tunnel, with their prefix length.
        may address: Many<AddressInNet>,
        /// The name of the secret with the private key, in base64.
        may private_key: At<NameText>,
        /// MTU of the tunnel in bytes; default 1420.
        may mtu: At<Int<576, 1500>>,
        /// Why it is there.
        may why: At<Prose>,
        /// Devices and sites, by the name that flows call them by: `wireguard:NAME`.
        may peer: Named<WireguardPeerDraft>,
    }

    /// A peer of WireGuard.
    WireguardPeerDraft, "a WireGuard peer" {
        /// Its public key, in base64.
        must public_key: At<PublicKeyText>,
        /// Its addresses and the networks behind it.
        must address: Many<Network>,
        /// The name of the secret with a key that both have beside their own.
        may preshared_key: At<NameText>,
        /// Where it is until it was heard: ADDRESS:PORT.
        may endpoint: At<SocketText>,
        /// An empty message after so much silence, for translators on the way; default none.
        may keepalive: At<Lapse>,
        /// What it is.
        may description: At<Prose>,
    }

    /// Settings of the policy as a whole.
    PolicyDraft, "[policy]" {
        /// Whether tunnels that are not AES-256 are forbidden; default false.
        may aes_256_only: At<bool>,
        /// Services that are refused without being logged; default netbios, ssdp, mdns.
        may noise: List<ServiceText>,
    }

    /// An assertion on the policy. Exactly one of never and always.
    CheckDraft, "a check" {
        /// Its sentence.
        must name: At<Prose>,
        /// Where packets come from.
        must from: Many<EndpointText>,
        /// Where they go to.
        must to: Many<EndpointText>,
        /// Services of which none is let through.
        may never: Many<ServiceText>,
        /// Services of which all are let through.
        may always: Many<ServiceText>,
        /// But not these.
        may except: Many<ServiceText>,
    }
}
