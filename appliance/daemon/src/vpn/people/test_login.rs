//! A login that lets nobody in, to see where one fails: every step of the real one, with the real directory and RADIUS.
//!
//! Not slowed and not counted, for an administrator asks; a code is looked at and stays good.

use std::time::Instant;

use rempart_bus::Error;
use rempart_bus::vpn::{TestReport, TestRequest};
use rempart_identity::authority::ClientIdentity;
use rempart_identity::demand::{Answer, Attempt, Login, Next};
use rempart_identity::secret::Secret;
use rempart_identity::store::Device;

use super::devices::device_id;
use super::office::{Office, today};

/// Steps of one test: the password, five challenges, the code.
const MAX_STEPS: usize = 16;

impl Office {
    /// Tries to log in. Blocks as long as those who are asked.
    pub fn test_login(&self, request: &TestRequest) -> Result<TestReport, Error> {
        let begin = Instant::now();
        let TestRequest { user, password, code, device } = request;
        let code = code.as_deref().map(Secret::from);
        let answer = match &code {
            Some(code) => Answer::Split { password: Secret::from(password.as_str()), code: code.clone() },
            None => Answer::Field(Secret::from(password.as_str())),
        };
        let state = self.state();
        let certificate = match device {
            None => None,
            Some(text) => {
                let id = device_id(text)?;
                let known = state.desk.store.devices().get(&id);
                let known = known.ok_or_else(|| Error::NotFound(format!("there is no device {id}")))?;
                Some(identity(known))
            }
        };
        let attempt = Attempt { name: user, certificate: certificate.clone(), answer, can_be_asked: true };
        let (mut login, mut next) = Login::start(today(), &state.desk.store, &state.desk.policy, attempt);
        let back = state.back.clone();
        drop(state);
        let mut report = TestReport::default();
        let mut asked = None;
        for _ in 0..MAX_STEPS {
            next = match next {
                Next::CheckLocal(check) => login.handle_local(today(), check.run()),
                Next::AskDirectory { name, password } => {
                    let answer = back.ask_directory(&name, &password);
                    login.handle_directory(today(), answer)
                }
                Next::AskRadius { name, password, state } => {
                    let answer = back.ask_radius(&name, &password, state.as_deref(), None);
                    login.handle_radius(today(), answer)
                }
                Next::Challenge(text) => match &code {
                    // The question of a RADIUS server: the code may be its answer.
                    Some(code) if asked.is_none() && text.is_some() => {
                        asked = text;
                        login.handle_answer(today(), code, certificate.as_ref())
                    }
                    Some(_) | None => {
                        report.told = Some(text.unwrap_or_else(|| "a code would be asked for".to_owned()));
                        break;
                    }
                },
                Next::Accepted(admission) => {
                    report.accepted = true;
                    report.groups = admission.groups.iter().map(ToString::to_string).collect();
                    break;
                }
                Next::Refused { user, .. } => {
                    report.told = Some(user.text(self.settings.language).to_owned());
                    break;
                }
            };
        }
        report.steps = login.trace().iter().map(ToString::to_string).collect();
        report.took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }
}

/// What TLS would have said of this device.
fn identity(device: &Device) -> ClientIdentity {
    ClientIdentity {
        serial: device.serial.clone(),
        fingerprint: device.fingerprint.bytes(),
        issuer: Vec::new(),
        device: None,
        user: Some(device.user.clone()),
    }
}
