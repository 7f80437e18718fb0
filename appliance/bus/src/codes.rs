//! The stable short names that travel in the documents of [`crate::ha`] and in refusals.
//!
//! The daemons send no name that is not here (their tests read them all), and the console has words for each: a name
//! without words does not compile there.

use std::fmt;

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it travels.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The one of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

codes! {
    /// What makes a node unfit for the role.
    AilmentCode {
        /// An interface is not there or has no carrier.
        LinkDown = "link-down",
        /// A gateway does not answer.
        GatewaySilent = "gateway-silent",
        /// A program, or a part of `rempart-ha`, does not run.
        DaemonDown = "daemon-down",
        /// Out of service by the operator.
        Maintenance = "maintenance",
        /// The interface has no address of its own to send adverts from.
        NoSource = "no-source",
        /// The virtual link does not exist, or something else has its name.
        NoVirtualLink = "no-virtual-link",
        /// The document asks for what the protocol does not have, or for a secret that is not there.
        NotPossible = "not-possible",
    }
}

codes! {
    /// What `daemon-down` is about.
    PartCode {
        /// `rempartd`.
        Control = "control",
        /// `rempart-vpn`.
        Vpn = "vpn",
        /// The copy of the connections.
        Journal = "journal",
        /// The virtual links.
        Links = "links",
    }
}

codes! {
    /// What has happened to a pair.
    EventCode {
        /// This node became active.
        RoleActive = "role-active",
        /// This node became standby.
        RoleStandby = "role-standby",
        /// A path was lost.
        PathDown = "path-down",
        /// A path is back.
        PathUp = "path-up",
        /// The other node is silent on all paths.
        PeerLost = "peer-lost",
        /// The other node is heard.
        PeerBack = "peer-back",
        /// The other node's program was started anew.
        PeerRestarted = "peer-restarted",
        /// Both nodes were active.
        TwoActives = "two-actives",
        /// There were too many moves: automatic ones are held back.
        Damped = "damped",
        /// The role was handed over in order.
        HandedOver = "handed-over",
        /// The role could not be handed over.
        HandOverFailed = "hand-over-failed",
        /// This program was not run for a while.
        Stalled = "stalled",
        /// A virtual router became active.
        RouterActive = "router-active",
        /// A virtual router became backup.
        RouterBackup = "router-backup",
        /// A virtual router cannot take part.
        RouterHindered = "router-hindered",
        /// A gateway fell silent.
        GatewaySilent = "gateway-silent",
        /// A gateway answers again.
        GatewayBack = "gateway-back",
        /// The kernel did not do what it was asked.
        KernelRefused = "kernel-refused",
        /// The elector has no real-time priority.
        NoPriority = "no-priority",
    }
}

codes! {
    /// Why a node has its role.
    WhyCode {
        /// It was just started.
        Start = "start",
        /// Its program was restarted and the kernel still had the role.
        Resumed = "resumed",
        /// Neither node was active.
        Elected = "elected",
        /// The other node fell silent.
        PeerSilent = "peer-silent",
        /// The other node yielded.
        PeerYielded = "peer-yielded",
        /// The other node is less fit.
        PeerUnwell = "peer-unwell",
        /// This node is less fit.
        Unwell = "unwell",
        /// A person asked for it.
        Command = "command",
        /// The other node outranks it.
        Outranked = "outranked",
        /// The preferred node took the role back.
        FailBack = "fail-back",
        /// A node went out of service.
        Maintenance = "maintenance",
        /// It was stopped.
        Shutdown = "shutdown",
        /// It heard nobody.
        Isolated = "isolated",
    }
}

codes! {
    /// Why something was not done, where that has a name. It stands before the sentence of
    /// [`Error::Refused`](crate::Error::Refused).
    RefusalCode {
        /// There is no other node.
        NotPaired = "not-paired",
        /// The node was just started.
        Starting = "starting",
        /// The node is being shut down.
        Leaving = "leaving",
        /// The other node is not heard, or has no role to give.
        PeerAbsent = "peer-absent",
        /// The other node is less fit than this one, or out of service.
        PeerUnfit = "peer-unfit",
        /// This node is less fit than the other one, or out of service.
        Unfit = "unfit",
        /// A hand-over is under way.
        HandingOver = "handing-over",
        /// The other node has not acknowledged all connections in time.
        NotFlushed = "not-flushed",
        /// The other node did not get ready in time.
        NotReady = "not-ready",
        /// The other node was granted the role and did not take it.
        NotTaken = "not-taken",
        /// The other node fell silent meanwhile.
        PeerLost = "peer-lost",
        /// It was taken back.
        Cancelled = "cancelled",
        /// The document names no second node.
        NoSecondNode = "no-second-node",
        /// The nodes' documents have not diverged.
        NotDiverged = "not-diverged",
        /// The other node's control daemon cannot be reached.
        PeerAway = "peer-away",
        /// There is nothing to go back to.
        FirstRevision = "first-revision",
        /// Only root may.
        RootOnly = "root-only",
        /// People are managed on the active node.
        VpnStandby = "vpn-standby",
        /// The document asks for no VPN.
        VpnOff = "vpn-off",
        /// There is no authority that could issue a certificate.
        NoAuthority = "no-authority",
        /// The name, the address or the certificate is somebody else's.
        Taken = "taken",
        /// The table is full.
        Full = "full",
        /// What was given is no name, address, date or group.
        BadField = "bad-field",
        /// The password is not good enough.
        WeakPassword = "weak-password",
        /// The password is kept by another server.
        NotLocal = "not-local",
        /// The administrator's password is wrong.
        WrongPassword = "wrong-password",
        /// There were too many wrong ones.
        TooManyTries = "too-many-tries",
        /// A document was committed, which names the box.
        Named = "named",
        /// The code is wrong.
        WrongCode = "wrong-code",
        /// The device is revoked.
        Revoked = "revoked",
        /// The file cannot be taken over.
        NotImported = "not-imported",
        /// The running version still has to prove itself.
        OnTrial = "on-trial",
        /// The running version has proved itself.
        NotOnTrial = "not-on-trial",
        /// Something about updates is under way.
        UpdateBusy = "update-busy",
        /// The other slot holds nothing that can be started.
        NoOtherVersion = "no-other-version",
        /// The box was not started from a stick that keeps nothing.
        NotLive = "not-live",
        /// The disk cannot be taken, or it is not clear which one is meant.
        BadDisk = "bad-disk",
        /// It is no place that updates come from.
        BadSource = "bad-source",
        /// The document does not switch WireGuard on.
        WireguardOff = "wireguard-off",
        /// The gateway has no key of WireGuard.
        NoWireguardKey = "no-wireguard-key",
    }
}

codes! {
    /// What is amiss with remote access, or will be.
    VpnWarning {
        /// There is no authority that issues certificates.
        NoAuthority = "no-authority",
        /// The server has no certificate.
        NoServerCertificate = "no-server-certificate",
        /// The authority will expire, or has.
        AuthorityEnds = "authority-ends",
        /// The list of revoked certificates will expire, or has.
        ListEnds = "list-ends",
        /// The server's certificate will expire, or has.
        ServerEnds = "server-ends",
        /// A device's certificate will expire, or has.
        DeviceEnds = "device-ends",
        /// The directory cannot be asked.
        DirectoryUnusable = "directory-unusable",
        /// RADIUS cannot be asked.
        RadiusUnusable = "radius-unusable",
        /// What was changed is not on the disk.
        NotKept = "not-kept",
        /// The password or code demanded of a group's members can never be given.
        GroupUnusable = "group-unusable",
        /// The kernel is to carry sessions and cannot: the program carries them all.
        NoOffload = "no-offload",
    }
}

codes! {
    /// Why a device is revoked.
    ReasonWord {
        /// Lost or stolen: its key may be in other hands.
        KeyCompromise = "key-compromise",
        /// Its owner works elsewhere.
        AffiliationChanged = "affiliation-changed",
        /// Another one took its place.
        Superseded = "superseded",
        /// It is no longer used.
        CessationOfOperation = "cessation-of-operation",
        /// Its owner may no longer.
        PrivilegeWithdrawn = "privilege-withdrawn",
        /// Nobody said.
        Unspecified = "unspecified",
    }
}

impl RefusalCode {
    /// The refusal, with a sentence for whoever has no words for the code.
    pub fn error(self, sentence: impl fmt::Display) -> crate::Error {
        crate::Error::Refused(format!("{self}: {sentence}"))
    }

    /// Reads the text of a refusal: its code, if it has one.
    pub fn of(text: &str) -> Option<Self> {
        Self::named(text.split_once(": ")?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name is read as what it is the name of, and a refusal keeps its code.
    #[test]
    fn names_come_back() {
        for code in EventCode::ALL {
            assert_eq!(EventCode::named(code.name()), Some(*code));
        }
        for code in RefusalCode::ALL {
            let crate::Error::Refused(text) = code.error("because: so") else { panic!("a refusal") };
            assert_eq!(RefusalCode::of(&text), Some(*code));
        }
        assert_eq!(RefusalCode::of("the document: is wrong"), None);
    }
}
