//! From the client's key exchange to its keys: who it says that it is, what the driver says to that, what it gets.

use rustls::pki_types::CertificateDer;
use sha2::Digest;

use super::*;
use crate::key_exchange::{self, ClientMessage, Derivation, Features, Material, PeerInfo};
use crate::message::{Grant, PushError, PushOptions, Refusal, Request, Submitted};
use crate::token::{Claims, Verified};
use key_state::Asked;

/// A client that has its PUSH_REPLY and asks again did not get it, or is slow; 2.x asks every 5 s.
const PUSH_AGAIN: Duration = Duration::from_secs(4);

/// What the client shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// What a person typed, or nothing.
    Submitted(Submitted),
    /// A token of ours, of this user; at a renewal of this same login. How old it may be, and whether the user may still come
    /// in, is for the driver.
    Token(Verified),
}

/// The driver is asked who may come in.
#[derive(Debug)]
pub struct Login {
    /// For which key; to be given back.
    pub key_id: KeyId,
    /// The client is known: it has this session, and renews its key.
    pub renewal: bool,
    /// The user name as it came; at a renewal the known one.
    pub user: String,
    /// What it shows.
    pub credential: Credential,
    /// Its certificate and those between it and the authority. TLS has verified them.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What it tells of itself.
    pub peer_info: PeerInfo,
    /// What follows from that.
    pub features: Features,
}

/// What an accepted client gets.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// Sent once; at a renewal they are not looked at.
    pub options: PushOptions,
    /// What the driver wants to find again after a take-over; it replaces what was attached before, at a renewal too.
    pub attached: Vec<u8>,
    /// The login's beginning, where a token of an earlier session is carried on; else now.
    pub carried_on: Option<Claims>,
}

/// Why an acceptance cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AcceptError {
    /// Nobody was asked, or the answer came too late.
    #[error("no login is waiting for an answer")]
    NotAsked,
    /// The options cannot be sent.
    #[error(transparent)]
    Push(#[from] PushError),
    /// More than a snapshot takes.
    #[error("{0} bytes are attached: {MAX_ATTACHED} at most")]
    Attached(usize),
}

/// Why nobody can be asked a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PendingError {
    /// Nobody was asked, or the answer came too late.
    #[error("no login is waiting for an answer")]
    NotAsked,
    /// The client cannot show a question while it connects. [`Refusal::Challenge`] is what it knows.
    #[error("the client cannot show a question while it connects")]
    NoQuestions,
}

/// What to say when the client's login cannot even be asked about.
enum Unfit {
    Incompatible(String),
    Refused(Refusal),
    Failed(String),
}

impl Session {
    /// Reads what TLS has brought for a key.
    pub(super) fn read_messages(&mut self, now: Now, key_id: KeyId) {
        let Some(state) = self.state_mut(key_id) else { return };
        if matches!(state.stage, Stage::Negotiating) {
            match state.take_client_message() {
                Ok(None) => return,
                Ok(Some(message)) => self.login(now, key_id, message),
                Err(invalid) => return self.tls_failed(now, key_id, invalid.to_string()),
            }
        }
        while let Some(message) = self.state_mut(key_id).and_then(KeyState::take_message) {
            self.handle_request(now, key_id, Request::parse(&message));
        }
    }

    fn handle_request(&mut self, now: Now, key_id: KeyId, request: Request) {
        match request {
            Request::Push => {
                if let Some(state) = self.state_mut(key_id) {
                    state.push_wanted = true;
                }
                self.push(now, key_id);
            }
            Request::Response(text) => {
                let Some(state) = self.state_mut(key_id) else { return };
                if let Stage::Deciding(asked) = &mut state.stage
                    && std::mem::take(&mut asked.question)
                {
                    self.outputs.push_back(Output::Answer { key_id, text });
                }
            }
            Request::Exit => {
                if !matches!(self.phase, Phase::Closing | Phase::Closed) {
                    self.close(Closed::Left);
                }
            }
            Request::Other => {}
        }
    }

    fn login(&mut self, now: Now, key_id: KeyId, client: ClientMessage) {
        match self.ask(key_id, &client) {
            Ok((asked, login)) => {
                let first = self.identity.is_none();
                let Some(state) = self.state_mut(key_id) else { return };
                state.stage = Stage::Deciding(Box::new(asked));
                // A first login may take long, and the client waits for this before it asks for anything. At a renewal the
                // other node must know the key before the client does.
                if first {
                    self.reply(key_id);
                }
                self.outputs.push_back(Output::Authenticate(Box::new(login)));
            }
            Err(unfit) => {
                let (refusal, why) = match unfit {
                    Unfit::Incompatible(text) => (Refusal::Failed(text.clone()), Closed::Incompatible(text)),
                    Unfit::Refused(refusal) => (refusal, Closed::Refused),
                    Unfit::Failed(error) => return self.tls_failed(now, key_id, error),
                };
                let tcp = self.place.tcp;
                let message = key_exchange::server_message(&self.random.randoms(), tcp);
                let Some(state) = self.state_mut(key_id) else { return };
                state.say(message);
                self.refuse(now, key_id, refusal, why);
            }
        }
    }

    /// Everything that can be said without the driver.
    fn ask(&mut self, key_id: KeyId, client: &ClientMessage) -> Result<(Asked, Login), Unfit> {
        let mut features = client.peer_info.features().map_err(|why| Unfit::Incompatible(why.to_string()))?;
        if !self.settings.exporter {
            features.derivation = Derivation::Prf;
        }
        let server = self.random.randoms();
        let (sessions, epoch) = ([self.client_session, self.server_session], self.place.epoch);
        let state = self.state(key_id).ok_or_else(|| Unfit::Failed("the key is gone".to_owned()))?;
        let certificates: Vec<_> =
            state.tls.peer_certificates().unwrap_or(&[]).iter().map(|der| der.clone().into_owned()).collect();
        let material =
            Material { client, server: &server, client_session: sessions[0], server_session: sessions[1] };
        let keys = key_exchange::derive(features.derivation, &state.tls, &material, key_id, epoch)
            .map_err(|error| Unfit::Failed(error.to_string()))?;
        let certificate = certificates.first().map(|der| sha2::Sha256::digest(der).into());
        let (user, credential) = self.credential(client, certificate).map_err(Unfit::Refused)?;
        let token = match &credential {
            Credential::Token(verified) => Some(verified.claims()),
            Credential::Submitted(_) => None,
        };
        let renewal = self.identity.is_some();
        let peer_info = client.peer_info.clone();
        let login =
            Login { key_id, renewal, user: user.clone(), credential, certificates, peer_info, features };
        let asked =
            Asked { server, keys, features, user, certificate, token, replied: false, question: false };
        Ok((asked, login))
    }

    /// Whose login it is and what is shown. A renewal is by the same client, or not at all.
    fn credential(
        &self,
        client: &ClientMessage,
        certificate: Option<[u8; 32]>,
    ) -> Result<(String, Credential), Refusal> {
        let again = |text: &str| Refusal::Session(text.to_owned());
        let submitted = Submitted::parse(&client.password);
        let user = match &self.identity {
            None => client.user.clone(),
            Some(identity) if identity.certificate != certificate => {
                return Err(again("the certificate is another one than before"));
            }
            Some(identity) if client.user == identity.user => client.user.clone(),
            // OpenVPN 3 may leave the name out beside a token (study §2.5).
            Some(identity) if client.user.is_empty() && matches!(submitted, Submitted::Token(_)) => {
                identity.user.clone()
            }
            Some(_) => return Err(again("the user is another one than before")),
        };
        let Submitted::Token(token) = submitted else { return Ok((user, Credential::Submitted(submitted))) };
        let verified = self
            .settings
            .token_key
            .verify(&token, &user)
            .ok_or_else(|| again("the login is not known any more"))?;
        let same = self.identity.as_ref().is_none_or(|identity| identity.login == verified.claims().login);
        if !same {
            return Err(again("the token is of another login"));
        }
        Ok((user, Credential::Token(verified)))
    }

    /// The server's half of the key exchange, once.
    fn reply(&mut self, key_id: KeyId) {
        let tcp = self.place.tcp;
        let Some(state) = self.state_mut(key_id) else { return };
        let (Stage::Deciding(asked) | Stage::Replicating(asked, _)) = &mut state.stage else { return };
        if !std::mem::replace(&mut asked.replied, true) {
            let message = key_exchange::server_message(&asked.server, tcp);
            state.say(message);
        }
    }

    /// The login is good. [`Output::Commit`] follows.
    pub fn accept(&mut self, now: Now, key_id: KeyId, accept: Accept) -> Result<(), AcceptError> {
        if accept.attached.len() > MAX_ATTACHED {
            return Err(AcceptError::Attached(accept.attached.len()));
        }
        if self.phase == Phase::Closing {
            return Err(AcceptError::NotAsked);
        }
        let first = self.identity.is_none();
        if first {
            accept.options.check()?;
        }
        let dynamic_wanted = first && self.settings.dynamic_wrapping;
        let ticket = self.tickets + 1;
        let base = self.base.wrapping().clone();
        let state = self.states.iter_mut().find(|state| state.id == key_id).ok_or(AcceptError::NotAsked)?;
        let asked = match std::mem::replace(&mut state.stage, Stage::Refused) {
            Stage::Deciding(asked) => asked,
            other @ (Stage::Negotiating | Stage::Replicating(..) | Stage::Active | Stage::Refused) => {
                state.stage = other;
                return Err(AcceptError::NotAsked);
            }
        };
        if dynamic_wanted && asked.features.dynamic_wrapping {
            // Without exported material it stays with the first key, and the client is told so by what is pushed.
            self.dynamic = key_exchange::export_wrapping(&state.tls).ok().map(|exported| {
                let wrapping = Wrapping { mode: base.mode, key: base.key.mixed_with(&exported) };
                Wrap::new(wrapping, Sending::new(now.unix_s), Received::default())
            });
        }
        self.tickets = ticket;
        self.held.push(Held {
            keys: asked.keys.clone(),
            since: now.instant,
            since_unix_s: now.unix_s,
            retire_at: None,
        });
        self.remember(now, &asked, accept.attached, accept.carried_on);
        if first {
            self.push = self.push_messages(now, &asked, &accept.options)?;
        }
        if let Some(state) = self.state_mut(key_id) {
            state.stage = Stage::Replicating(asked, ticket);
        }
        self.outputs.push_back(Output::Commit { ticket });
        Ok(())
    }

    fn remember(&mut self, now: Now, asked: &Asked, attached: Vec<u8>, carried_on: Option<Claims>) {
        match &mut self.identity {
            Some(identity) => {
                identity.attached = attached;
                identity.protocol_bits = asked.features.bits;
            }
            None => {
                let (login, issued_unix_s) = match carried_on.or(asked.token) {
                    Some(claims) => (claims.login, claims.issued_unix_s),
                    None => (self.random.login(), now.unix_s),
                };
                self.identity = Some(Identity {
                    certificate: asked.certificate,
                    user: asked.user.clone(),
                    login,
                    issued_unix_s,
                    protocol_bits: asked.features.bits,
                    attached,
                });
            }
        }
    }

    fn push_messages(
        &self,
        now: Now,
        asked: &Asked,
        options: &PushOptions,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, PushError> {
        let token = self.make_token(now);
        options.messages(&Grant {
            peer_id: self.place.peer_id,
            features: asked.features,
            dynamic_wrapping: self.dynamic.is_some(),
            tcp: self.place.tcp,
            token: token.as_ref().map(|token| token.as_str()),
        })
    }

    /// A token for the next renewal.
    fn make_token(&self, now: Now) -> Option<Zeroizing<String>> {
        let identity = self.identity.as_ref()?;
        let claims = Claims {
            login: identity.login,
            issued_unix_s: identity.issued_unix_s,
            renewed_unix_s: now.unix_s,
        };
        Some(self.settings.token_key.make(claims, &identity.user))
    }

    /// The other node has the snapshot, or there is no other node.
    pub fn committed(&mut self, now: Now, ticket: u64) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        let found = self
            .states
            .iter()
            .position(|state| matches!(state.stage, Stage::Replicating(_, t) if t == ticket));
        let Some(key_id) = found.and_then(|place| self.states.get(place)).map(|state| state.id) else {
            return;
        };
        self.reply(key_id);
        let renewal = self.phase == Phase::Up;
        let token = self.make_token(now).filter(|_| renewal);
        let Some(state) = self.state_mut(key_id) else { return };
        let Stage::Replicating(asked, _) = std::mem::replace(&mut state.stage, Stage::Active) else { return };
        let mut push_now = asked.features.unasked_push;
        if let Some(token) = token {
            // study §2.5: the token is renewed after each rekey.
            state.say(Zeroizing::new([b"PUSH_REPLY,auth-token ", token.as_bytes(), &[0]].concat()));
            push_now = false;
        }
        self.outputs.extend([Output::Install(asked.keys.clone()), Output::Changed]);
        self.phase = Phase::Up;
        self.key_is_new(now);
        if let Some(state) = self.state_mut(key_id).filter(|_| push_now) {
            state.push_wanted = true;
        }
        self.push(now, key_id);
        if let Some(state) = self.state_mut(key_id) {
            state.flush();
        }
    }

    /// Sends PUSH_REPLY, if it is wanted and due.
    fn push(&mut self, now: Now, key_id: KeyId) {
        let due = self.pushed_at.is_none_or(|at| at + PUSH_AGAIN <= now.instant);
        let messages = if due { self.push.clone() } else { Vec::new() };
        let up = self.phase == Phase::Up;
        let Some(state) = self.state_mut(key_id) else { return };
        if !up || !state.push_wanted || !matches!(state.stage, Stage::Active) {
            return;
        }
        state.push_wanted = false;
        if messages.is_empty() {
            return;
        }
        messages.into_iter().for_each(|message| state.say(message));
        self.pushed_at = Some(now.instant);
    }

    /// The login is not good. The session ends, at a renewal too.
    pub fn reject(&mut self, now: Now, key_id: KeyId, refusal: Refusal) {
        let Some(state) = self.state_mut(key_id) else { return };
        let Stage::Deciding(asked) = &state.stage else { return };
        let refusal = match refusal {
            Refusal::Temporary { text, .. } if !asked.features.temporary_failure => Refusal::Failed(text),
            other @ (Refusal::Failed(_)
            | Refusal::Session(_)
            | Refusal::Temporary { .. }
            | Refusal::Challenge { .. }) => other,
        };
        self.reply(key_id);
        self.refuse(now, key_id, refusal, Closed::Refused);
    }

    fn refuse(&mut self, now: Now, key_id: KeyId, refusal: Refusal, why: Closed) {
        let Some(state) = self.state_mut(key_id) else { return };
        state.stage = Stage::Refused;
        state.say(Notice::Refused(refusal).encode());
        state.flush();
        self.close_after_linger(now, why);
    }

    /// The answer takes a while: someone is asked, elsewhere or, with a question, at the client.
    pub fn pending(
        &mut self,
        now: Now,
        key_id: KeyId,
        timeout_s: u16,
        question: Option<(&str, bool)>,
    ) -> Result<(), PendingError> {
        let state = self.state_mut(key_id).ok_or(PendingError::NotAsked)?;
        let Stage::Deciding(asked) = &mut state.stage else { return Err(PendingError::NotAsked) };
        if question.is_some() && !asked.features.text_challenge {
            return Err(PendingError::NoQuestions);
        }
        asked.question = question.is_some();
        let keywords = asked.features.pending_keywords;
        self.reply(key_id);
        let state = self.state_mut(key_id).ok_or(PendingError::NotAsked)?;
        state.extend(now.instant + Duration::from_secs(timeout_s.into()));
        state.say(Notice::Pending { timeout_s: keywords.then_some(timeout_s) }.encode());
        if let Some((text, echo)) = question {
            state.say(Notice::Question { text: text.to_owned(), echo }.encode());
        }
        state.flush();
        Ok(())
    }
}
