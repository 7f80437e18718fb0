//! Devices: profiles for new ones, certificates that others made, revocation.

use std::time::Duration;

use rempart_bus::Error;
use rempart_bus::codes::{ReasonWord, RefusalCode};
use rempart_bus::vpn::{DeviceView, ExportRequest, ImportClient, Imported, Profile, SessionView};
use rempart_identity::authority::{self, Credential, DAY, MAX_END_ENTITY, Reason};
use rempart_identity::demand::Demand;
use rempart_identity::names::{DeviceId, UserName};
use rempart_identity::secret::Secret;
use rempart_identity::store::{Command, Fingerprint, Refusal};
use rempart_openvpn::wrap::{STATIC_KEY, ServerKey, StaticKey};
use rempart_plan::vpn::VpnPlan;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::admin::{bad, known, not_issued, refusal, user_name};
use super::office::{Edit, Office, today};
use super::profile::{self, Inline, Owner};
use super::upkeep::put_authority;
use super::views;

/// What a device is called that was given no name.
const UNNAMED: &str = "device";

impl Office {
    /// Every device.
    pub fn devices(&self) -> Vec<DeviceView> {
        let state = self.state();
        let warn = views::warn_time(state.plan.as_deref());
        let (devices, now) = (state.desk.store.devices(), today());
        devices.iter().map(|(id, device)| views::device(*id, device, now, warn)).collect()
    }

    /// The sessions of this node, with what their devices are called.
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut sessions = self.server().map(|server| server.sessions()).unwrap_or_default();
        let state = self.state();
        for session in &mut sessions {
            let device = session.device.as_ref().and_then(|id| id.parse::<DeviceId>().ok());
            let device = device.and_then(|id| state.desk.store.devices().get(&id));
            session.label = device.map(|device| device.label.clone());
        }
        sessions
    }

    /// A profile: for a new device, or anew for one that there is.
    pub fn export(&self, request: &ExportRequest, by: &str) -> Result<Profile, Error> {
        let (plan, wrapping) = self.ready_to_export()?;
        let made = self.change(by, |edit| match (&request.device, &request.user) {
            (Some(device), _) => renew(edit, &plan, device),
            (None, Some(user)) => {
                add(edit, &plan, user_name(user)?, request.label.as_deref().unwrap_or(UNNAMED))
            }
            (None, None) => Err(bad("neither a person nor a device was given")),
        })?;
        self.write_profile(&plan, &wrapping, made)
    }

    /// What every profile needs; made if it is not there yet.
    fn ready_to_export(&self) -> Result<(std::sync::Arc<VpnPlan>, Secret), Error> {
        let state = self.state();
        let plan =
            state.plan.clone().ok_or_else(|| RefusalCode::VpnOff.error("the document asks for no VPN"))?;
        if state.active && state.desk.store.issuing().is_none() {
            return Err(
                RefusalCode::NoAuthority.error("there is no authority yet: rempart vpn authority make")
            );
        }
        let missing = state.keys.wrapping.is_none();
        drop(state);
        if missing {
            self.provide(&self.take_turn());
        }
        match self.state().keys.wrapping.clone() {
            Some(wrapping) => Ok((plan, wrapping)),
            // A standby node has none before the active one made them; it refuses changes anyway.
            None => Err(RefusalCode::VpnStandby.error("the keys of the server are not here yet")),
        }
    }

    fn write_profile(&self, plan: &VpnPlan, wrapping: &Secret, made: Made) -> Result<Profile, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(error.to_string());
        let Made { user, device, label, demand, authority, credential } = made;
        let server: &[u8; 128] =
            wrapping.expose().try_into().map_err(|_| failed(&"the wrapping key has a wrong length"))?;
        let mut random = Zeroizing::new([0; STATIC_KEY]);
        let filled = SystemRandom::new().fill(&mut random[..]);
        filled.map_err(|_| failed(&"the machine gives no random bytes"))?;
        let wrapped = profile::wrapping(&ServerKey::new(server), StaticKey::new(&random), device);
        let wrapped = wrapped.map_err(|error| failed(&error))?;
        let key = credential.key_pem();
        let inline = Inline {
            authority: &authority,
            certificate: &credential.certificate_pem(),
            key: &key,
            wrapping: &wrapped,
        };
        let owner = Owner { user: &user, device, label: &label, demand };
        let text = profile::write(plan, &owner, &inline, self.settings.language);
        Ok(Profile {
            device: device.to_string(),
            user: user.to_string(),
            file: profile::file_name(&user, &label),
            label,
            until: views::time(credential.until),
            text: text.to_string(),
        })
    }

    /// A device may no longer come in.
    pub fn revoke(&self, device: &str, reason: &str, by: &str) -> Result<(), Error> {
        let device = device_id(device)?;
        let word = ReasonWord::named(reason).ok_or_else(|| bad(format!("`{reason}` is no reason")))?;
        let reason = match word {
            ReasonWord::KeyCompromise => Reason::KeyCompromise,
            ReasonWord::AffiliationChanged => Reason::AffiliationChanged,
            ReasonWord::Superseded => Reason::Superseded,
            ReasonWord::CessationOfOperation => Reason::CessationOfOperation,
            ReasonWord::PrivilegeWithdrawn => Reason::PrivilegeWithdrawn,
            ReasonWord::Unspecified => Reason::Unspecified,
        };
        self.change(by, |edit| edit.apply(Command::RevokeDevice(device, reason)).map_err(refusal))
    }

    /// Another label for a device.
    pub fn rename(&self, device: &str, label: &str, by: &str) -> Result<(), Error> {
        let device = device_id(device)?;
        self.change(by, |edit| edit.apply(Command::RenameDevice(device, label.to_owned())).map_err(refusal))
    }

    /// A device from a certificate that another authority made. Its key stays where it is: nothing is kept of the file but
    /// what tells the certificate.
    pub fn import_client(&self, request: &ImportClient, file: &[u8], by: &str) -> Result<Imported, Error> {
        let not = |error: &dyn std::fmt::Display| RefusalCode::NotImported.error(error);
        let password = request.password.as_deref().map(Secret::from);
        let contents = authority::read(file, password.as_ref()).map_err(|error| not(&error))?;
        let named = request.user.as_deref().map(user_name).transpose()?;
        self.change(by, |edit| {
            let client = authority::import_client(&contents, edit.store.authorities().iter(), edit.now);
            let client = client.map_err(|error| not(&error))?;
            let nameless = || not(&"the certificate names nobody: say whose device it is");
            let user = named.or_else(|| client.identity.user.clone()).ok_or_else(nameless)?;
            known(&edit.store, &user)?;
            let device = new_device()?;
            edit.apply(Command::AddDevice {
                device,
                user,
                label: request.label.clone().unwrap_or_else(|| UNNAMED.to_owned()),
                serial: client.identity.serial,
                fingerprint: Fingerprint::of(&client.certificate),
                until: client.until,
            })
            .map_err(refusal)?;
            let advice = client.findings.advice.iter().map(ToString::to_string).collect();
            Ok(Imported { what: device.to_string(), advice })
        })
    }
}

/// A certificate that was just made, with all that its profile says.
struct Made {
    user: UserName,
    device: DeviceId,
    label: String,
    demand: Demand,
    authority: String,
    credential: Credential,
}

fn add(edit: &mut Edit<'_>, plan: &VpnPlan, user: UserName, label: &str) -> Result<Made, Error> {
    let device = new_device()?;
    let (credential, authority, demand) = certify(edit, plan, &user, device)?;
    let Credential { serial, until, .. } = &credential;
    edit.apply(Command::AddDevice {
        device,
        user: user.clone(),
        label: label.to_owned(),
        serial: serial.clone(),
        fingerprint: Fingerprint::of(&credential.certificate),
        until: *until,
    })
    .map_err(refusal)?;
    Ok(Made { user, device, label: label.to_owned(), demand, authority, credential })
}

/// A new certificate for a device; the one before is revoked.
fn renew(edit: &mut Edit<'_>, plan: &VpnPlan, device: &str) -> Result<Made, Error> {
    let device = device_id(device)?;
    let unknown = || Error::NotFound(format!("there is no device {device}"));
    let old = edit.store.devices().get(&device).ok_or_else(unknown)?.clone();
    if old.revoked.is_some() {
        return Err(refusal(Refusal::Revoked(device)));
    }
    let (credential, authority, demand) = certify(edit, plan, &old.user, device)?;
    edit.apply(Command::RenewDevice {
        device,
        serial: credential.serial.clone(),
        fingerprint: Fingerprint::of(&credential.certificate),
        until: credential.until,
    })
    .map_err(refusal)?;
    Ok(Made { user: old.user, device, label: old.label, demand, authority, credential })
}

fn certify(
    edit: &mut Edit<'_>,
    plan: &VpnPlan,
    user: &UserName,
    device: DeviceId,
) -> Result<(Credential, String, Demand), Error> {
    let groups = &known(&edit.store, user)?.groups;
    // What a directory adds is known at a login only; then the profile asks for all that any group demands.
    let (policy, _) = super::policy::policy(plan);
    let demand = policy.demand(groups).map(|(demand, _)| demand);
    let widest = || {
        let any = |of: fn(&rempart_plan::vpn::GroupPlan) -> bool| plan.groups.iter().any(of);
        Demand::new(true, any(|group| group.password), any(|group| group.code)).unwrap_or(Demand::all())
    };
    let issuing = edit.store.issuing().cloned();
    let mut authority = issuing.ok_or_else(|| RefusalCode::NoAuthority.error("there is no authority"))?;
    let life = (DAY * plan.certificates.device_days.max(1)).min(MAX_END_ENTITY);
    let credential = issue(&mut authority, user, device, life, edit)?;
    let certificate = authority.certificate_pem();
    put_authority(edit, authority).map_err(not_issued)?;
    Ok((credential, certificate, demand.unwrap_or_else(widest)))
}

fn issue(
    authority: &mut authority::Authority,
    user: &UserName,
    device: DeviceId,
    life: Duration,
    edit: &Edit<'_>,
) -> Result<Credential, Error> {
    authority.issue_client(user, device, life, edit.now, &SystemRandom::new()).map_err(not_issued)
}

fn new_device() -> Result<DeviceId, Error> {
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::Failed("the machine gives no random bytes".to_owned()))?;
    Ok(DeviceId::new(bytes))
}

/// A device's identifier.
pub fn device_id(text: &str) -> Result<DeviceId, Error> {
    text.trim().parse().map_err(|error| bad(format!("`{text}`: {error}")))
}
