//! What is pretended around the program: the three daemons, and systemd.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rempart_bus::documents::{InterfaceStatus, Revision, Status};
use rempart_bus::ha::{ConfigurationStatus, HaStatus, JournalStatus, OtherNode};
use rempart_bus::update::PEER_TOPIC;
use rempart_bus::vpn::VpnStatus;
use rempart_bus::{
    ByteBuf, CONTROL_NAME, CONTROL_PATH, Error, HA_NAME, HA_PATH, Update1Proxy, VPN_NAME, VPN_PATH,
};
use zbus::Connection;

/// The surroundings of one machine.
#[derive(Debug, Default)]
pub struct Around {
    active: AtomicBool,
    /// Its programs answer.
    up: AtomicBool,
    restart: AtomicBool,
    other: Mutex<Weak<Around>>,
    bus: Mutex<Option<Connection>>,
}

/// Two machines hear each other.
pub fn join(one: &Arc<Around>, two: &Arc<Around>) {
    *one.other.lock().expect("a lock") = Arc::downgrade(two);
    *two.other.lock().expect("a lock") = Arc::downgrade(one);
}

impl Around {
    /// Serves the names on a bus.
    pub async fn start(address: &str, active: bool) -> Arc<Self> {
        let own = Arc::new(Self { active: active.into(), ..Self::default() });
        let bus = zbus::connection::Builder::address(address)
            .serve_at(CONTROL_PATH, Control(own.clone()))
            .serve_at(HA_PATH, Ha(own.clone()))
            .serve_at(VPN_PATH, Vpn(own.clone()))
            .serve_at("/org/freedesktop/systemd1", Systemd(own.clone()))
            .name(CONTROL_NAME)
            .name(HA_NAME)
            .name(VPN_NAME)
            .name("org.freedesktop.systemd1")
            .build()
            .await
            .expect("the bus");
        *own.bus.lock().expect("a lock") = Some(bus);
        own
    }

    /// It has the role.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst)
    }

    /// Its programs answer, or do not.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    /// systemd was asked for a restart; said once.
    pub fn take_restart(&self) -> bool {
        self.restart.swap(false, Ordering::SeqCst)
    }

    /// systemd was asked for a restart.
    pub fn wants_restart(&self) -> bool {
        self.restart.load(Ordering::SeqCst)
    }

    fn is_up(&self) -> Result<(), Error> {
        if self.up.load(Ordering::SeqCst) { Ok(()) } else { Err(Error::Failed("starting".into())) }
    }

    fn other(&self) -> Option<Arc<Around>> {
        let other = self.other.lock().expect("a lock").upgrade()?;
        other.up.load(Ordering::SeqCst).then_some(other)
    }
}

struct Control(Arc<Around>);

#[zbus::interface(name = "org.rempart.Control1")]
impl Control {
    async fn status(&self) -> Result<String, Error> {
        self.0.is_up()?;
        let lan = InterfaceStatus {
            name: "lan".into(),
            present: true,
            carrier: true,
            ..InterfaceStatus::default()
        };
        let status = Status {
            revision: Some(Revision { number: 3, ..Revision::default() }),
            interfaces: vec![lan],
            ..Status::default()
        };
        Ok(serde_json::to_string(&status).expect("JSON"))
    }
}

struct Ha(Arc<Around>);

#[zbus::interface(name = "org.rempart.Ha1")]
impl Ha {
    async fn status(&self) -> Result<String, Error> {
        self.0.is_up()?;
        let role = if self.0.is_active() { "active" } else { "standby" };
        let other = self.0.other().map(|_| OtherNode { alive: true, ..OtherNode::default() });
        let both = other.is_some();
        let said = |yes: &str, no: &str| if both { yes.to_owned() } else { no.to_owned() };
        let status = HaStatus {
            role: role.into(),
            other,
            journal: JournalStatus { state: said("live", "waiting"), ..JournalStatus::default() },
            configuration: ConfigurationStatus {
                state: said("same", "unknown"),
                ..ConfigurationStatus::default()
            },
            ..HaStatus::default()
        };
        Ok(serde_json::to_string(&status).expect("JSON"))
    }

    async fn switch(&self) -> Result<(), Error> {
        let other = self.0.other().ok_or_else(|| Error::Refused("nobody is there".into()))?;
        assert!(self.0.active.swap(false, Ordering::SeqCst), "the standby gives the role away");
        other.active.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn request(&self, topic: &str, body: &[u8]) -> Result<ByteBuf, Error> {
        assert_eq!(topic, PEER_TOPIC);
        let other = self.0.other().ok_or_else(|| Error::Failed("the other node is not connected".into()))?;
        let bus = other.bus.lock().expect("a lock").clone().expect("a bus");
        Update1Proxy::new(&bus).await?.peer_request(body).await
    }
}

struct Vpn(Arc<Around>);

#[zbus::interface(name = "org.rempart.Vpn1")]
impl Vpn {
    async fn status(&self) -> Result<String, Error> {
        self.0.is_up()?;
        let status = VpnStatus { configured: true, ..VpnStatus::default() };
        Ok(serde_json::to_string(&status).expect("JSON"))
    }
}

struct Systemd(Arc<Around>);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    async fn start_unit(&self, name: &str, mode: &str) -> zbus::fdo::Result<zbus::OwnedObjectPath> {
        assert_eq!((name, mode), ("reboot.target", "replace-irreversibly"));
        self.0.restart.store(true, Ordering::SeqCst);
        zbus::ObjectPath::try_from("/org/freedesktop/systemd1/job/1")
            .map(Into::into)
            .map_err(|e| zbus::fdo::Error::Failed(e.to_string()))
    }
}
