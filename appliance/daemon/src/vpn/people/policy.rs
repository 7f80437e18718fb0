//! What the plan says about logins, in the terms of those who judge them. Pure; files are given as they were read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rempart_bus::codes::VpnWarning;
use rempart_identity::demand::{Demand, Policy};
use rempart_identity::ldap::{Config, Controller, Protection};
use rempart_identity::names::GroupName;
use rempart_identity::radius::{RadiusConfig, RadiusServer};
use rempart_identity::secret::Secret;
use rempart_identity::store::Source;
use rempart_plan::vpn::{DirectoryPlan, GroupPlan, RadiusPlan, Strangers, VpnPlan};

/// How long the directory may take, all controllers together. Below the client's hand-window with a code to be typed.
const DIRECTORY: Duration = Duration::from_secs(10);
/// How long one try at a RADIUS server may take; there are three at each of four servers.
const RADIUS: Duration = Duration::from_secs(2);
/// Where StartTLS is spoken (RFC 4511 §5.2).
const LDAP_PORT: u16 = 389;

/// Something that will not work as the document has it.
pub type Complaint = (VpnWarning, String);

/// Groups, what they demand, and who is asked about strangers.
pub fn policy(plan: &VpnPlan) -> (Policy, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let mut groups = BTreeMap::new();
    for group in &plan.groups {
        let demand = Demand::new(group.certificate, group.password, group.code);
        match (group.name.parse::<GroupName>(), demand) {
            (Ok(name), Ok(demand)) => drop(groups.insert(name, demand)),
            (Err(error), _) => {
                complaints.push((VpnWarning::GroupUnusable, format!("{}: {error}", group.name)))
            }
            // Left out of the policy: nobody comes in by it.
            (_, Err(error)) => {
                complaints.push((VpnWarning::GroupUnusable, format!("{}: {error}", group.name)))
            }
        }
    }
    let strangers = plan.strangers.map(|strangers| match strangers {
        Strangers::Directory => Source::Directory,
        Strangers::Radius => Source::Radius,
    });
    (Policy { groups, strangers }, complaints)
}

/// Whether somebody may come in without a certificate: then TLS must not demand one.
pub fn certificate_is_optional(plan: &VpnPlan) -> bool {
    plan.groups.iter().any(|group| !group.certificate)
}

/// The directory, with the certificates of the file that the plan names.
pub fn directory(plan: &DirectoryPlan, groups: &[GroupPlan], authorities: Vec<Vec<u8>>) -> Config {
    let controllers = plan.controllers.iter().flat_map(|controller| {
        let protection = if controller.port == LDAP_PORT { Protection::StartTls } else { Protection::Ldaps };
        controller.addresses.iter().map(move |address| Controller {
            name: controller.name.clone(),
            address: SocketAddr::new(*address, controller.port),
            protection,
        })
    });
    Config {
        controllers: controllers.collect(),
        authorities,
        domain: plan.domain.clone(),
        base: base(&plan.domain),
        groups: directory_groups(groups),
        patience: DIRECTORY,
    }
}

/// `datatel.example` is `DC=datatel,DC=example` (RFC 2247 §2).
fn base(domain: &str) -> String {
    domain.split('.').map(|label| format!("DC={label}")).collect::<Vec<_>>().join(",")
}

/// Which groups of the directory stand for which of ours. One may stand for several: then the demands of all add up.
fn directory_groups(groups: &[GroupPlan]) -> BTreeMap<String, BTreeSet<GroupName>> {
    let mut found: BTreeMap<String, BTreeSet<GroupName>> = BTreeMap::new();
    // Names there do not tell upper case from lower; two spellings are one group.
    let mut spelled: BTreeMap<String, String> = BTreeMap::new();
    for group in groups {
        let Ok(ours) = group.name.parse::<GroupName>() else { continue };
        for theirs in &group.directory_groups {
            let name = spelled.entry(theirs.to_lowercase()).or_insert_with(|| theirs.clone()).clone();
            found.entry(name).or_default().insert(ours.clone());
        }
    }
    found
}

/// RADIUS, with the secret of the file that the plan names. A server names our groups by their own names.
pub fn radius(plan: &RadiusPlan, node: &str, groups: &[GroupPlan], secret: &Secret) -> RadiusConfig {
    let own = |group: &GroupPlan| Some((group.name.clone(), group.name.parse::<GroupName>().ok()?));
    RadiusConfig {
        servers: plan
            .servers
            .iter()
            .map(|address| RadiusServer { address: *address, secret: secret.clone() })
            .collect(),
        identifier: node.to_owned(),
        groups: groups.iter().filter_map(own).collect(),
        source: plan.source,
        patience: RADIUS,
    }
}

/// The group of people whom RADIUS names none for.
pub fn radius_default(plan: &RadiusPlan) -> Option<GroupName> {
    plan.group.as_ref().and_then(|name| name.parse().ok())
}
