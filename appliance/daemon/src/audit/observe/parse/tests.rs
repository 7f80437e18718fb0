//! Files as they are on a Debian 13 box in; what they say out.

use super::*;

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn the_command_line_is_words_and_values() {
    let words = command_line("console=tty0 console=ttyS0,115200n8 slab_nomerge mds=full,nosmt roothash=ab\n");
    assert_eq!(words["console"], "ttyS0,115200n8");
    assert_eq!(words["slab_nomerge"], "");
    assert_eq!(words["mds"], "full,nosmt");
}

#[test]
fn a_kernel_configuration_has_values() {
    let config = kernel_config(
        "CONFIG_SECURITY=y\n# CONFIG_KEXEC is not set\nCONFIG_BINFMT_MISC=m\nCONFIG_MODULE_SIG_HASH=\"sha256\"\n",
    );
    assert_eq!(config["SECURITY"], "y");
    assert_eq!(config["BINFMT_MISC"], "m");
    assert_eq!(config["MODULE_SIG_HASH"], "sha256");
    assert!(!config.contains_key("KEXEC"));
}

#[test]
fn mounts_have_the_options_of_both_parts() {
    let text = "\
22 1 254:0 / / ro,relatime shared:1 - erofs /dev/mapper/root ro,user_xattr
30 22 0:24 / /efi rw,relatime shared:2 - autofs systemd-1 rw,fd=55
31 22 0:5 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw,hidepid=invisible
32 22 8:7 / /var rw,nosuid,nodev,noexec,noatime - ext4 /dev/sda7 rw
broken line
";
    let all = mounts(text);
    assert_eq!(all.len(), 4);
    let root = mounted_at(&all, "/").unwrap();
    assert_eq!((root.device.as_str(), root.kind.as_str()), ("254:0", "erofs"));
    assert!(root.options.contains("ro"));
    assert!(mounted_at(&all, "/proc").unwrap().options.contains("hidepid=invisible"));
    assert!(mounted_at(&all, "/var").unwrap().options.is_superset(&set(&["nosuid", "nodev", "noexec"])));
    // Not mounted before somebody looks.
    assert_eq!(mounted_at(&all, "/efi"), None);
    assert_eq!(mounted_at(&all, "/tmp"), None);
}

#[test]
fn accounts_with_shells_and_passwords_are_told() {
    let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nold:x:40:40::/:/bin/sh\n\
                  alice:x:1000:1000::/home/alice:/bin/bash\nadmin:x:900:900::/:/usr/lib/rempart/login\nbroken\n";
    let services = accounts(passwd).into_iter().filter(is_service_with_shell).map(|a| a.name);
    assert_eq!(services.collect::<Vec<_>>(), ["old"]);
    let all = passwords(
        "root:*:1::::::\ndaemon:!:1::::::\nalice:$y$j9T$x$y:1::::::\nold:$1$a$b:1\nnone::1\nlocked:!$y$x:1\n",
    );
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), ["alice", "none", "old"]);
    let weak = all.iter().filter(|(_, hash)| is_weak(hash)).map(|(name, _)| name.as_str());
    assert_eq!(weak.collect::<Vec<_>>(), ["none", "old"]);
    assert_eq!(groups("root:x:0:\nadm:x:4:alice\nbroken\n"), BTreeSet::from([0, 4]));
}

#[test]
fn the_last_setting_counts_for_systemd_and_the_first_for_sshd() {
    let settings =
        last_settings(["[Journal]\nStorage=auto\n#SystemMaxUse=1\n", "[Journal]\nStorage = persistent\n"]);
    assert_eq!(settings["Storage"], "persistent");
    assert!(!settings.contains_key("SystemMaxUse"));
    let sshd = first_settings([
        "PasswordAuthentication no\n",
        "PasswordAuthentication yes\nX11Forwarding no\nMatch User x\n  PermitTunnel yes\n",
    ]);
    assert_eq!(sshd["PasswordAuthentication"], "no");
    assert_eq!(sshd["X11Forwarding"], "no");
    assert!(!sshd.contains_key("PermitTunnel"));
}

#[test]
fn sockets_that_wait_are_told() {
    let tcp = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 18 1 0 100 0 0 10 0
   2: 0A0AA8C0:0016 150AA8C0:C001 01 00000000:00000000 00:00000000 00000000     0        0 19 1 0 100 0 0 10 0
   3: short
";
    let found: Vec<Listener> = listeners(tcp, TCP_LISTEN).into_iter().collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], Listener { address: Ipv4Addr::UNSPECIFIED.into(), port: 8080, uid: 998 });
    assert_eq!(found[1], Listener { address: Ipv4Addr::LOCALHOST.into(), port: 22, uid: 0 });
    assert_eq!(kernel_address("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(kernel_address("0000000000000000FFFF00000100007F"), Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(kernel_address("xyz"), None);
}

#[test]
fn the_rest_is_told_as_it_stands() {
    assert!(processor("processor : 0\nflags\t\t: fpu nx lm aes\n").is_superset(&set(&["aes", "lm", "nx"])));
    assert_eq!(enforced("rempartd (enforce)\nrempart-ha (complain)\n"), set(&["rempartd"]));
    assert_eq!(
        remote_pam("auth required pam_unix.so\n# pam_ldap\nauth sufficient pam_sss.so\n"),
        set(&["pam_sss"])
    );
    assert_eq!(
        remote_names("passwd: files systemd ldap\nhosts: files dns\ngroup: files [!UNAVAIL=return] sss\n"),
        set(&["ldap", "sss"])
    );
    assert!(is_editor_off("timeout 0\neditor no\n"));
    assert!(!is_editor_off("timeout 0\n"));
    assert!(!is_editor_off("editor no\neditor yes\n"));
}
