//! The table: what each recommendation wants to see, and which departures from it have a reason. Pure.
//!
//! The guide's own values stand under `wants`, also where Rempart does otherwise: then what Rempart has instead stands under
//! `excuses`, and the reason in the console's texts (`audit-why-…`). Any third value fails. Where a departure is only
//! bearable because of something else (a kernel that would load unsigned modules, but for a word on its command line), that
//! is wanted on the same line.
//!
//! A fact belongs to one recommendation only, so that a setting that is wrong fails one line. What is not in the table and
//! why is in [`LEFT_OUT`].

use std::fmt;

use super::facts::{Fact, Known};

/// What is wanted of a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// That it is not there.
    Absent,
    /// That it is there, whatever it is.
    Present,
    /// This word.
    Is(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number not below this.
    AtLeast(u64),
    /// Anything but nothing.
    NotEmpty,
    /// Not one.
    None,
    /// All of these.
    All(&'static [&'static str]),
    /// Nothing but these.
    Only(&'static [&'static str]),
    /// All of these, or nothing there at all.
    AllIfThere(&'static [&'static str]),
    /// Root's, with no more rights than these, or not there at all.
    ModeIfThere(u32),
}

/// How much a guide wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Of every system.
    Minimal,
    /// Of most.
    Intermediate,
    /// Of sensitive ones.
    Enhanced,
    /// Of those that can bear what it costs.
    High,
    /// The guide has no levels.
    Unstated,
}

impl Level {
    /// As it travels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Intermediate => "intermediate",
            Self::Enhanced => "enhanced",
            Self::High => "high",
            Self::Unstated => "",
        }
    }
}

/// A recommendation.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as in [`rempart_bus::audit::RECOMMENDATIONS`].
    pub code: &'static str,
    /// How much the guide wants it.
    pub level: Level,
    /// When it is about this box at all.
    pub applies: Option<(Fact, Want)>,
    /// What it wants to see.
    pub wants: &'static [(Fact, Want)],
    /// What is seen instead where Rempart departs from it.
    pub excuses: &'static [(Fact, Want)],
}

impl Rule {
    /// The guide that it is from.
    pub fn guide(&self) -> &'static str {
        match self.code.split('-').next() {
            Some("linux") => "ANSSI-BP-028",
            Some("firewall") => "ANSSI-BP-031",
            Some("ssh") => "ANSSI-NT-007",
            Some("filtering") => "ANSSI-DAT-NT-006",
            Some("interconnection") => "ANSSI-PA-066",
            Some(_) | None => "",
        }
    }

    /// Its number there.
    pub fn number(&self) -> String {
        let rest = self.code.split_once("-r").map_or("", |(_, number)| number);
        match rest.parse::<u16>() {
            Ok(number) => format!("R{number}"),
            Err(_) => String::new(),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("-"),
            Self::Present | Self::NotEmpty => f.write_str("*"),
            Self::Is(word) => f.write_str(word),
            Self::OneOf(words) => f.write_str(&words.join(" | ")),
            Self::AtLeast(number) => write!(f, ">= {number}"),
            Self::None => f.write_str("-"),
            Self::All(words) | Self::AllIfThere(words) => f.write_str(&words.join(", ")),
            Self::Only(words) => write!(f, "<= {}", words.join(", ")),
            Self::ModeIfThere(mode) => write!(f, "<= 0 {mode:o}"),
        }
    }
}

use Fact::{Config, File, Manager, Mode, Mount, Setting, Sysctl, Unit, Word};
use Level::{Enhanced, High, Intermediate, Minimal, Unstated};
use Want::{Absent, All, AllIfThere, AtLeast, Is, ModeIfThere, NotEmpty, OneOf, Only, Present};

const fn known(known: Known) -> Fact {
    Fact::Known(known)
}

const CONTROL: &str = "rempartd.service";
const HA: &str = "rempart-ha.service";
const VPN: &str = "rempart-vpn.service";
const CONSOLE: &str = "rempart-console@tty1.service";

/// Something has been committed.
const WITH_POLICY: Option<(Fact, Want)> = Some((known(Known::RevisionComment), Present));
/// SSH is switched on.
const WITH_SSH: Option<(Fact, Want)> = Some((Unit("ssh.service", "ActiveState"), Is("active")));

const STRICT: &[&str] = &["nodev", "noexec", "nosuid"];

const fn rule(code: &'static str, level: Level, wants: &'static [(Fact, Want)]) -> Rule {
    Rule { code, level, applies: Option::None, wants, excuses: &[] }
}

impl Rule {
    const fn but(mut self, excuses: &'static [(Fact, Want)]) -> Self {
        self.excuses = excuses;
        self
    }
    const fn when(mut self, applies: Option<(Fact, Want)>) -> Self {
        self.applies = applies;
        self
    }
}

/// The recommendations, in the order of [`rempart_bus::audit::RECOMMENDATIONS`].
pub const RULES: &[Rule] = &[
    // ---------------------------------------------------------------------------- ANSSI-BP-028: machine and boot
    rule("linux-r1", Enhanced, &[(known(Known::Processor), All(&["aes", "lm", "nx"]))]),
    rule("linux-r3", Intermediate, &[(known(Known::SecureBoot), Is("on"))])
        .but(&[(known(Known::SecureBoot), Is("bios"))]),
    rule("linux-r5", Intermediate, &[(known(Known::BootEditor), Is("locked"))])
        .but(&[(known(Known::BootEditor), Is("bios"))]),
    rule("linux-r6", High, &[(known(Known::UnifiedKernel), Is("yes")), (Word("roothash"), NotEmpty)])
        .but(&[(known(Known::UnifiedKernel), Is("bios"))]),
    rule("linux-r7", Enhanced, &[(Word("iommu"), Is("force"))]),
    rule(
        "linux-r8",
        Intermediate,
        &[
            (Word("l1tf"), Is("full,force")),
            (Word("page_poison"), Is("on")),
            // What stands in for the two that are excused.
            (Word("init_on_alloc"), Is("1")),
            (Word("init_on_free"), Is("1")),
            (Word("pti"), Is("on")),
            (Word("slab_nomerge"), Present),
            (Word("slub_debug"), Is("FZP")),
            (Word("spec_store_bypass_disable"), Is("seccomp")),
            (Word("spectre_v2"), Is("on")),
            (Word("mds"), Is("full,nosmt")),
            (Word("mce"), Is("0")),
            (Word("page_alloc.shuffle"), Is("1")),
            (Word("rng_core.default_quality"), Is("500")),
            (Sysctl("vm/mmap_min_addr"), AtLeast(65_536)),
        ],
    )
    .but(&[
        (Word("l1tf"), Is("full")),
        (Word("mds"), Is("full")),
        (Word("page_poison"), Absent),
        (Word("slub_debug"), Absent),
    ]),
    rule(
        "linux-r9",
        Intermediate,
        &[
            (Sysctl("kernel/dmesg_restrict"), Is("1")),
            (Sysctl("kernel/kptr_restrict"), Is("2")),
            (Sysctl("kernel/pid_max"), Is("65536")),
            (Sysctl("kernel/perf_cpu_time_max_percent"), Is("1")),
            (Sysctl("kernel/perf_event_max_sample_rate"), Is("1")),
            (Sysctl("kernel/perf_event_paranoid"), AtLeast(2)),
            (Sysctl("kernel/randomize_va_space"), Is("2")),
            (Sysctl("kernel/sysrq"), Is("0")),
            (Sysctl("kernel/unprivileged_bpf_disabled"), AtLeast(1)),
            (Sysctl("kernel/panic_on_oops"), Is("1")),
        ],
    ),
    rule("linux-r10", Enhanced, &[(Sysctl("kernel/modules_disabled"), Is("1"))]),
    rule("linux-r11", Intermediate, &[(Sysctl("kernel/yama/ptrace_scope"), AtLeast(1))]),
    // -------------------------------------------------------------------------------- ANSSI-BP-028: the network
    rule(
        "linux-r12",
        Intermediate,
        &[
            (Sysctl("net/core/bpf_jit_harden"), Is("2")),
            (Sysctl("net/ipv4/ip_forward"), Is("0")),
            (Sysctl("net/ipv4/conf/all/accept_local"), Is("0")),
            (Sysctl("net/ipv4/conf/all/accept_redirects"), Is("0")),
            (Sysctl("net/ipv4/conf/default/accept_redirects"), Is("0")),
            (Sysctl("net/ipv4/conf/all/secure_redirects"), Is("0")),
            (Sysctl("net/ipv4/conf/default/secure_redirects"), Is("0")),
            (Sysctl("net/ipv4/conf/all/shared_media"), Is("0")),
            (Sysctl("net/ipv4/conf/default/shared_media"), Is("0")),
            (Sysctl("net/ipv4/conf/all/accept_source_route"), Is("0")),
            (Sysctl("net/ipv4/conf/default/accept_source_route"), Is("0")),
            (Sysctl("net/ipv4/conf/all/arp_filter"), Is("1")),
            (Sysctl("net/ipv4/conf/all/arp_ignore"), Is("2")),
            (Sysctl("net/ipv4/conf/all/route_localnet"), Is("0")),
            (Sysctl("net/ipv4/conf/all/drop_gratuitous_arp"), Is("1")),
            (Sysctl("net/ipv4/conf/all/rp_filter"), Is("1")),
            (Sysctl("net/ipv4/conf/default/rp_filter"), Is("1")),
            (Sysctl("net/ipv4/conf/all/send_redirects"), Is("0")),
            (Sysctl("net/ipv4/conf/default/send_redirects"), Is("0")),
            (Sysctl("net/ipv4/icmp_ignore_bogus_error_responses"), Is("1")),
            (Sysctl("net/ipv4/ip_local_port_range"), Is("32768 65535")),
            (Sysctl("net/ipv4/tcp_rfc1337"), Is("1")),
            (Sysctl("net/ipv4/tcp_syncookies"), Is("1")),
        ],
    )
    .but(&[
        (Sysctl("net/ipv4/ip_forward"), Is("1")),
        (Sysctl("net/ipv4/conf/all/arp_filter"), Is("0")),
        (Sysctl("net/ipv4/conf/all/arp_ignore"), Is("1")),
        (Sysctl("net/ipv4/conf/all/drop_gratuitous_arp"), Is("0")),
        (Sysctl("net/ipv4/conf/all/rp_filter"), Is("0")),
        (Sysctl("net/ipv4/conf/default/rp_filter"), OneOf(&["0", "2"])),
    ]),
    rule(
        "linux-r13",
        Intermediate,
        &[
            // Stricter than the guide, which goes on to take prefixes and routers out of them one by one.
            (Sysctl("net/ipv6/conf/all/accept_ra"), Is("0")),
            (Sysctl("net/ipv6/conf/default/accept_ra"), Is("0")),
            (Sysctl("net/ipv6/conf/all/autoconf"), Is("0")),
            (Sysctl("net/ipv6/conf/default/autoconf"), Is("0")),
            (Sysctl("net/ipv6/conf/all/accept_redirects"), Is("0")),
            (Sysctl("net/ipv6/conf/default/accept_redirects"), Is("0")),
            (Sysctl("net/ipv6/conf/all/accept_source_route"), Is("0")),
            (Sysctl("net/ipv6/conf/default/accept_source_route"), Is("0")),
            (Sysctl("net/ipv6/conf/default/router_solicitations"), Is("0")),
            (Sysctl("net/ipv6/conf/default/accept_ra_rtr_pref"), Is("0")),
            (Sysctl("net/ipv6/conf/default/accept_ra_pinfo"), Is("0")),
            (Sysctl("net/ipv6/conf/default/accept_ra_defrtr"), Is("0")),
            (Sysctl("net/ipv6/conf/default/max_addresses"), Is("1")),
        ],
    )
    .but(&[
        (Sysctl("net/ipv6/conf/default/router_solicitations"), Is("-1")),
        (Sysctl("net/ipv6/conf/default/accept_ra_rtr_pref"), Is("1")),
        (Sysctl("net/ipv6/conf/default/accept_ra_pinfo"), Is("1")),
        (Sysctl("net/ipv6/conf/default/accept_ra_defrtr"), Is("1")),
        (Sysctl("net/ipv6/conf/default/max_addresses"), Is("16")),
    ]),
    rule(
        "linux-r14",
        Intermediate,
        &[
            (Sysctl("fs/suid_dumpable"), Is("0")),
            (Sysctl("fs/protected_fifos"), Is("2")),
            (Sysctl("fs/protected_regular"), Is("2")),
            (Sysctl("fs/protected_symlinks"), Is("1")),
            (Sysctl("fs/protected_hardlinks"), Is("1")),
        ],
    ),
    // ------------------------------------------------------------------ ANSSI-BP-028: how the kernel was built
    rule(
        "linux-r15",
        High,
        &[
            (Config("STRICT_KERNEL_RWX"), Is("y")),
            (Config("DEBUG_WX"), Is("y")),
            (Config("DEBUG_FS"), Is("n")),
            (Word("debugfs"), Is("off")),
            (Config("STACKPROTECTOR_STRONG"), Is("y")),
            (Config("SCHED_STACK_END_CHECK"), Is("y")),
            (Config("HARDENED_USERCOPY"), Is("y")),
            (Config("VMAP_STACK"), Is("y")),
            (Config("FORTIFY_SOURCE"), Is("y")),
            (Config("ACPI_CUSTOM_METHOD"), Is("n")),
            (Config("STRICT_DEVMEM"), Is("y")),
            (Config("IO_STRICT_DEVMEM"), Is("y")),
            (Config("PROC_KCORE"), Is("n")),
            // `integrity` leaves /proc/kcore open (security/lockdown/lockdown.c).
            (Word("lockdown"), Is("confidentiality")),
            (Config("COMPAT_VDSO"), Is("n")),
            (Config("SECURITY_DMESG_RESTRICT"), Is("y")),
            (Config("MITIGATION_RETPOLINE"), Is("y")),
            (Config("LEGACY_VSYSCALL_NONE"), Is("y")),
            (Config("X86_VSYSCALL_EMULATION"), Is("n")),
        ],
    )
    .but(&[
        (Config("DEBUG_FS"), Is("y")),
        (Config("PROC_KCORE"), Is("y")),
        (Config("X86_VSYSCALL_EMULATION"), Is("y")),
    ]),
    rule(
        "linux-r16",
        High,
        &[
            (Config("DEBUG_NOTIFIERS"), Is("y")),
            (Config("DEBUG_LIST"), Is("y")),
            (Config("DEBUG_SG"), Is("y")),
            (Config("BUG_ON_DATA_CORRUPTION"), Is("y")),
        ],
    )
    .but(&[(Config("DEBUG_NOTIFIERS"), Is("n")), (Config("DEBUG_SG"), Is("n"))]),
    rule(
        "linux-r17",
        High,
        &[
            (Config("SLAB_FREELIST_RANDOM"), Is("y")),
            (Config("SLAB_FREELIST_HARDENED"), Is("y")),
            (Config("SLAB_MERGE_DEFAULT"), Is("n")),
            (Config("SLUB_DEBUG"), Is("y")),
            (Config("PAGE_POISONING"), Is("y")),
            (Config("COMPAT_BRK"), Is("n")),
        ],
    )
    .but(&[(Config("SLAB_MERGE_DEFAULT"), Is("y"))]),
    rule(
        "linux-r18",
        High,
        &[
            (Config("STRICT_MODULE_RWX"), Is("y")),
            (Config("MODULE_SIG"), Is("y")),
            (Config("MODULE_SIG_FORCE"), Is("y")),
            (Word("module.sig_enforce"), Is("1")),
            (Config("MODULE_SIG_ALL"), Is("y")),
            (Config("MODULE_SIG_HASH"), Is("sha512")),
        ],
    )
    .but(&[
        (Config("MODULE_SIG_FORCE"), Is("n")),
        (Config("MODULE_SIG_ALL"), Is("n")),
        (Config("MODULE_SIG_HASH"), Is("sha256")),
    ]),
    rule(
        "linux-r19",
        High,
        &[
            (Config("BUG"), Is("y")),
            (Config("PANIC_ON_OOPS"), Is("y")),
            (Config("PANIC_TIMEOUT"), Is("-1")),
            (Word("panic"), AtLeast(1)),
        ],
    )
    .but(&[(Config("PANIC_ON_OOPS"), Is("n")), (Config("PANIC_TIMEOUT"), Is("0"))]),
    rule(
        "linux-r20",
        High,
        &[
            (Config("SECCOMP"), Is("y")),
            (Config("SECCOMP_FILTER"), Is("y")),
            (Config("SECURITY"), Is("y")),
            (Config("SECURITY_YAMA"), Is("y")),
            (Config("SECURITY_WRITABLE_HOOKS"), Is("n")),
        ],
    ),
    rule(
        "linux-r21",
        High,
        &[
            (Config("GCC_PLUGIN_LATENT_ENTROPY"), Is("y")),
            (Config("GCC_PLUGIN_STACKLEAK"), Is("y")),
            (Config("GCC_PLUGIN_STRUCTLEAK"), Is("y")),
            (Config("GCC_PLUGIN_RANDSTRUCT"), Is("y")),
            (Config("INIT_STACK_ALL_ZERO"), Is("y")),
        ],
    )
    .but(&[
        (Config("GCC_PLUGIN_LATENT_ENTROPY"), Is("n")),
        (Config("GCC_PLUGIN_STACKLEAK"), Is("n")),
        (Config("GCC_PLUGIN_STRUCTLEAK"), Is("n")),
        (Config("GCC_PLUGIN_RANDSTRUCT"), Is("n")),
    ]),
    rule("linux-r22", High, &[(Config("SYN_COOKIES"), Is("y"))]),
    rule(
        "linux-r23",
        High,
        &[
            (Config("KEXEC"), Is("n")),
            (Sysctl("kernel/kexec_load_disabled"), Is("1")),
            (Config("HIBERNATION"), Is("n")),
            (Word("nohibernate"), Present),
            (Config("BINFMT_MISC"), Is("n")),
            (Config("LEGACY_PTYS"), Is("n")),
            (Config("MODULES"), Is("n")),
        ],
    )
    .but(&[
        (Config("KEXEC"), Is("y")),
        (Config("HIBERNATION"), Is("y")),
        (Config("BINFMT_MISC"), Is("m")),
        (Config("MODULES"), Is("y")),
    ]),
    rule(
        "linux-r25",
        High,
        &[
            (Config("DEFAULT_MMAP_MIN_ADDR"), Is("65536")),
            (Config("RANDOMIZE_BASE"), Is("y")),
            (Config("RANDOMIZE_MEMORY"), Is("y")),
            (Config("MITIGATION_PAGE_TABLE_ISOLATION"), Is("y")),
            (Config("IA32_EMULATION"), Is("n")),
            (Word("ia32_emulation"), Is("0")),
            (Config("MODIFY_LDT_SYSCALL"), Is("n")),
        ],
    )
    .but(&[(Config("IA32_EMULATION"), Is("y")), (Config("MODIFY_LDT_SYSCALL"), Is("y"))]),
    // --------------------------------------------------------------------------- ANSSI-BP-028: disks and accounts
    rule(
        "linux-r28",
        Intermediate,
        &[
            (Mount("/"), All(&["ro"])),
            (Mount("/var"), All(STRICT)),
            (Mount("/var/log"), Present),
            (Mount("/var/tmp"), Present),
            (Mount("/tmp"), All(STRICT)),
            (Mount("/dev/shm"), All(&["nodev", "nosuid"])),
            (Mount("/run"), All(&["nodev", "nosuid"])),
            (Mount("/proc"), All(&["hidepid=invisible"])),
        ],
    )
    .but(&[(Mount("/var/log"), Absent), (Mount("/var/tmp"), Absent), (Mount("/proc"), All(STRICT))]),
    rule("linux-r29", Enhanced, &[(Mount("/boot"), AllIfThere(STRICT)), (Mount("/efi"), AllIfThere(STRICT))]),
    rule("linux-r30", Minimal, &[(known(Known::PasswordAccounts), Want::None)]),
    rule("linux-r32", Intermediate, &[(Setting("logind", "StopIdleSessionSec"), NotEmpty)]),
    rule("linux-r33", Intermediate, &[(known(Known::RootPassword), Is("locked"))]),
    rule("linux-r34", Intermediate, &[(known(Known::ServiceShells), Want::None)]),
    rule(
        "linux-r35",
        Intermediate,
        &[
            (Unit(VPN, "User"), Is("rempart-vpn")),
            (Unit(CONSOLE, "User"), Is("rempart-console")),
            (Unit(CONTROL, "User"), Is("rempartd")),
            (Unit(HA, "User"), Is("rempart-ha")),
        ],
    )
    .but(&[(Unit(CONTROL, "User"), OneOf(&["", "root"])), (Unit(HA, "User"), OneOf(&["", "root"]))]),
    rule(
        "linux-r36",
        Enhanced,
        &[
            (Unit(CONTROL, "UMask"), Is("0077")),
            (Unit(HA, "UMask"), Is("0077")),
            (Unit(VPN, "UMask"), Is("0077")),
            (Unit(CONSOLE, "UMask"), Is("0077")),
        ],
    ),
    rule("linux-r37", Enhanced, &[(known(Known::AppArmor), Is("on"))]),
    // R38 to R44 are about how sudo is set up: there is none, nor any other way to become somebody else.
    rule(
        "linux-r38",
        Enhanced,
        &[(File("/usr/bin/sudo"), Absent), (File("/usr/bin/su"), Absent), (File("/usr/bin/pkexec"), Absent)],
    ),
    rule(
        "linux-r45",
        Enhanced,
        &[(
            known(Known::Enforced),
            All(&["rempart", "rempart-ha", "rempart-update", "rempart-vpn", "rempartd"]),
        )],
    ),
    rule(
        "linux-r50",
        Intermediate,
        &[
            (Mode("/etc/shadow"), ModeIfThere(0o640)),
            (Mode("/etc/gshadow"), ModeIfThere(0o640)),
            (Mode("/etc/passwd"), ModeIfThere(0o644)),
            (Mode("/etc/group"), ModeIfThere(0o644)),
            (Mode("/etc/ssh/sshd_config"), ModeIfThere(0o644)),
            (Mode("/var/lib/rempart"), ModeIfThere(0o700)),
            (Mode("/var/lib/rempart/secrets"), ModeIfThere(0o700)),
        ],
    ),
    rule("linux-r53", Minimal, &[(known(Known::Orphans), Want::None)]),
    rule("linux-r54", Minimal, &[(known(Known::WritableByAll), Want::None)]),
    rule(
        "linux-r55",
        Intermediate,
        &[
            (Unit(CONTROL, "PrivateTmp"), Is("yes")),
            (Unit(HA, "PrivateTmp"), Is("yes")),
            (Unit(VPN, "PrivateTmp"), Is("yes")),
            (Unit(CONSOLE, "PrivateTmp"), Is("yes")),
        ],
    ),
    // R57 wants few of root's, R56 few at all; none is both.
    rule("linux-r56", Minimal, &[(known(Known::SetId), Want::None)]),
    // ------------------------------------------------------------------------------- ANSSI-BP-028: what is installed
    rule(
        "linux-r58",
        Minimal,
        &[
            (File("/usr/bin/dpkg"), Absent),
            (File("/usr/bin/gcc"), Absent),
            (File("/usr/bin/gdb"), Absent),
            (File("/usr/bin/perl"), Absent),
            (File("/usr/bin/python3"), Absent),
        ],
    ),
    rule("linux-r59", Minimal, &[(File("/etc/apt"), Absent)]),
    rule("linux-r62", Minimal, &[(known(Known::Services), Only(SERVICES))]),
    rule(
        "linux-r64",
        Enhanced,
        &[
            (Unit(CONTROL, "CapabilityBoundingSet"), Only(&["cap_net_admin", "cap_net_raw"])),
            (
                Unit(HA, "CapabilityBoundingSet"),
                Only(&["cap_ipc_lock", "cap_net_admin", "cap_net_raw", "cap_sys_nice"]),
            ),
            (Unit(VPN, "CapabilityBoundingSet"), Only(&["cap_net_admin", "cap_net_bind_service"])),
            (Unit(CONSOLE, "CapabilityBoundingSet"), Only(&[])),
            (Unit(CONTROL, "NoNewPrivileges"), Is("yes")),
            (Unit(HA, "NoNewPrivileges"), Is("yes")),
            (Unit(VPN, "NoNewPrivileges"), Is("yes")),
            (Unit(CONSOLE, "NoNewPrivileges"), Is("yes")),
        ],
    ),
    rule(
        "linux-r65",
        Enhanced,
        &[
            (Unit(CONTROL, "ProtectSystem"), Is("strict")),
            (Unit(HA, "ProtectSystem"), Is("strict")),
            (Unit(VPN, "ProtectSystem"), Is("strict")),
            (Unit(CONSOLE, "ProtectSystem"), Is("strict")),
            (Unit(CONTROL, "ProtectHome"), Is("yes")),
            (Unit(HA, "ProtectHome"), Is("yes")),
            (Unit(VPN, "ProtectHome"), Is("yes")),
            (Unit(CONSOLE, "ProtectHome"), Is("yes")),
            // None may be entered.
            (Unit(CONTROL, "RestrictNamespaces"), Is("0")),
            (Unit(HA, "RestrictNamespaces"), Is("0")),
            (Unit(VPN, "RestrictNamespaces"), Is("0")),
            (Unit(CONSOLE, "RestrictNamespaces"), Is("0")),
            (Unit(CONTROL, "SystemCallFilter"), NotEmpty),
            (Unit(HA, "SystemCallFilter"), NotEmpty),
            (Unit(VPN, "SystemCallFilter"), NotEmpty),
            (Unit(CONSOLE, "SystemCallFilter"), NotEmpty),
            (Unit(CONTROL, "MemoryDenyWriteExecute"), Is("yes")),
            (Unit(HA, "MemoryDenyWriteExecute"), Is("yes")),
            (Unit(VPN, "MemoryDenyWriteExecute"), Is("yes")),
            (Unit(CONSOLE, "MemoryDenyWriteExecute"), Is("yes")),
        ],
    ),
    rule("linux-r66", High, &[(Sysctl("user/max_user_namespaces"), Is("0"))]),
    rule("linux-r67", Intermediate, &[(known(Known::RemotePam), Want::None)]),
    rule("linux-r68", Minimal, &[(known(Known::WeakPasswords), Want::None)]),
    rule("linux-r69", Intermediate, &[(known(Known::RemoteNames), Want::None)]),
    rule(
        "linux-r71",
        Enhanced,
        &[
            (Unit("systemd-journald.service", "ActiveState"), Is("active")),
            (Setting("journald", "Storage"), Is("persistent")),
            (Setting("journald", "SystemMaxUse"), NotEmpty),
        ],
    ),
    rule("linux-r73", Enhanced, &[(Unit("auditd.service", "ActiveState"), Is("active"))])
        .but(&[(Unit("auditd.service", "ActiveState"), Is("inactive"))]),
    rule("linux-r74", Intermediate, &[(File("/usr/sbin/sendmail"), Absent)]),
    rule("linux-r76", High, &[(known(Known::RootDevice), Is("verity"))]),
    rule(
        "linux-r79",
        Intermediate,
        &[(Unit(CONTROL, "WatchdogUSec"), AtLeast(1)), (Manager("RuntimeWatchdogUSec"), AtLeast(1))],
    ),
    rule("linux-r80", Minimal, &[(known(Known::Listeners), Want::None)]),
    // -------------------------------------------------------------------------------------------- ANSSI-BP-031
    rule("firewall-r11", Unstated, &[(known(Known::AdministrationFromAnywhere), Want::None)])
        .when(WITH_POLICY),
    rule("firewall-r13", Unstated, &[(known(Known::SharedAdministration), Want::None)]).when(WITH_POLICY),
    rule("firewall-r20", Unstated, &[(known(Known::UnusedCards), Want::None)]).when(WITH_POLICY),
    rule("firewall-r23", Unstated, &[(known(Known::Spoofable), Want::None)]).when(WITH_POLICY),
    rule("firewall-r27", Unstated, &[(File("/run/systemd/timesync/synchronized"), Present)]),
    rule("firewall-r29", Unstated, &[(known(Known::RevisionComment), NotEmpty)]).when(WITH_POLICY),
    rule(
        "firewall-r30",
        Unstated,
        &[(known(Known::Final), Is("drop, logged")), (known(Known::InForce), Is("yes"))],
    )
    .when(WITH_POLICY),
    // -------------------------------------------------------------------------------------------- ANSSI-NT-007
    rule(
        "ssh-r17",
        Unstated,
        &[
            (Setting("sshd", "PasswordAuthentication"), Is("no")),
            (Setting("sshd", "PubkeyAuthentication"), Is("yes")),
        ],
    )
    .when(WITH_SSH),
    rule(
        "ssh-r21",
        Unstated,
        &[
            (Setting("sshd", "PermitRootLogin"), Is("no")),
            (Setting("sshd", "AllowGroups"), NotEmpty),
            (Setting("sshd", "ForceCommand"), Is("/usr/bin/rempart")),
        ],
    )
    .when(WITH_SSH),
    rule(
        "ssh-r27",
        Unstated,
        &[
            (Setting("sshd", "AllowTcpForwarding"), Is("no")),
            (Setting("sshd", "AllowAgentForwarding"), Is("no")),
            (Setting("sshd", "AllowStreamLocalForwarding"), Is("no")),
            (Setting("sshd", "PermitTunnel"), Is("no")),
            (Setting("sshd", "X11Forwarding"), Is("no")),
        ],
    )
    .when(WITH_SSH),
    // ---------------------------------------------------------------------------------------- ANSSI-DAT-NT-006
    rule("filtering-needs", Unstated, &[(known(Known::WithoutReason), Want::None)]).when(WITH_POLICY),
    rule("filtering-owners", Unstated, &[(known(Known::WithoutOwner), Want::None)]).when(WITH_POLICY),
    rule("filtering-any-any", Unstated, &[(known(Known::AnyToAny), Want::None)]).when(WITH_POLICY),
    rule("filtering-any-service", Unstated, &[(known(Known::AnyService), Want::None)]).when(WITH_POLICY),
    rule("filtering-order", Unstated, &[(known(Known::Shadowed), Want::None)]).when(WITH_POLICY),
    rule("filtering-expired", Unstated, &[(known(Known::Expired), Want::None)]).when(WITH_POLICY),
    rule("filtering-to-firewall", Unstated, &[(known(Known::OpenToFirewall), Want::None)]).when(WITH_POLICY),
    rule("filtering-from-firewall", Unstated, &[(known(Known::OpenFromFirewall), Want::None)])
        .when(WITH_POLICY),
    rule("filtering-log", Unstated, &[(known(Known::SilentAdministration), Want::None)]).when(WITH_POLICY),
    // -------------------------------------------------------------------------------------------- ANSSI-PA-066
    rule("interconnection-r20", Unstated, &[(known(Known::AnswersOutside), Want::None)]).when(WITH_POLICY),
    rule("interconnection-r21", Unstated, &[(known(Known::ShownOutside), Want::None)]).when(WITH_POLICY),
];

/// The services that may run.
const SERVICES: &[&str] = &[
    "dbus.service",
    "dbus-broker.service",
    "rempart-console@tty1.service",
    "rempart-console@ttyS0.service",
    "rempart-ha.service",
    "rempart-health.service",
    "rempart-update.service",
    "rempart-vpn.service",
    "rempartd.service",
    "ssh.service",
    "systemd-hostnamed.service",
    "systemd-journald.service",
    "systemd-logind.service",
    "systemd-timedated.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "user@.service",
];

/// The recommendations of ANSSI-BP-028 that no line is about, each with the reason.
#[cfg(test)]
pub const LEFT_OUT: &[(u16, &str)] = &[
    (2, "settings of the firmware: made at the machine, and not to be read from here"),
    (4, "which keys the firmware holds is its owner's to know; R3 says whether it uses them"),
    (24, "about 32-bit kernels"),
    (26, "about ARM"),
    (27, "about ARM"),
    (31, "held where passwords are set: rempart-identity measures them"),
    (39, "sudo: see R38"),
    (40, "sudo: see R38"),
    (41, "sudo: see R38"),
    (42, "sudo: see R38"),
    (43, "sudo: see R38"),
    (44, "sudo: see R38"),
    (46, "about SELinux; AppArmor is used (R45)"),
    (47, "about SELinux"),
    (48, "about SELinux"),
    (49, "about SELinux"),
    (51, "the image holds no secret; those of a node are made at its first start"),
    (
        52,
        "the sockets that anybody may write to are those of the bus and of the journal, which check who writes",
    ),
    (57, "R56 with nobody excepted"),
    (60, "Debian has one kind of repository"),
    (61, "when somebody last installed an update is not for the box to judge"),
    (63, "what is on in a service: R64, R65 and R80 look at it"),
    (70, "about the directory, which is another machine"),
    (72, "one journal, whose entries carry the unit that wrote them, as the kernel says"),
    (75, "there is no mail (R74)"),
    (77, "the seal of R76 is in the kernel's command line, which R6 is about"),
    (78, "each service is a unit with a sandbox of its own (R65)"),
];

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
