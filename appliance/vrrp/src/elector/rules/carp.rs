//! CARP, after OpenBSD's `ip_carp.c`, FreeBSD's and ucarp.

use std::net::IpAddr;

use super::super::config::{Carp, DemotionStyle, Tie};
use super::super::output::Refusal;
use super::{Heard, Listener, Message, Verdict, check_vrid};
use crate::replay::Guard;
use crate::types::{IpHeader, TtlRule, Vrid};
use crate::wire::carp::{self, Authenticator, Pace};

/// FreeBSD caps a demoted advskew here.
const MAX_DEMOTED_SKEW: u8 = 240;

#[derive(Clone, Debug)]
pub(super) struct CarpRules {
    pace: Pace,
    style: DemotionStyle,
    tie: Tie,
    authenticator: Authenticator,
    guard: Guard,
    demotion: u8,
}

/// Something that differs between the routers of one virtual host.
fn salt(config: &Carp) -> u64 {
    let v4 = config.source_v4.map_or(0, |address| u64::from(address.to_bits()));
    let v6 = config.source_v6.map_or([0; 8], |address| {
        let [.., a, b, c, d, e, f, g, h] = address.octets();
        [a, b, c, d, e, f, g, h]
    });
    v4 ^ u64::from_be_bytes(v6).rotate_left(32)
}

impl CarpRules {
    pub(super) fn new(vhid: Vrid, config: &Carp) -> Self {
        Self {
            pace: config.pace,
            style: config.demotion,
            tie: config.tie,
            authenticator: Authenticator::new(
                config.secret.clone(),
                vhid,
                config.v4.clone(),
                config.v6.iter().copied(),
                config.link_local,
            ),
            guard: Guard::new(config.replay, config.first_counter, salt(config)),
            demotion: 0,
        }
    }

    /// Pace and demotion as they go out.
    pub(super) fn effective(&self) -> (Pace, u8) {
        match self.style {
            DemotionStyle::Byte => (self.pace, self.demotion),
            DemotionStyle::Skew if self.demotion == 0 => (self.pace, 0),
            DemotionStyle::Skew => {
                let skew = self.pace.skew.saturating_add(self.demotion).min(MAX_DEMOTED_SKEW);
                (Pace { skew: skew.max(self.pace.skew), ..self.pace }, 0)
            }
        }
    }

    pub(super) fn set_demotion(&mut self, demotion: u8) {
        self.demotion = demotion;
    }

    /// Each packet has a counter of its own, or a listener of both families would take the second for a replay.
    pub(super) fn encode(&mut self, vhid: Vrid, message: Message) -> Vec<u8> {
        let counter = self.guard.take();
        let (pace, demotion) = self.effective();
        let pace = match message {
            Message::Regular => pace,
            Message::Resignation => Pace::BOW_OUT,
        };
        self.authenticator.encode(&carp::Advertisement { vhid, pace, demotion, counter }).to_vec()
    }

    pub(super) fn receive(
        &mut self,
        vhid: Vrid,
        listener: Listener,
        header: &IpHeader,
        ours: Option<IpAddr>,
        ttl: TtlRule,
        bytes: &[u8],
    ) -> Result<Heard, Refusal> {
        let packet = carp::Unverified::decode(header, ttl, bytes)?;
        check_vrid(packet.vhid(), vhid)?;
        let advert = self.authenticator.verify(packet).ok_or(Refusal::AuthFailed)?.into_inner();
        if !self.guard.admit(advert.counter) {
            return Err(Refusal::Replayed(advert.counter));
        }
        let lower = ours.is_some_and(|ours| ours < header.source);
        Ok(Heard { verdict: self.judge(listener, &advert, lower), source: header.source, interval: None })
    }

    /// The order of OpenBSD's `carp_proto_input_c`; FreeBSD's is the same without demotion.
    fn judge(&self, listener: Listener, advert: &carp::Advertisement, ours_is_lower: bool) -> Verdict {
        let (pace, demotion) = self.effective();
        let theirs = advert.pace.rank();
        match listener {
            Listener::Defending if advert.demotion < demotion => Verdict::Superior,
            Listener::Defending if advert.demotion > demotion || theirs > pace.rank() => Verdict::Inferior,
            Listener::Defending if theirs < pace.rank() => Verdict::Superior,
            // Same demotion, same pace. The BSDs have nothing more to compare and both step down.
            Listener::Defending => match self.tie {
                Tie::StepDown => Verdict::Superior,
                Tie::LowerAddress if ours_is_lower => Verdict::Inferior,
                Tie::LowerAddress => Verdict::Superior,
            },
            // So slow that it is bound to be taken for dead. First, unlike OpenBSD, where the order does not matter:
            // each of the three ends in taking over.
            Listener::Waiting
                if pace.base > 0 && theirs > 3 * 256 * u32::from(pace.base) + u32::from(pace.skew) =>
            {
                Verdict::Resigned
            }
            // OpenBSD's farewell, for a host with advbase 0, which OpenBSD leaves to its timer.
            Listener::Waiting if advert.pace == Pace::BOW_OUT => Verdict::Resigned,
            Listener::Waiting if advert.demotion > demotion => Verdict::Unwell,
            Listener::Waiting if advert.demotion == demotion && pace.rank() < theirs => Verdict::Inferior,
            Listener::Waiting => Verdict::Superior,
        }
    }
}
