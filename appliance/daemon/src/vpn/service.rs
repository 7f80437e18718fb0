//! `org.rempart.Vpn1`: turns calls into what people and the server do.
//!
//! Whoever may call at all is said by the bus's policy; a configuration comes from root alone. Calls that hash, ask or write
//! run on threads that may block.

use std::sync::Arc;

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{DisconnectRequest, WireguardClientRequest};
use rempart_identity::secret::Secret;
use rempart_plan::remote::RemotePlan;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::info;
use zbus::Connection;
use zbus::message::Header;

use super::people::Office;
use super::wireguard::Wireguard;
use crate::caller::only_root;

/// Bytes of a file that is taken over: a list of revoked certificates is the largest.
const MAX_FILE: usize = 5 << 20;
/// Bytes of any other text: a plan with all its groups is the largest.
const MAX_TEXT: usize = 1 << 20;

/// Takes what the document asks for, and its revision: it may take its time.
pub type Configure = Arc<dyn Fn(Option<RemotePlan>, u32) + Send + Sync>;

/// The object on the bus: speaks for people, for the server that was attached to them, and for WireGuard.
#[derive(Clone)]
pub struct Service {
    /// People.
    pub office: Arc<Office>,
    /// WireGuard.
    pub wireguard: Arc<Wireguard>,
    /// The name of this node.
    pub node: String,
    /// What the document asks for goes there.
    pub configure: Configure,
}

impl Service {
    /// Does something that may take its time.
    async fn run<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Office) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let office = self.office.clone();
        let done = tokio::task::spawn_blocking(move || what(&office)).await;
        done.map_err(|error| Error::Failed(error.to_string()))?
    }

    /// The same of WireGuard, with an answer in JSON.
    async fn tunnel<T: Serialize + Send + 'static>(
        &self,
        what: impl FnOnce(&Wireguard) -> Result<T, Error> + Send + 'static,
    ) -> Result<String, Error> {
        let wireguard = self.wireguard.clone();
        self.answer(move |_| what(&wireguard)).await
    }

    /// The same, with an answer in JSON.
    async fn answer<T: Serialize + Send + 'static>(
        &self,
        what: impl FnOnce(&Office) -> Result<T, Error> + Send + 'static,
    ) -> Result<String, Error> {
        let made = self.run(what).await?;
        serde_json::to_string(&made).map_err(|error| Error::Failed(error.to_string()))
    }
}

#[zbus::interface(name = "org.rempart.Vpn1")]
impl Service {
    async fn status(&self) -> Result<String, Error> {
        self.answer(|office| Ok(office.status())).await
    }

    async fn configure(
        &self,
        plan: &str,
        revision: u32,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        // What the document asks for comes from `rempartd` alone.
        only_root(&header, connection).await?;
        let plan: Option<RemotePlan> = if plan.is_empty() { None } else { Some(read(plan)?) };
        let wireguard = plan.as_ref().is_some_and(|plan| plan.wireguard.is_some());
        info!(revision, asked_for = plan.is_some(), wireguard, "the document was taken notice of");
        let configure = self.configure.clone();
        self.run(move |_| {
            configure(plan, revision);
            Ok(())
        })
        .await
    }

    async fn sessions(&self) -> Result<String, Error> {
        self.answer(|office| Ok(office.sessions())).await
    }

    async fn disconnect(&self, request: &str, by: &str) -> Result<u32, Error> {
        let request: DisconnectRequest = read(request)?;
        let given = [request.user.is_some(), request.session.is_some(), request.all];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(RefusalCode::BadField.error("say whom: a person, a session, or all"));
        }
        let by = by.to_owned();
        self.run(move |office| {
            let count = office.server().map_or(0, |server| server.disconnect(&request));
            info!(by, ?request, count, "sessions ended by an administrator");
            match count {
                0 => Err(Error::NotFound("there is no such session".to_owned())),
                count => Ok(count),
            }
        })
        .await
    }

    async fn users(&self) -> Result<String, Error> {
        self.answer(|office| Ok(office.users())).await
    }

    async fn add_user(&self, user: &str, by: &str) -> Result<(), Error> {
        let (user, by) = (read(user)?, by.to_owned());
        self.run(move |office| office.add_user(&user, &by)).await
    }

    async fn set_user(&self, change: &str, by: &str) -> Result<(), Error> {
        let (change, by) = (read(change)?, by.to_owned());
        self.run(move |office| office.set_user(&change, &by)).await
    }

    async fn remove_user(&self, name: &str, by: &str) -> Result<(), Error> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.run(move |office| office.remove_user(&name, &by)).await
    }

    async fn set_password(&self, name: &str, password: &str, by: &str) -> Result<(), Error> {
        let (name, password, by) = (name.to_owned(), Secret::from(password), by.to_owned());
        self.run(move |office| office.set_password(&name, &password, &by)).await
    }

    async fn enrol_code(&self, name: &str, by: &str) -> Result<String, Error> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.answer(move |office| office.enrol_code(&name, &by)).await
    }

    async fn confirm_code(&self, name: &str, code: &str, by: &str) -> Result<(), Error> {
        let (name, code, by) = (name.to_owned(), code.to_owned(), by.to_owned());
        self.run(move |office| office.confirm_code(&name, &code, &by)).await
    }

    async fn remove_code(&self, name: &str, by: &str) -> Result<(), Error> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.run(move |office| office.remove_code(&name, &by)).await
    }

    async fn devices(&self) -> Result<String, Error> {
        self.answer(|office| Ok(office.devices())).await
    }

    async fn export(&self, request: &str, by: &str) -> Result<String, Error> {
        let (request, by) = (read(request)?, by.to_owned());
        self.answer(move |office| office.export(&request, &by)).await
    }

    async fn revoke(&self, device: &str, reason: &str, by: &str) -> Result<(), Error> {
        let (device, reason, by) = (device.to_owned(), reason.to_owned(), by.to_owned());
        self.run(move |office| office.revoke(&device, &reason, &by)).await
    }

    async fn rename(&self, device: &str, label: &str, by: &str) -> Result<(), Error> {
        let (device, label, by) = (device.to_owned(), label.to_owned(), by.to_owned());
        self.run(move |office| office.rename(&device, &label, &by)).await
    }

    async fn import_client(&self, request: &str, file: &[u8], by: &str) -> Result<String, Error> {
        let (request, file, by) = (read(request)?, taken(file)?, by.to_owned());
        self.answer(move |office| office.import_client(&request, file.expose(), &by)).await
    }

    async fn authorities(&self) -> Result<String, Error> {
        self.answer(|office| Ok(office.authorities())).await
    }

    async fn make_authority(&self, name: &str, by: &str) -> Result<String, Error> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.answer(move |office| office.make_authority(&name, &by)).await
    }

    async fn renew_authority(&self, by: &str) -> Result<String, Error> {
        let by = by.to_owned();
        self.answer(move |office| office.renew_authority(&by)).await
    }

    async fn import_authority(&self, file: &[u8], password: &str, by: &str) -> Result<String, Error> {
        let (file, password, by) = (taken(file)?, Secret::from(password), by.to_owned());
        self.answer(move |office| {
            office.import_authority(file.expose(), password.expose_str().unwrap_or_default(), &by)
        })
        .await
    }

    async fn import_list(&self, authority: &str, file: &[u8], by: &str) -> Result<(), Error> {
        let (authority, file, by) = (authority.to_owned(), taken(file)?, by.to_owned());
        self.run(move |office| office.import_list(&authority, file.expose(), &by)).await
    }

    async fn remove_authority(&self, fingerprint: &str, by: &str) -> Result<(), Error> {
        let (fingerprint, by) = (fingerprint.to_owned(), by.to_owned());
        self.run(move |office| office.remove_authority(&fingerprint, &by)).await
    }

    async fn test_login(&self, request: &str) -> Result<String, Error> {
        let request = read(request)?;
        self.answer(move |office| office.test_login(&request)).await
    }

    async fn wireguard(&self) -> Result<String, Error> {
        let node = self.node.clone();
        self.tunnel(move |wireguard| wireguard.report(&node)).await
    }

    async fn make_wireguard_key(&self, anew: bool, by: &str) -> Result<String, Error> {
        info!(by, anew, "an administrator asks for WireGuard's key");
        self.tunnel(move |wireguard| wireguard.make_key(anew)).await
    }

    async fn wireguard_client(&self, request: &str, by: &str) -> Result<String, Error> {
        let request: WireguardClientRequest = read(request)?;
        info!(by, peer = request.peer, "a configuration of WireGuard is made for a client");
        self.tunnel(move |wireguard| wireguard.client(request)).await
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    if text.len() > MAX_TEXT {
        return Err(RefusalCode::BadField.error("the request is too large"));
    }
    serde_json::from_str(text).map_err(|error| RefusalCode::BadField.error(error))
}

/// It may hold a key: wiped when it was read.
fn taken(file: &[u8]) -> Result<Secret, Error> {
    if file.len() > MAX_FILE {
        return Err(RefusalCode::NotImported.error("the file is larger than 5 MB"));
    }
    Ok(Secret::new(file.to_vec()))
}
