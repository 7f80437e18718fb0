//! The authority: made here, or taken over.

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{AuthorityView, Imported};
use rempart_identity::authority::{self, Authority, NotIssued};
use rempart_identity::names::MAX_NAME;
use rempart_identity::secret::Secret;
use rempart_identity::store::{Command, Fingerprint};
use ring::rand::SystemRandom;

use super::admin::{bad, not_issued, refusal};
use super::office::{Office, today};
use super::views;

impl Office {
    /// All that vouch for clients, the one that issues first.
    pub fn authorities(&self) -> Vec<AuthorityView> {
        let state = self.state();
        state.desk.store.authorities().iter().map(|authority| views::authority(authority, today())).collect()
    }

    /// A new authority, of the organisation's name where none is given.
    pub fn make_authority(&self, name: &str, by: &str) -> Result<AuthorityView, Error> {
        let name = if name.trim().is_empty() { self.own_name() } else { name.trim().to_owned() };
        let made = self.change(by, |edit| {
            let authority = Authority::create(&name, edit.now, &SystemRandom::new()).map_err(not_issued)?;
            let view = views::authority(&authority, edit.now);
            edit.apply(Command::AddAuthority(Box::new(authority))).map_err(refusal)?;
            Ok(view)
        })?;
        self.follow_up();
        Ok(made)
    }

    /// A new certificate for the authority that issues, with the same key and name, and one for the server. Profiles hold the
    /// authority's certificate: those that were exported before go on working until that one ends, and what it certified
    /// counts as before.
    pub fn renew_authority(&self, by: &str) -> Result<AuthorityView, Error> {
        let renewed = self.change(by, |edit| {
            let old = edit.store.issuing().ok_or_else(|| not_issued(NotIssued::NoKey))?;
            let earlier_until = views::authority(old, edit.now).until;
            let authority = old.renewed(edit.now, &SystemRandom::new()).map_err(not_issued)?;
            let view = AuthorityView {
                earlier_until: Some(earlier_until),
                ..views::authority(&authority, edit.now)
            };
            edit.apply(Command::PutAuthority(Box::new(authority))).map_err(refusal)?;
            Ok(view)
        })?;
        self.follow_up();
        Ok(renewed)
    }

    fn own_name(&self) -> String {
        let plan = self.state().plan.clone();
        let organisation = plan.map(|plan| plan.certificates.organisation.clone()).unwrap_or_default();
        let whole =
            if organisation.is_empty() { "Rempart VPN".to_owned() } else { format!("{organisation} VPN") };
        whole.chars().take(MAX_NAME).collect()
    }

    /// Takes an authority over: with its key it issues, without it vouches for its clients.
    pub fn import_authority(&self, file: &[u8], password: &str, by: &str) -> Result<Imported, Error> {
        let not = |error: &dyn std::fmt::Display| RefusalCode::NotImported.error(error);
        let password = Some(password).filter(|text| !text.is_empty()).map(Secret::from);
        let contents = authority::read(file, password.as_ref()).map_err(|error| not(&error))?;
        let imported = self.change(by, |edit| {
            let (authority, findings) =
                Authority::import(&contents, edit.now).map_err(|error| not(&error))?;
            let view = views::authority(&authority, edit.now);
            edit.apply(Command::AddAuthority(Box::new(authority))).map_err(refusal)?;
            let advice = findings.advice.iter().map(ToString::to_string).collect();
            Ok(Imported { what: view.name, advice })
        })?;
        self.follow_up();
        Ok(imported)
    }

    /// A list of revoked certificates of an authority whose key is elsewhere.
    pub fn import_list(&self, fingerprint: &str, file: &[u8], by: &str) -> Result<(), Error> {
        let fingerprint = print(fingerprint)?;
        self.change(by, |edit| {
            let found = |authority: &&Authority| Fingerprint::of(authority.certificate()) == fingerprint;
            let known = edit.store.authorities().iter().find(found).cloned();
            let mut authority =
                known.ok_or_else(|| Error::NotFound("there is no such authority".to_owned()))?;
            authority.import_list(file).map_err(|error| RefusalCode::NotImported.error(error))?;
            edit.apply(Command::PutAuthority(Box::new(authority))).map_err(refusal)
        })
    }

    /// An authority goes; clients that it certified stay out.
    pub fn remove_authority(&self, fingerprint: &str, by: &str) -> Result<(), Error> {
        let fingerprint = print(fingerprint)?;
        self.change(by, |edit| edit.apply(Command::RemoveAuthority(fingerprint)).map_err(refusal))?;
        self.follow_up();
        Ok(())
    }

    /// The server's certificate is of the authority that issues.
    fn follow_up(&self) {
        self.provide(&self.take_turn());
        self.publish();
    }
}

fn print(text: &str) -> Result<Fingerprint, Error> {
    let plain: String = text.chars().filter(|letter| *letter != ':').collect::<String>().to_lowercase();
    Fingerprint::try_from(plain).map_err(bad)
}
