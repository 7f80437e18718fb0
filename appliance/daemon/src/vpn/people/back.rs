//! The directory and RADIUS, as the plan has them; or why they cannot be asked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rempart_bus::codes::VpnWarning;
use rempart_identity::authority;
use rempart_identity::demand::{DirectoryAnswer, RadiusAnswer};
use rempart_identity::ldap::Directory;
use rempart_identity::names::GroupName;
use rempart_identity::radius::{Question, Radius};
use rempart_identity::secret::Secret;
use rempart_plan::vpn::{DirectoryPlan, RadiusPlan, VpnPlan};

use super::files::Files;
use super::policy::{self, Complaint};

/// Those who are asked. Their calls block.
pub struct BackEnds {
    directory: Result<Directory, String>,
    radius: Result<Radius, String>,
    /// The group of people whom RADIUS names none for.
    group: Option<GroupName>,
}

impl BackEnds {
    /// Nobody to ask.
    pub fn none() -> Self {
        let why = || "the document names none".to_owned();
        Self { directory: Err(why()), radius: Err(why()), group: None }
    }

    /// As the plan has them.
    pub fn of(plan: &VpnPlan, files: &Files) -> (Self, Vec<Complaint>) {
        let mut complaints = Vec::new();
        let directory = plan.directory.as_ref().map(|of| directory(of, plan, files));
        if let Some(Err(why)) = &directory {
            complaints.push((VpnWarning::DirectoryUnusable, why.clone()));
        }
        let radius = plan.radius.as_ref().map(|of| radius(of, plan, files));
        if let Some(Err(why)) = &radius {
            complaints.push((VpnWarning::RadiusUnusable, why.clone()));
        }
        let none = Self::none();
        let ends = Self {
            directory: directory.unwrap_or(none.directory),
            radius: radius.unwrap_or(none.radius),
            group: plan.radius.as_ref().and_then(policy::radius_default),
        };
        (ends, complaints)
    }

    /// Asks the directory.
    pub fn ask_directory(&self, name: &str, password: &Secret) -> DirectoryAnswer {
        match &self.directory {
            Ok(directory) => directory.ask(name, password),
            Err(why) => DirectoryAnswer::Unavailable(why.clone()),
        }
    }

    /// Asks RADIUS.
    pub fn ask_radius(
        &self,
        name: &str,
        password: &Secret,
        state: Option<&[u8]>,
        client: Option<IpAddr>,
    ) -> RadiusAnswer {
        let radius = match &self.radius {
            Ok(radius) => radius,
            Err(why) => return RadiusAnswer::Unavailable(why.clone()),
        };
        match radius.ask(&Question { name, password, state, client }) {
            RadiusAnswer::Accept(groups) if groups.is_empty() => {
                RadiusAnswer::Accept(self.group.iter().cloned().collect::<BTreeSet<_>>())
            }
            other @ (RadiusAnswer::Accept(_)
            | RadiusAnswer::Reject(_)
            | RadiusAnswer::Challenge { .. }
            | RadiusAnswer::Unavailable(_)) => other,
        }
    }
}

fn directory(of: &DirectoryPlan, plan: &VpnPlan, files: &Files) -> Result<Directory, String> {
    let secret = |error| format!("the secret `{}`: {error}", of.authority);
    let file = files.secret(&of.authority).map_err(|error| secret(error.to_string()))?;
    let contents = authority::read(file.expose(), None).map_err(|error| secret(error.to_string()))?;
    let config = policy::directory(of, &plan.groups, contents.certificates);
    Directory::new(config).map_err(|error| error.to_string())
}

fn radius(of: &RadiusPlan, plan: &VpnPlan, files: &Files) -> Result<Radius, String> {
    let secret = files.secret(&of.secret).map_err(|error| format!("the secret `{}`: {error}", of.secret))?;
    let config = policy::radius(of, &plan.node, &plan.groups, &secret);
    Radius::new(config).map_err(|error| error.to_string())
}
