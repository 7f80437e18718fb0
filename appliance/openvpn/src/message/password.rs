//! What comes in the field for the password (study §2.5, "TOTP, widest first").

use std::fmt;

use zeroize::Zeroizing;

use super::decode;

/// What a token of ours begins with.
pub const TOKEN_PREFIX: &str = "SESS_ID_AT_";

/// What a client has put into the field for the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Submitted {
    /// Nothing: the certificate is all it has.
    Nothing,
    /// A password; people may have appended a code.
    Password(Zeroizing<String>),
    /// A password and the code that the profile asks for: `SCRV1:password:code`, both in base64.
    WithCode {
        /// The password.
        password: Zeroizing<String>,
        /// The code.
        code: Zeroizing<String>,
    },
    /// The answer to a question of the login before: `CRV1::state::answer`.
    Answer {
        /// What the question is found by.
        state: String,
        /// The answer.
        answer: Zeroizing<String>,
    },
    /// A token of an earlier login; not verified yet.
    Token(Zeroizing<String>),
}

impl Submitted {
    /// Tells the forms apart. What has the beginning of a form but not its rest is a password that happens to begin so.
    pub fn parse(field: &str) -> Self {
        if field.is_empty() {
            return Self::Nothing;
        }
        if field.starts_with(TOKEN_PREFIX) {
            return Self::Token(Zeroizing::new(field.to_owned()));
        }
        let form = with_code(field).or_else(|| answer(field));
        form.unwrap_or_else(|| Self::Password(Zeroizing::new(field.to_owned())))
    }
}

fn with_code(field: &str) -> Option<Submitted> {
    let (password, code) = field.strip_prefix("SCRV1:")?.split_once(':')?;
    Some(Submitted::WithCode { password: decode(password)?, code: decode(code)? })
}

fn answer(field: &str) -> Option<Submitted> {
    let (state, answer) = field.strip_prefix("CRV1::")?.split_once("::")?;
    Some(Submitted::Answer { state: state.to_owned(), answer: Zeroizing::new(answer.to_owned()) })
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Password(_) => "Password(..)",
            Self::WithCode { .. } => "WithCode(..)",
            Self::Answer { .. } => "Answer(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}
