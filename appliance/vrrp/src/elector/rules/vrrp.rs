//! VRRPv2 (RFC 3768) and VRRPv3 (RFC 9568).

use std::net::IpAddr;
use std::time::Duration;

use super::super::config::{ChecksumPolicy, Version, Vrrp};
use super::super::output::Refusal;
use super::{Heard, Listener, Message, Verdict, check_vrid};
use crate::stats::Statistics;
use crate::types::{Addresses, Centiseconds, IpHeader, Priority, Standing, TtlRule, Vrid};
use crate::wire::{ChecksumForm, v2, v3};

#[derive(Clone, Debug)]
pub(super) struct VrrpRules {
    config: Vrrp,
    /// `Active_Adver_Interval` (RFC 9568 §6.1). Version 2 has one interval for all.
    active_interval: Duration,
    /// How the peer makes its checksum.
    peer_form: Option<ChecksumForm>,
}

fn own_interval(version: &Version) -> Duration {
    match version {
        Version::V2 { interval, .. } => interval.duration(),
        Version::V3 { interval, .. } => interval.duration(),
    }
}

impl VrrpRules {
    pub(super) fn new(config: &Vrrp) -> Self {
        Self { active_interval: own_interval(&config.version), config: config.clone(), peer_form: None }
    }

    pub(super) fn is_owner(&self) -> bool {
        self.config.priority.is_owner()
    }

    pub(super) fn interval(&self) -> Duration {
        own_interval(&self.config.version)
    }

    pub(super) fn active_interval(&self) -> Duration {
        self.active_interval
    }

    pub(super) fn forget(&mut self) {
        self.active_interval = self.interval();
    }

    pub(super) fn adopt(&mut self, interval: Centiseconds) {
        self.active_interval = interval.duration();
    }

    pub(super) fn set_priority(&mut self, priority: Priority) {
        self.config.priority = priority;
    }

    pub(super) fn answers_inferior(&self) -> bool {
        match self.config.version {
            Version::V2 { .. } => false,
            Version::V3 { .. } => true,
        }
    }

    pub(super) fn skew(&self) -> Duration {
        match self.config.version {
            // RFC 3768 §6.1: (256 − priority) / 256 seconds, whatever the interval.
            Version::V2 { .. } => self.config.priority.skew(Duration::from_secs(1)),
            // RFC 9568 §6.1: of Active_Adver_Interval.
            Version::V3 { .. } => self.config.priority.skew(self.active_interval),
        }
    }

    pub(super) fn encode(
        &self,
        vrid: Vrid,
        message: Message,
        source: IpAddr,
        destination: IpAddr,
    ) -> Vec<u8> {
        let standing = match message {
            Message::Regular => Standing::At(self.config.priority),
            Message::Resignation => Standing::Resigning,
        };
        let addresses = self.config.addresses.clone();
        match &self.config.version {
            Version::V2 { interval, auth } => {
                let (interval, auth) = (*interval, auth.clone());
                v2::Advertisement { vrid, standing, interval, auth, addresses }.encode()
            }
            Version::V3 { interval, checksum } => {
                let form = match checksum {
                    ChecksumPolicy::Always(form) => *form,
                    ChecksumPolicy::LikePeer => self.peer_form.unwrap_or(ChecksumForm::MessageOnly),
                };
                v3::Advertisement { vrid, standing, interval: *interval, addresses }.encode(
                    source,
                    destination,
                    form,
                )
            }
        }
    }

    pub(super) fn receive(
        &mut self,
        vrid: Vrid,
        listener: Listener,
        header: &IpHeader,
        ttl: TtlRule,
        bytes: &[u8],
        stats: &mut Statistics,
    ) -> Result<Heard, Refusal> {
        let (standing, addresses, interval) = match &self.config.version {
            Version::V2 { interval, auth } => {
                let advert = v2::Advertisement::decode(header, ttl, bytes)?;
                check_vrid(advert.vrid, vrid)?;
                check_auth(&advert.auth, auth)?;
                // RFC 3768 §7.1: "MUST verify that the Adver Interval in the packet is the same as locally configured".
                if advert.interval != *interval {
                    return Err(Refusal::Interval { found: advert.interval.get(), ours: interval.get() });
                }
                (advert.standing, advert.addresses, None)
            }
            Version::V3 { .. } => {
                let (advert, form) = v3::Advertisement::decode(header, ttl, bytes)?;
                check_vrid(advert.vrid, vrid)?;
                self.peer_form = Some(form);
                (advert.standing, advert.addresses, Some(advert.interval))
            }
        };
        self.note_addresses(&addresses, stats);
        Ok(Heard {
            verdict: self.judge(listener, standing, header.source, stats),
            source: header.source,
            interval,
        })
    }

    /// Counts a list that is not ours. It is taken nevertheless: RFC 9568 §7.1 only asks to log it. RFC 3768 §7.1 lets
    /// a version 2 router check the list and drop, too; that would make two active routers out of one wrong line of
    /// configuration.
    fn note_addresses(&self, addresses: &Addresses, stats: &mut Statistics) {
        if !addresses.same_set(&self.config.addresses) {
            stats.address_list_errors += 1;
        }
    }

    fn judge(
        &self,
        listener: Listener,
        standing: Standing,
        source: IpAddr,
        stats: &mut Statistics,
    ) -> Verdict {
        let theirs = match standing {
            Standing::Resigning => return Verdict::Resigned,
            Standing::At(priority) => priority,
        };
        let ours = self.config.priority;
        // RFC 9568 §7.1 has an owner drop every advertisement; erratum 8298 makes that a log entry. The ranking below
        // settles it, and it is counted.
        if ours.is_owner() && theirs.is_owner() {
            stats.owner_conflicts += 1;
        }
        let superior = match listener {
            // RFC 9568 §6.4.2 (445).
            Listener::Waiting => theirs >= ours,
            // RFC 9568 §6.4.3: the higher address, as an unsigned integer in network byte order.
            Listener::Defending => theirs > ours || theirs == ours && source > self.config.source,
        };
        if superior { Verdict::Superior } else { Verdict::Inferior }
    }
}

fn check_auth(found: &v2::Auth, ours: &v2::Auth) -> Result<(), Refusal> {
    match (found, ours) {
        (v2::Auth::None, v2::Auth::None) => Ok(()),
        (v2::Auth::Text(found), v2::Auth::Text(ours)) if found == ours => Ok(()),
        (v2::Auth::Text(_), v2::Auth::Text(_)) => Err(Refusal::AuthFailed),
        (v2::Auth::None, v2::Auth::Text(_)) | (v2::Auth::Text(_), v2::Auth::None) => {
            Err(Refusal::AuthMismatch { found: found.kind(), ours: ours.kind() })
        }
    }
}
