//! Counters of RFC 6527 (VRRPv3) and, for VRRPv2 authentication, RFC 2787. They only ever grow and outlive every role
//! change; who resets a router makes a new one.

use crate::elector::{Cause, Refusal};
use crate::wire::DecodeError;

/// Which counter a refused packet belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Counter {
    /// `vrrpv3RouterChecksumErrors`.
    Checksum,
    /// `vrrpv3RouterVersionErrors`.
    Version,
    /// `vrrpv3RouterVrIdErrors`.
    Vrid,
    /// `vrrpv3StatisticsAdvIntervalErrors`.
    Interval,
    /// `vrrpv3StatisticsIpTtlErrors`.
    Ttl,
    /// `vrrpv3StatisticsRcvdInvalidTypePackets`.
    Type,
    /// `vrrpv3StatisticsAddressListErrors`.
    AddressList,
    /// `vrrpv3StatisticsPacketLengthErrors`.
    Length,
    /// `vrrpStatsInvalidAuthType` of RFC 2787.
    AuthType,
    /// `vrrpStatsAuthTypeMismatch` of RFC 2787.
    AuthMismatch,
    /// `vrrpStatsAuthFailed` of RFC 2787, and a wrong HMAC in CARP.
    AuthFailed,
    /// A CARP counter that has been seen before. No MIB has it.
    Replay,
    /// A sender that is not a listed peer, an address that is nobody's, or ourselves. No MIB has it.
    Stranger,
}

/// `vrrpv3StatisticsProtoErrReason`: the last fault of the kinds that the notification knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ProtocolError {
    /// 0.
    #[default]
    None,
    /// 1.
    IpTtl,
    /// 2.
    Version,
    /// 3.
    Checksum,
    /// 4.
    Vrid,
}

/// `vrrpv3StatisticsNewMasterReason`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum NewMasterReason {
    /// 0: never was.
    #[default]
    NotMaster,
    /// 1: by rank alone: the owner, one to whom the active router resigned, or one told to by its operator.
    Priority,
    /// 2: took over from an active router of lower rank.
    Preempted,
    /// 3: the active router fell silent.
    MasterNoResponse,
}

impl From<Cause> for NewMasterReason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Owner | Cause::PeerResigned | Cause::Commanded => Self::Priority,
            Cause::Preempted => Self::Preempted,
            Cause::PeerSilent => Self::MasterNoResponse,
            Cause::Startup | Cause::Outranked | Cause::Shutdown => Self::NotMaster,
        }
    }
}

/// What one virtual router has counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// `vrrpv3StatisticsMasterTransitions`.
    pub master_transitions: u64,
    /// `vrrpv3StatisticsNewMasterReason`: of the last transition.
    pub new_master_reason: NewMasterReason,
    /// `vrrpv3StatisticsRcvdAdvertisements`: those that passed every check.
    pub received: u64,
    /// `vrrpv3StatisticsRcvdPriZeroPackets`, and CARP bow-outs.
    pub received_resigning: u64,
    /// `vrrpv3StatisticsSentPriZeroPackets`, and CARP bow-outs.
    pub sent_resigning: u64,
    /// Packets sent, resignations included.
    pub sent: u64,
    /// `vrrpv3StatisticsProtoErrReason`.
    pub protocol_error: ProtocolError,
    /// See [`Counter::Checksum`].
    pub checksum_errors: u64,
    /// See [`Counter::Version`].
    pub version_errors: u64,
    /// See [`Counter::Vrid`].
    pub vrid_errors: u64,
    /// See [`Counter::Interval`].
    pub interval_errors: u64,
    /// See [`Counter::Ttl`].
    pub ttl_errors: u64,
    /// See [`Counter::Type`].
    pub type_errors: u64,
    /// See [`Counter::AddressList`]. Also counts advertisements that were taken although their list is not ours.
    pub address_list_errors: u64,
    /// See [`Counter::Length`].
    pub length_errors: u64,
    /// See [`Counter::AuthType`].
    pub auth_type_errors: u64,
    /// See [`Counter::AuthMismatch`].
    pub auth_mismatches: u64,
    /// See [`Counter::AuthFailed`].
    pub auth_failures: u64,
    /// See [`Counter::Replay`].
    pub replays: u64,
    /// See [`Counter::Stranger`].
    pub strangers: u64,
    /// Advertisements of another owner (priority 255) while we are one: two machines have the same addresses.
    pub owner_conflicts: u64,
    /// Times that silence was not held against the active router because we had been late ourselves.
    pub own_stalls: u64,
    /// Immediate answers left out because one had just been sent.
    pub answers_withheld: u64,
    /// Outputs lost because the driver did not fetch them.
    pub outputs_dropped: u64,
}

impl Statistics {
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        let counter = refusal.counter();
        let slot = match counter {
            Counter::Checksum => &mut self.checksum_errors,
            Counter::Version => &mut self.version_errors,
            Counter::Vrid => &mut self.vrid_errors,
            Counter::Interval => &mut self.interval_errors,
            Counter::Ttl => &mut self.ttl_errors,
            Counter::Type => &mut self.type_errors,
            Counter::AddressList => &mut self.address_list_errors,
            Counter::Length => &mut self.length_errors,
            Counter::AuthType => &mut self.auth_type_errors,
            Counter::AuthMismatch => &mut self.auth_mismatches,
            Counter::AuthFailed => &mut self.auth_failures,
            Counter::Replay => &mut self.replays,
            Counter::Stranger => &mut self.strangers,
        };
        *slot += 1;
        self.protocol_error = match counter {
            Counter::Ttl => ProtocolError::IpTtl,
            Counter::Version => ProtocolError::Version,
            Counter::Checksum => ProtocolError::Checksum,
            Counter::Vrid => ProtocolError::Vrid,
            Counter::Interval
            | Counter::Type
            | Counter::AddressList
            | Counter::Length
            | Counter::AuthType
            | Counter::AuthMismatch
            | Counter::AuthFailed
            | Counter::Replay
            | Counter::Stranger => self.protocol_error,
        };
    }
}

/// The three counters that RFC 6527 keeps per machine. A driver adds what it could give to no elector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GlobalStatistics {
    /// `vrrpv3RouterChecksumErrors`.
    pub checksum_errors: u64,
    /// `vrrpv3RouterVersionErrors`.
    pub version_errors: u64,
    /// `vrrpv3RouterVrIdErrors`.
    pub vrid_errors: u64,
}

impl GlobalStatistics {
    /// A packet for a virtual router that is not configured on its interface (RFC 9568 §7.1).
    pub fn unknown_router(&mut self) {
        self.vrid_errors += 1;
    }

    /// A packet that [`crate::wire::peek`] could not place.
    pub fn unreadable(&mut self, error: &DecodeError) {
        match Counter::from(error) {
            Counter::Checksum => self.checksum_errors += 1,
            Counter::Version => self.version_errors += 1,
            Counter::Vrid => self.vrid_errors += 1,
            Counter::Interval
            | Counter::Ttl
            | Counter::Type
            | Counter::AddressList
            | Counter::Length
            | Counter::AuthType
            | Counter::AuthMismatch
            | Counter::AuthFailed
            | Counter::Replay
            | Counter::Stranger => {}
        }
    }

    /// These and those of one router.
    #[must_use]
    pub fn with(self, router: &Statistics) -> Self {
        Self {
            checksum_errors: self.checksum_errors + router.checksum_errors,
            version_errors: self.version_errors + router.version_errors,
            vrid_errors: self.vrid_errors + router.vrid_errors,
        }
    }
}

impl From<&DecodeError> for Counter {
    fn from(error: &DecodeError) -> Self {
        match error {
            DecodeError::Ttl { .. } => Self::Ttl,
            DecodeError::Version(_) => Self::Version,
            DecodeError::Type(_) => Self::Type,
            DecodeError::Length { .. } => Self::Length,
            DecodeError::Checksum => Self::Checksum,
            DecodeError::Vrid => Self::Vrid,
            DecodeError::NoAddress | DecodeError::Family => Self::AddressList,
            DecodeError::Interval => Self::Interval,
            DecodeError::AuthType(_) | DecodeError::AuthLength(_) => Self::AuthType,
        }
    }
}
