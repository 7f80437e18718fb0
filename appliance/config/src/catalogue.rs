//! The services that every document knows. Numbers are IANA's (service-names-port-numbers) unless a comment
//! says otherwise; a document that defines one of the names itself means its own.

/// Name, elements in the notation of `[service]`, and what it is. Sorted by name.
pub(crate) const SERVICES: &[(&str, &[&str], &str)] = &[
    (
        "ad",
        &[
            "dns",
            "kerberos",
            "kpasswd",
            "ldap",
            "ldaps",
            "ldap-gc",
            "smb",
            "msrpc",
            "ntp",
            // What domain members use of the dynamic range since Windows Vista (Microsoft KB 832017).
            "tcp/49152-65535",
        ],
        "Active Directory: everything that a domain member needs",
    ),
    ("ah", &["proto/51"], "IPsec authentication header"),
    ("amqp", &["tcp/5672"], "AMQP message queue"),
    ("amqps", &["tcp/5671"], "AMQP over TLS"),
    ("bacula", &["tcp/9101-9103"], "Bacula backup"),
    ("bgp", &["tcp/179"], "BGP routing"),
    ("checkmk", &["tcp/6556"], "Checkmk agent"),
    ("cockpit", &["tcp/9090"], "Cockpit; also Prometheus"),
    ("dhcp", &["udp/67-68"], "DHCP for IPv4"),
    ("dhcpv6", &["udp/546-547"], "DHCP for IPv6"),
    ("dns", &["udp/53", "tcp/53"], "name resolution"),
    ("dns-tls", &["tcp/853", "udp/853"], "name resolution over TLS or QUIC"),
    ("docker", &["tcp/2376"], "Docker over TLS"),
    ("elasticsearch", &["tcp/9200"], "Elasticsearch"),
    ("esp", &["proto/50"], "IPsec payload"),
    ("ftp", &["tcp/21"], "file transfer, control connection; wants helper = \"ftp\""),
    ("ftps", &["tcp/990"], "file transfer over implicit TLS, control connection"),
    ("git", &["tcp/9418"], "Git without encryption"),
    ("gre", &["proto/47"], "generic routing encapsulation"),
    ("http", &["tcp/80"], "web without encryption"),
    ("http-alt", &["tcp/8080"], "web on its other port"),
    ("http3", &["udp/443"], "web over QUIC"),
    ("https", &["tcp/443"], "web"),
    ("https-alt", &["tcp/8443"], "web over TLS on its other port"),
    ("ident", &["tcp/113"], "who owns a connection"),
    ("igmp", &["proto/2"], "IPv4 multicast membership"),
    ("imap", &["tcp/143"], "mail access"),
    ("imaps", &["tcp/993"], "mail access over TLS"),
    ("influxdb", &["tcp/8086"], "InfluxDB"),
    ("iperf", &["tcp/5201", "udp/5201"], "throughput test, iperf3"),
    ("ipp", &["tcp/631"], "printing"),
    ("ipsec", &["udp/500", "udp/4500", "esp"], "IPsec: IKE, NAT traversal and ESP"),
    ("iscsi", &["tcp/3260"], "block storage"),
    ("jetdirect", &["tcp/9100"], "raw printing"),
    ("kerberos", &["tcp/88", "udp/88"], "authentication"),
    ("kpasswd", &["tcp/464", "udp/464"], "Kerberos password change"),
    ("l2tp", &["udp/1701"], "L2TP tunnel"),
    ("ldap", &["tcp/389", "udp/389"], "directory"),
    ("ldap-gc", &["tcp/3268-3269"], "Active Directory global catalogue"),
    ("ldaps", &["tcp/636"], "directory over TLS"),
    ("llmnr", &["udp/5355", "tcp/5355"], "link-local name resolution"),
    ("mdns", &["udp/5353"], "multicast name resolution"),
    ("memcached", &["tcp/11211"], "memcached"),
    ("mongodb", &["tcp/27017"], "MongoDB"),
    ("mqtt", &["tcp/1883"], "MQTT message queue"),
    ("mqtts", &["tcp/8883"], "MQTT over TLS"),
    ("msrpc", &["tcp/135"], "Microsoft RPC endpoint mapper"),
    ("mssql", &["tcp/1433"], "Microsoft SQL Server"),
    ("mysql", &["tcp/3306"], "MySQL and MariaDB"),
    ("netbios", &["udp/137-138", "tcp/139"], "NetBIOS names, datagrams and sessions"),
    ("netconf", &["tcp/830"], "NETCONF over SSH"),
    ("netflow", &["udp/2055"], "NetFlow (not registered; the collectors' custom)"),
    ("nfs", &["tcp/2049"], "network file system 4"),
    ("nrpe", &["tcp/5666"], "Nagios agent"),
    ("ntp", &["udp/123"], "time"),
    ("openvpn", &["udp/1194", "tcp/1194"], "OpenVPN"),
    ("oracle", &["tcp/1521"], "Oracle Database listener (not registered; Oracle's default)"),
    ("ospf", &["proto/89"], "OSPF routing"),
    ("ping", &["icmp/echo-request", "icmp6/echo-request"], "reachability"),
    ("pop3", &["tcp/110"], "mail retrieval"),
    ("pop3s", &["tcp/995"], "mail retrieval over TLS"),
    ("postgresql", &["tcp/5432"], "PostgreSQL"),
    ("pptp", &["tcp/1723", "gre"], "PPTP tunnel"),
    ("proxmox", &["tcp/8006"], "Proxmox VE (not registered; its default)"),
    ("puppet", &["tcp/8140"], "Puppet"),
    ("radius", &["udp/1812-1813"], "network access authentication and accounting"),
    ("radsec", &["tcp/2083"], "RADIUS over TLS"),
    ("rdp", &["tcp/3389", "udp/3389"], "remote desktop"),
    ("redis", &["tcp/6379"], "Redis"),
    ("rsync", &["tcp/873"], "rsync daemon"),
    ("rtsp", &["tcp/554", "udp/554"], "streaming control"),
    (
        "sip",
        &["udp/5060", "tcp/5060"],
        "telephony signalling; wants helper = \"sip\" where NAT is in the way",
    ),
    ("sips", &["tcp/5061"], "telephony signalling over TLS"),
    ("smb", &["tcp/445"], "Windows file sharing"),
    ("smtp", &["tcp/25"], "mail between servers"),
    ("smtps", &["tcp/465"], "mail submission over TLS"),
    ("snmp", &["udp/161"], "monitoring queries"),
    ("snmptrap", &["udp/162"], "monitoring alarms"),
    ("ssdp", &["udp/1900"], "UPnP discovery"),
    ("ssh", &["tcp/22"], "secure shell"),
    ("stun", &["udp/3478", "tcp/3478"], "NAT discovery and relay (STUN, TURN)"),
    ("submission", &["tcp/587"], "mail submission"),
    ("syslog", &["udp/514"], "log messages"),
    ("syslog-tls", &["tcp/6514"], "log messages over TLS"),
    ("tacacs", &["tcp/49"], "TACACS+"),
    ("telnet", &["tcp/23"], "terminal without encryption"),
    ("tftp", &["udp/69"], "trivial file transfer; wants helper = \"tftp\""),
    (
        "traceroute",
        // 33434 is the traditional base, one port for each of 30 hops with three probes each.
        &["udp/33434-33534", "icmp/echo-request", "icmp6/echo-request"],
        "path discovery",
    ),
    ("vnc", &["tcp/5900-5903"], "remote screen"),
    ("vrrp", &["proto/112"], "virtual router redundancy"),
    ("vxlan", &["udp/4789"], "VXLAN tunnel"),
    ("whois", &["tcp/43"], "registry queries"),
    ("winrm", &["tcp/5985-5986"], "Windows remote management"),
    ("wireguard", &["udp/51820"], "WireGuard (not registered; its default)"),
    ("xmpp", &["tcp/5222"], "XMPP client"),
    ("zabbix", &["tcp/10050"], "Zabbix agent"),
    ("zabbix-trapper", &["tcp/10051"], "Zabbix server"),
];

/// A service that every document knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// What it is made of, in the notation of `[service]`; names are other built-in services.
    pub elements: &'static [&'static str],
    /// What it is.
    pub description: &'static str,
}

/// Every built-in service, sorted by name.
pub fn services() -> impl Iterator<Item = Service> {
    SERVICES.iter().map(|&(name, elements, description)| Service { name, elements, description })
}

/// The elements of a built-in service.
pub(crate) fn find(name: &str) -> Option<&'static [&'static str]> {
    let at = SERVICES.binary_search_by(|(known, ..)| (*known).cmp(name)).ok()?;
    Some(SERVICES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{check_name, service::Meaning};

    #[test]
    fn the_catalogue_is_sorted_and_resolves() {
        // Every entry must be found by its name, and every element be a known name or a valid service.
        assert!(SERVICES.is_sorted_by(|a, b| a.0 < b.0));
        for service in services() {
            check_name(service.name).expect("a well-formed name");
            assert_eq!(find(service.name), Some(service.elements));
            for element in service.elements {
                match Meaning::parse(element).expect("a well-formed element") {
                    Meaning::Atom(_) => {}
                    Meaning::Name(name) => assert!(find(&name).is_some(), "{name}"),
                }
            }
        }
        assert!(services().count() >= 80);
        assert_eq!(find("web"), None, "the documents define it themselves");
    }
}
