//! What can be looked at on a box, and what was seen. Pure: [`super::observe`] fills it in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something to look at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fact {
    /// A kernel setting, by its path below `/proc/sys`.
    Sysctl(&'static str),
    /// A word of the kernel's command line: its value, empty where it has none.
    Word(&'static str),
    /// An option that the kernel was built with, without `CONFIG_`; `n` where it is not set.
    Config(&'static str),
    /// The options of what is mounted at a path.
    Mount(&'static str),
    /// A property of a service, as systemd has it.
    Unit(&'static str, &'static str),
    /// A property of systemd itself.
    Manager(&'static str),
    /// The owner and the mode of a file: `0 640`.
    Mode(&'static str),
    /// Whether a file is there: `yes`.
    File(&'static str),
    /// A setting of logind, journald or sshd, as its files have it.
    Setting(&'static str, &'static str),
    /// What takes more than one look.
    Known(Known),
}

/// What takes more than one look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Known {
    /// Features of the processor that matter.
    Processor,
    /// `on`, `off`, or `bios` where the firmware has no such thing.
    SecureBoot,
    /// Whether the boot loader lets its entries be edited: `locked`, `open`, or `bios`.
    BootEditor,
    /// Kernel, initrd and command line are one signed file: `yes`, `no`, or `bios`.
    UnifiedKernel,
    /// What the root file system is checked with: `verity`, or `-`.
    RootDevice,
    /// Accounts that a password opens.
    PasswordAccounts,
    /// `locked`, or not.
    RootPassword,
    /// Accounts of services that have a shell.
    ServiceShells,
    /// Accounts whose password is kept in a weak form.
    WeakPasswords,
    /// `on` or `off`.
    AppArmor,
    /// Programs whose profile is enforced.
    Enforced,
    /// Files whose owner or group is nobody's.
    Orphans,
    /// Files and folders that anybody may write to, sticky folders excepted.
    WritableByAll,
    /// Files that give their owner's or group's rights to whoever starts them.
    SetId,
    /// Services that run and are not known.
    Services,
    /// PAM modules that ask another machine.
    RemotePam,
    /// Sources of names of accounts that are on another machine.
    RemoteNames,
    /// Where the box listens and neither the policy nor the product says why.
    Listeners,
    /// Network cards that are up and not in the document.
    UnusedCards,
    /// Flows that let the box be administered from outside or from everywhere.
    AdministrationFromAnywhere,
    /// Zones with administrators that other traffic uses too.
    SharedAdministration,
    /// Inside zones that do not refuse forged senders.
    Spoofable,
    /// The comment of the revision in force.
    RevisionComment,
    /// What happens to a packet that no flow is about: `drop, logged`.
    Final,
    /// Whether the kernel holds our table: `yes`.
    InForce,
    /// Flows without a reason.
    WithoutReason,
    /// Flows without an owner.
    WithoutOwner,
    /// Flows from anywhere to anywhere.
    AnyToAny,
    /// Flows with every service.
    AnyService,
    /// Flows that never match, because others come first.
    Shadowed,
    /// Flows that are out of date and still in the document.
    Expired,
    /// Flows that let anything reach the box.
    OpenToFirewall,
    /// Flows that let the box reach anything.
    OpenFromFirewall,
    /// Flows to the box itself that leave no trace in the log.
    SilentAdministration,
    /// Flows that answer a stranger outside with a refusal.
    AnswersOutside,
    /// Inside networks that leave under their own private address.
    ShownOutside,
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It is not there.
    Absent,
    /// A word.
    Text(String),
    /// Some words, or none.
    Many(BTreeSet<String>),
}

/// What was seen, by what was looked at. What could not be read is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts(BTreeMap<Fact, Seen>);

impl Facts {
    /// Notes what was seen.
    pub fn note(&mut self, fact: Fact, seen: Seen) {
        self.0.insert(fact, seen);
    }

    /// Notes all that was seen elsewhere.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What was seen, if it could be read.
    pub fn get(&self, fact: Fact) -> Option<&Seen> {
        self.0.get(&fact)
    }

    /// As if it could not be read.
    #[cfg(test)]
    pub fn forget(&mut self, fact: Fact) {
        self.0.remove(&fact);
    }
}

impl Seen {
    /// A word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Some words, or none.
    pub fn many<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Self {
        Self::Many(words.into_iter().map(Into::into).collect())
    }

    /// `yes` or `no`.
    pub fn yes(is: bool) -> Self {
        Self::text(if is { "yes" } else { "no" })
    }
}

/// Most words that are shown of many.
const MOST_SHOWN: usize = 8;

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("-"),
            Self::Text(text) if text.is_empty() => f.write_str("\"\""),
            Self::Text(text) => f.write_str(text),
            Self::Many(words) => {
                let shown: Vec<&str> = words.iter().take(MOST_SHOWN).map(String::as_str).collect();
                f.write_str(&shown.join(", "))?;
                match words.len().saturating_sub(MOST_SHOWN) {
                    0 => Ok(()),
                    more => write!(f, ", +{more}"),
                }
            }
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(key) => write!(f, "sysctl {key}"),
            Self::Word(word) => write!(f, "cmdline {word}"),
            Self::Config(option) => write!(f, "CONFIG_{option}"),
            Self::Mount(path) => write!(f, "mount {path}"),
            Self::Unit(unit, property) => write!(f, "{unit} {property}"),
            Self::Manager(property) => write!(f, "systemd {property}"),
            Self::Mode(path) => write!(f, "mode {path}"),
            Self::File(path) => f.write_str(path),
            Self::Setting(program, key) => write!(f, "{program} {key}"),
            Self::Known(known) => f.write_str(known.name()),
        }
    }
}

impl Known {
    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Processor => "cpu",
            Self::SecureBoot => "secure-boot",
            Self::BootEditor => "boot-editor",
            Self::UnifiedKernel => "unified-kernel",
            Self::RootDevice => "root-device",
            Self::PasswordAccounts => "password-accounts",
            Self::RootPassword => "root-password",
            Self::ServiceShells => "service-shells",
            Self::WeakPasswords => "weak-passwords",
            Self::AppArmor => "apparmor",
            Self::Enforced => "enforced-profiles",
            Self::Orphans => "orphans",
            Self::WritableByAll => "writable-by-all",
            Self::SetId => "setuid",
            Self::Services => "services",
            Self::RemotePam => "pam",
            Self::RemoteNames => "nsswitch",
            Self::Listeners => "listeners",
            Self::UnusedCards => "unused-cards",
            Self::AdministrationFromAnywhere => "administration-from-anywhere",
            Self::SharedAdministration => "shared-administration",
            Self::Spoofable => "zones-without-anti-spoofing",
            Self::RevisionComment => "revision-comment",
            Self::Final => "final-rule",
            Self::InForce => "policy-in-kernel",
            Self::WithoutReason => "flows-without-why",
            Self::WithoutOwner => "flows-without-owner",
            Self::AnyToAny => "flows-any-to-any",
            Self::AnyService => "flows-any-service",
            Self::Shadowed => "shadowed-flows",
            Self::Expired => "expired-flows",
            Self::OpenToFirewall => "flows-any-to-firewall",
            Self::OpenFromFirewall => "flows-any-from-firewall",
            Self::SilentAdministration => "unlogged-administration",
            Self::AnswersOutside => "flows-rejecting-outside",
            Self::ShownOutside => "untranslated-zones",
        }
    }
}
