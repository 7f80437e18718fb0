//! Owns what can be asked of `rempart-vpn`, and what comes back.

use rempart_bus::vpn::{
    AuthorityView, DeviceView, DisconnectRequest, Enrolment, ExportRequest, ImportClient, Imported, Profile,
    SessionView, TestReport, TestRequest, UserChange, UserRequest, UserView, VpnStatus, WireguardClient,
    WireguardClientRequest, WireguardKey, WireguardStatus,
};
use rempart_bus::{Error, Vpn1Proxy};
use serde::de::DeserializeOwned;

/// A call to `rempart-vpn`. Whoever asks for a change is named in it.
#[derive(Clone, PartialEq)]
pub enum Ask {
    /// How it is.
    Status,
    /// Who is on.
    Sessions,
    /// Ends sessions.
    Disconnect(DisconnectRequest, String),
    /// Everybody.
    Users,
    /// A new person.
    AddUser(UserRequest, String),
    /// Other data for a person.
    SetUser(UserChange, String),
    /// A person goes.
    RemoveUser(String, String),
    /// A password, or none for the empty text: name, password.
    Password(String, String, String),
    /// An authenticator application.
    EnrolCode(String, String),
    /// Its first code: name, code.
    ConfirmCode(String, String, String),
    /// No application any more.
    RemoveCode(String, String),
    /// Every device.
    Devices,
    /// A profile.
    Export(ExportRequest, String),
    /// A device may no longer come in: device, reason.
    Revoke(String, String, String),
    /// Another label: device, label.
    Rename(String, String, String),
    /// A device from somebody else's certificate.
    ImportClient(ImportClient, Vec<u8>, String),
    /// All authorities.
    Authorities,
    /// A new authority, of this name or the organisation's.
    MakeAuthority(String, String),
    /// A new certificate for the authority that issues.
    RenewAuthority(String),
    /// Somebody else's authority: file, what opens it.
    ImportAuthority(Vec<u8>, String, String),
    /// Its list of revoked certificates: fingerprint, file.
    ImportList(String, Vec<u8>, String),
    /// An authority goes.
    RemoveAuthority(String, String),
    /// A login that lets nobody in.
    Test(TestRequest),
    /// WireGuard.
    Wireguard,
    /// The gateway's key of WireGuard, or another one.
    WireguardKey(bool, String),
    /// A client's configuration.
    WireguardClient(WireguardClientRequest, String),
}

/// Passwords and keys stand in some of them.
impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask(..)")
    }
}

/// What came back, read.
#[derive(Clone, PartialEq)]
pub enum Answer {
    /// To `Status`.
    Status(VpnStatus),
    /// To `Sessions`.
    Sessions(Vec<SessionView>),
    /// To `Disconnect`: how many.
    Disconnected(u32),
    /// To `Users`.
    Users(Vec<UserView>),
    /// To `EnrolCode`.
    Enrolment(Enrolment),
    /// To `Devices`.
    Devices(Vec<DeviceView>),
    /// To `Export`.
    Profile(Profile),
    /// To `ImportClient` and `ImportAuthority`.
    Imported(Imported),
    /// To `Authorities`.
    Authorities(Vec<AuthorityView>),
    /// To `MakeAuthority` and `RenewAuthority`.
    Authority(AuthorityView),
    /// To `Test`.
    Test(TestReport),
    /// To `Wireguard`.
    Wireguard(WireguardStatus),
    /// To `WireguardKey`.
    WireguardKey(WireguardKey),
    /// To `WireguardClient`.
    WireguardClient(WireguardClient),
    /// To everything else.
    Done,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer(..)")
    }
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("bus documents have string keys and finite numbers")
}

fn nothing((): ()) -> String {
    "{}".to_owned()
}

impl Ask {
    /// Whether it changes nothing and asks nobody else.
    pub fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::Status | Self::Sessions | Self::Users | Self::Devices | Self::Authorities | Self::Wireguard
        )
    }

    /// Asks, and gives the answer as it came; a number or nothing becomes a small JSON object.
    pub async fn call(&self, p: &Vpn1Proxy<'_>) -> Result<String, Error> {
        match self {
            Self::Status => p.status().await,
            Self::Sessions => p.sessions().await,
            Self::Disconnect(whom, by) => {
                let count = p.disconnect(&json(whom), by).await?;
                Ok(serde_json::json!({ "disconnected": count }).to_string())
            }
            Self::Users => p.users().await,
            Self::AddUser(user, by) => p.add_user(&json(user), by).await.map(nothing),
            Self::SetUser(change, by) => p.set_user(&json(change), by).await.map(nothing),
            Self::RemoveUser(name, by) => p.remove_user(name, by).await.map(nothing),
            Self::Password(name, password, by) => p.set_password(name, password, by).await.map(nothing),
            Self::EnrolCode(name, by) => p.enrol_code(name, by).await,
            Self::ConfirmCode(name, code, by) => p.confirm_code(name, code, by).await.map(nothing),
            Self::RemoveCode(name, by) => p.remove_code(name, by).await.map(nothing),
            Self::Devices => p.devices().await,
            Self::Export(request, by) => p.export(&json(request), by).await,
            Self::Revoke(device, reason, by) => p.revoke(device, reason, by).await.map(nothing),
            Self::Rename(device, label, by) => p.rename(device, label, by).await.map(nothing),
            Self::ImportClient(request, file, by) => p.import_client(&json(request), file, by).await,
            Self::Authorities => p.authorities().await,
            Self::MakeAuthority(name, by) => p.make_authority(name, by).await,
            Self::RenewAuthority(by) => p.renew_authority(by).await,
            Self::ImportAuthority(file, password, by) => p.import_authority(file, password, by).await,
            Self::ImportList(print, file, by) => p.import_list(print, file, by).await.map(nothing),
            Self::RemoveAuthority(print, by) => p.remove_authority(print, by).await.map(nothing),
            Self::Test(request) => p.test_login(&json(request)).await,
            Self::Wireguard => p.wireguard().await,
            Self::WireguardKey(anew, by) => p.make_wireguard_key(*anew, by).await,
            Self::WireguardClient(request, by) => p.wireguard_client(&json(request), by).await,
        }
    }

    /// Reads the answer.
    pub fn read(&self, text: &str) -> Result<Answer, String> {
        fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|error| error.to_string())
        }
        Ok(match self {
            Self::Status => Answer::Status(read(text)?),
            Self::Sessions => Answer::Sessions(read(text)?),
            Self::Disconnect(..) => {
                let value: serde_json::Value = read(text)?;
                let count = value.get("disconnected").and_then(serde_json::Value::as_u64);
                Answer::Disconnected(
                    count.and_then(|count| count.try_into().ok()).ok_or_else(|| text.to_owned())?,
                )
            }
            Self::Users => Answer::Users(read(text)?),
            Self::EnrolCode(..) => Answer::Enrolment(read(text)?),
            Self::Devices => Answer::Devices(read(text)?),
            Self::Export(..) => Answer::Profile(read(text)?),
            Self::ImportClient(..) | Self::ImportAuthority(..) => Answer::Imported(read(text)?),
            Self::Authorities => Answer::Authorities(read(text)?),
            Self::MakeAuthority(..) | Self::RenewAuthority(_) => Answer::Authority(read(text)?),
            Self::Test(_) => Answer::Test(read(text)?),
            Self::Wireguard => Answer::Wireguard(read(text)?),
            Self::WireguardKey(..) => Answer::WireguardKey(read(text)?),
            Self::WireguardClient(..) => Answer::WireguardClient(read(text)?),
            Self::AddUser(..)
            | Self::SetUser(..)
            | Self::RemoveUser(..)
            | Self::Password(..)
            | Self::ConfirmCode(..)
            | Self::RemoveCode(..)
            | Self::Revoke(..)
            | Self::Rename(..)
            | Self::ImportList(..)
            | Self::RemoveAuthority(..) => Answer::Done,
        })
    }
}
