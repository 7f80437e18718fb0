//! Codes of authenticator applications: TOTP (RFC 6238) over HMAC-SHA-1, six digits, steps of 30 seconds, which is all that the
//! common applications know. SHA-1 within HMAC is not what its collisions break.
//!
//! A code is good for one use: the step of the last one is kept, and replicated before the login ends.

use qrcode::{Color, EcLevel, QrCode};
use ring::hmac;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::moment::Moment;
use crate::secret::Secret;

/// Bytes of a secret: the length of the digest (RFC 4226 §4, R6).
const SECRET: usize = 20;
/// Seconds of a step (RFC 6238 §5.2).
const STEP: i64 = 30;
/// Steps before and after the present one that are taken, for clocks that differ (RFC 6238 §5.2 advises one).
const WINDOW: u64 = 1;
/// Characters of a label in an enrolment.
const MAX_LABEL: usize = 64;

/// The number of a step since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Step(u64);

impl Step {
    /// From its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The step of a moment.
    pub fn at(now: Moment) -> Self {
        Self(u64::try_from(now.seconds() / STEP).unwrap_or(0))
    }
}

/// Random bytes are not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the machine gives no random bytes")]
pub struct NoRandomness;

/// Why no QR code was drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("this does not fit into a QR code for a console")]
pub struct TooLong;

/// What is shared with the application of one person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(Secret);

impl Seed {
    /// A new one, 160 random bits.
    pub fn new(randomness: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        let mut bytes = vec![0; SECRET];
        randomness.fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(Secret::new(bytes)))
    }

    /// The code of a step (RFC 4226 §5.3).
    fn code(&self, Step(step): Step) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let digest = tag.as_ref();
        let offset = usize::from(digest.last().copied().unwrap_or(0) & 0xf);
        let word = digest.iter().skip(offset).take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        (word & 0x7fff_ffff) % 1_000_000
    }

    /// What the application shows.
    #[cfg(test)]
    pub(crate) fn shows(&self, now: Moment) -> String {
        format!("{:06}", self.code(Step::at(now)))
    }

    /// The step to which this code belongs, if it is one within the window that comes after the last one used. All steps
    /// are tried, so that the time tells nothing.
    pub fn verify(&self, code: &Code, now: Moment, last: Option<Step>) -> Option<Step> {
        let Step(present) = Step::at(now);
        let mut found = None;
        for step in present.saturating_sub(WINDOW)..=present + WINDOW {
            let equal: bool = self.code(Step(step)).ct_eq(&code.0).into();
            if equal && last.is_none_or(|last| Step(step) > last) && found.is_none() {
                found = Some(Step(step));
            }
        }
        found
    }

    /// The address that an application reads from a QR code, or a person types in. Secret.
    pub fn uri(&self, issuer: &str, account: &str) -> Secret {
        let secret = self.base32();
        let text = zeroize::Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}",
            secret.expose_str().unwrap_or(""),
            issuer = percent(issuer),
            account = percent(account),
        ));
        Secret::from(text.as_str())
    }

    /// The secret in the letters of base32 (RFC 4648 §6), to be typed.
    pub fn base32(&self) -> Secret {
        let mut text = Vec::with_capacity(32);
        for chunk in self.0.expose().chunks(5) {
            let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            let bits = bits << (8 * (5 - chunk.len()));
            let letters = (chunk.len() * 8).div_ceil(5);
            text.extend((0..letters).map(|place| {
                let value = (bits >> (35 - 5 * place) & 31) as u8;
                if value < 26 { b'A' + value } else { b'2' + value - 26 }
            }));
        }
        Secret::new(text)
    }
}

/// Six digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(u32);

impl Code {
    /// From what a person typed; blanks are taken out.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|letter| !letter.is_whitespace()).take(7).collect();
        let plain = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse().ok().map(Self) } else { None }
    }

    /// A password field that ends in six digits: what stands before them, and them.
    pub fn split(field: &Secret) -> Option<(Secret, Self)> {
        let text = field.expose();
        let (password, digits) = text.split_at_checked(text.len().checked_sub(6)?)?;
        let code = Self::parse(std::str::from_utf8(digits).ok()?)?;
        if digits.iter().all(u8::is_ascii_digit) {
            Some((Secret::new(password.to_vec()), code))
        } else {
            None
        }
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(…)")
    }
}

/// RFC 3986 §2.1, for everything but letters, digits and a few marks.
fn percent(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for letter in text.chars().take(MAX_LABEL) {
        if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_') {
            out.push(letter);
        } else {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A QR code as lines of text for the console: each point two characters wide, full blocks and blanks only, because
/// `Lat15-Terminus16` has no half blocks. A dark point is a blank, so that it stands dark on light on a dark screen.
///
/// An enrolment takes version 5 or 6: 82 or 90 columns by 41 or 45 lines with its margin, more than a console of 80×25 shows.
/// Whoever draws it there switches to a smaller font or shows the letters of [`Seed::base32`] instead.
pub fn qr(content: &Secret) -> Result<Vec<String>, TooLong> {
    let code = QrCode::with_error_correction_level(content.expose(), EcLevel::L).map_err(|_| TooLong)?;
    let width = code.width();
    let colors = code.to_colors();
    // ISO/IEC 18004 asks for a margin of 4; readers of screens do with 2.
    let margin = 2;
    let dark = |line: usize, column: usize| {
        let (line, column) = (line.checked_sub(margin), column.checked_sub(margin));
        match (line, column) {
            (Some(line), Some(column)) if line < width && column < width => {
                colors.get(line * width + column) == Some(&Color::Dark)
            }
            _ => false,
        }
    };
    let size = width + 2 * margin;
    Ok((0..size)
        .map(|line| (0..size).map(|column| if dark(line, column) { "  " } else { "██" }).collect())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B.
    fn seed() -> Seed {
        Seed(Secret::from("12345678901234567890"))
    }

    fn code(value: u32) -> Code {
        Code::parse(&format!("{value:06}")).unwrap()
    }

    #[test]
    fn the_vectors_of_the_standards() {
        // RFC 6238 appendix B, the last six of its eight digits; RFC 4226 appendix D for the first counters.
        for (seconds, digits) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(seed().code(Step::at(Moment::new(seconds))), digits, "{seconds}");
        }
        let counters =
            [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
        for (counter, digits) in counters.into_iter().enumerate() {
            assert_eq!(seed().code(Step(counter as u64)), digits);
        }
    }

    #[test]
    fn one_step_either_side_and_once() {
        let now = Moment::new(1_000_000_015);
        let Step(present) = Step::at(now);
        for (step, good) in [(-2_i64, false), (-1, true), (0, true), (1, true), (2, false)] {
            let step = Step(present.saturating_add_signed(step));
            let found = seed().verify(&code(seed().code(step)), now, None);
            assert_eq!(found, good.then_some(step));
        }
        let used = seed().verify(&code(seed().code(Step(present))), now, None);
        assert_eq!(used, Some(Step(present)));
        assert_eq!(seed().verify(&code(seed().code(Step(present))), now, used), None, "used already");
        assert_eq!(
            seed().verify(&code(seed().code(Step(present - 1))), now, used),
            None,
            "older than the last"
        );
        assert!(seed().verify(&code(seed().code(Step(present + 1))), now, used).is_some());
    }

    #[test]
    fn what_people_type() {
        assert_eq!(Code::parse("123 456"), Some(Code(123_456)));
        for wrong in ["", "12345", "1234567", "12345a", "１２３４５６", "-12345", "+12345"] {
            assert_eq!(Code::parse(wrong), None, "{wrong}");
        }
        let split = |text: &str| Code::split(&Secret::from(text));
        assert_eq!(split("pass word123456"), Some((Secret::from("pass word"), Code(123_456))));
        assert_eq!(split("123456"), Some((Secret::from(""), Code(123_456))));
        assert_eq!(split("password12345"), None);
        assert_eq!(split("é12345"), None);
        assert_eq!(split("pass1 2345"), None);
    }

    #[test]
    fn an_enrolment_and_its_picture() {
        let uri = seed().uri("SDIS 83", "alice@example");
        let expected = "otpauth://totp/SDIS%2083:alice%40example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=SDIS%2083";
        assert_eq!(uri.expose_str(), Some(expected));
        let lines = qr(&uri).unwrap();
        let width = lines.len();
        assert!(lines.iter().all(|line| line.chars().count() == 2 * width));
        assert!(lines.iter().all(|line| line.chars().all(|letter| matches!(letter, ' ' | '█'))));
        // The three corners that a reader looks for: 7 dark points, light inside them.
        let row = |line: usize| lines[line].chars().step_by(2).collect::<String>();
        assert!(row(2).starts_with("██       ") && row(2).ends_with("       ██"), "{}", row(2));
        assert!(row(3).starts_with("██ █████ ") && row(width - 3).starts_with("██       "));
        assert!(qr(&Secret::new(vec![b'a'; 4000])).is_err());
        assert_eq!(format!("{:?}", seed()), "Seed(Secret(…))");
    }
}
