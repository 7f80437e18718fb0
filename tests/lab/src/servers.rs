//! The small real servers of the hosts. Each reads a configuration in its host's run folder and stays in the
//! foreground, so that it is ours to end; the machine's service manager knows nothing of them.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{POLL, Process, output_within, succeeded};
use crate::spec::{DnsService, Server};
use crate::traffic::Transport;
use crate::{Host, namespace, requirements};

/// How long a server may take to listen.
const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// A server on its way up.
pub(crate) struct Started {
    pub process: Process,
    ports: Vec<(Transport, u16)>,
}

impl Started {
    /// Waits until it listens on all its ports.
    pub fn wait(&mut self, host: &Host) -> Result<()> {
        self.ports.iter().try_for_each(|(t, port)| wait_for_port(host, &mut self.process, *t, *port))
    }
}

/// Starts a server; it may not listen yet.
pub(crate) fn start(server: &Server, host: &Host) -> Result<Started> {
    match server {
        Server::Web => web(host),
        Server::Ftp => ftp(host),
        Server::Ssh => ssh(host),
        Server::Dns(service) => dns(host, service),
    }
}

/// Waits until something listens on `port` inside the host, and `process` runs.
pub(crate) fn wait_for_port(
    host: &Host,
    process: &mut Process,
    transport: Transport,
    port: u16,
) -> Result<()> {
    let inode = namespace::inode(host.namespace())?;
    let end = Instant::now() + READY_TIMEOUT;
    loop {
        process.check_running()?;
        // Until `ip netns exec` has entered the namespace, the process would show the machine's own ports.
        if namespace::holds(inode, process.pid()) && listens(process.pid(), transport, port) {
            return process.check_running();
        }
        if Instant::now() >= end {
            bail!("nothing listens on {transport} port {port} of {} after {READY_TIMEOUT:?}", host.name());
        }
        thread::sleep(POLL);
    }
}

/// Whether a socket of the process's namespace is bound to the port; for TCP, whether it listens.
fn listens(pid: u32, transport: Transport, port: u16) -> bool {
    // proc(5): "sl local_address rem_address st": addresses in hexadecimal, TCP_LISTEN is 0A, an unconnected UDP socket 07.
    let state = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    let suffix = format!(":{port:04X}");
    ["", "6"].iter().any(|family| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{transport}{family}")).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some(state)
        })
    })
}

fn web(host: &Host) -> Result<Started> {
    let dir = folder(host, "nginx")?;
    let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.env("PATH", requirements::search_path());
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "3650", "-subj", &format!("/CN={}", host.name()), "-keyout"]);
    openssl.arg(&key).arg("-out").arg(&certificate);
    succeeded(output_within(openssl, READY_TIMEOUT)?, "making a certificate")?;
    let www = dir.join("www");
    fs::create_dir_all(&www)?;
    big_file(&www)?;
    let text = format!(
        r#"daemon off; master_process off; user root;
pid {dir}/pid; error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
  access_log {dir}/access.log; default_type text/plain;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{
    listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location = / {{ return 200 "{name}\n"; }}
    location = /client {{ return 200 "$remote_addr $remote_port\n"; }}
    location / {{ root {www}; sendfile on; }}
  }}
}}
"#,
        dir = dir.display(),
        certificate = certificate.display(),
        key = key.display(),
        www = www.display(),
        name = host.name(),
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = host.command("nginx");
    command.args(["-e", "stderr", "-p"]).arg(&dir).arg("-c").arg(&file);
    let process = host.spawn("nginx", command)?;
    Ok(Started { process, ports: vec![(Transport::Tcp, 80), (Transport::Tcp, 443)] })
}

fn ftp(host: &Host) -> Result<Started> {
    let dir = folder(host, "vsftpd")?;
    // vsftpd refuses a root that its user may write to, and wants an empty folder to hide in.
    let (root, empty) = (dir.join("root"), dir.join("empty"));
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&empty)?;
    fs::write(root.join("hello.txt"), format!("{}\n", host.name()))?;
    big_file(&root)?;
    let text = format!(
        "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nlocal_enable=NO\n\
         write_enable=NO\nanon_root={root}\nsecure_chroot_dir={empty}\nftp_username=ftp\nconnect_from_port_20=YES\n\
         pasv_enable=YES\npasv_min_port=30000\npasv_max_port=30100\nxferlog_enable=YES\nvsftpd_log_file={log}\n\
         seccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\nuse_localtime=YES\n",
        root = root.display(),
        empty = empty.display(),
        log = dir.join("transfers.log").display(),
    );
    let file = dir.join("vsftpd.conf");
    fs::write(&file, text)?;
    let mut command = host.command("vsftpd");
    command.arg(&file);
    let process = host.spawn("vsftpd", command)?;
    Ok(Started { process, ports: vec![(Transport::Tcp, 21)] })
}

fn ssh(host: &Host) -> Result<Started> {
    let dir = folder(host, "sshd")?;
    let client = host.run_dir().join(Server::SSH_KEY);
    for key in [&dir.join("host"), &client] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.env("PATH", requirements::search_path());
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", host.name(), "-f"]).arg(key);
        succeeded(output_within(keygen, READY_TIMEOUT)?, "making a key")?;
    }
    // sshd hides there, and refuses to start without it.
    fs::create_dir_all("/run/sshd")?;
    let text = format!(
        "Port 22\nHostKey {dir}/host\nAuthorizedKeysFile {client}.pub\nPidFile none\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
        dir = dir.display(),
        client = client.display(),
    );
    let file = dir.join("sshd_config");
    fs::write(&file, text)?;
    // It wants to be called by its whole path, for it starts itself again for each connection.
    let program = requirements::in_path("sshd").context("sshd is not installed")?;
    let mut command = host.command(program);
    command.args(["-D", "-e", "-f"]).arg(&file);
    let process = host.spawn("sshd", command)?;
    Ok(Started { process, ports: vec![(Transport::Tcp, 22)] })
}

fn dns(host: &Host, service: &DnsService) -> Result<Started> {
    let dir = folder(host, "dnsmasq")?;
    let mut text = format!(
        "no-resolv\nno-hosts\nno-poll\nuser=root\ngroup=root\npid-file=\nlog-queries\nlog-facility=-\n\
         dhcp-leasefile={}\n",
        dir.join("leases").display()
    );
    for zone in &service.zones {
        writeln!(text, "local=/{zone}/")?;
    }
    for (name, address) in &service.records {
        writeln!(text, "host-record={name},{address}")?;
    }
    if let Some(upstream) = service.upstream {
        writeln!(text, "server={upstream}")?;
    }
    let mut ports = vec![(Transport::Udp, 53), (Transport::Tcp, 53)];
    if let Some(dhcp) = &service.dhcp {
        // no-ping: dnsmasq would otherwise keep the first offer back for three seconds.
        writeln!(text, "dhcp-authoritative\nno-ping\nlog-dhcp")?;
        writeln!(text, "dhcp-range={},{},{}", dhcp.first, dhcp.last, dhcp.lease_secs)?;
        writeln!(text, "dhcp-option=option:router,{}", dhcp.router)?;
        writeln!(text, "dhcp-option=option:dns-server,{}", dhcp.nameserver)?;
        ports.push((Transport::Udp, 67));
    }
    if let Some(network) = service.advertise {
        writeln!(text, "enable-ra\ndhcp-range={},ra-only,{}", network.network(), network.prefix_len())?;
    }
    let file = dir.join("dnsmasq.conf");
    fs::write(&file, text)?;
    let mut command = host.command("dnsmasq");
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", file.display()));
    let process = host.spawn("dnsmasq", command)?;
    Ok(Started { process, ports })
}

/// A file of zeroes that takes no room.
fn big_file(dir: &Path) -> Result<()> {
    Ok(File::create(dir.join("big.bin"))?.set_len(Server::BIG_FILE_BYTES)?)
}

fn folder(host: &Host, name: &str) -> Result<PathBuf> {
    let dir = host.run_dir().join(name);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}
