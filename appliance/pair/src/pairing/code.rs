//! The code that a person reads on one console and types on the other.

use std::fmt;

use zeroize::Zeroizing;

/// Crockford's base 32: no `I`, `L`, `O` (they look like digits) and no `U`.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code: forty bits.
const LETTERS: usize = 8;

/// A pairing code: eight letters, shown as `7K2M-9QXA`. Zeroised when dropped.
#[derive(Clone)]
pub struct Code(Zeroizing<[u8; LETTERS]>);

/// What was typed is not a code. Nothing was sent, so it costs no try.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidCode {
    /// Too short or too long.
    #[error("a pairing code has 8 letters and digits, as 7K2M-9QXA; this has {0}")]
    Length(usize),
    /// A letter that no code has.
    #[error("`{0}` is in no pairing code: look at the other console again")]
    Letter(char),
}

impl Code {
    /// The code of five random bytes.
    pub fn new(random: [u8; 5]) -> Self {
        let bits = random.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let letter = |position: usize| ALPHABET[(bits >> (35 - 5 * position)) as usize & 31];
        Self(Zeroizing::new(std::array::from_fn(letter)))
    }

    /// Reads what a person typed: upper or lower case, with or without hyphens and spaces, and with the letters that
    /// look like digits.
    pub fn parse(typed: &str) -> Result<Self, InvalidCode> {
        let mut letters = Zeroizing::new([0; LETTERS]);
        let mut count = 0_usize;
        for c in typed.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let upper = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let letter = u8::try_from(upper).ok().filter(|l| ALPHABET.contains(l));
            let letter = letter.ok_or(InvalidCode::Letter(c))?;
            if let Some(place) = letters.get_mut(count) {
                *place = letter;
            }
            count = count.saturating_add(1);
        }
        if count != LETTERS { Err(InvalidCode::Length(count)) } else { Ok(Self(letters)) }
    }

    /// The letters without the hyphen: the password of the exchange.
    pub(super) fn password(&self) -> &[u8] {
        &*self.0
    }

    /// As it is shown to a person. Nothing else may carry it.
    pub fn show(&self) -> Zeroizing<String> {
        let text = |part: &[u8]| part.iter().map(|b| char::from(*b)).collect::<String>();
        Zeroizing::new(format!("{}-{}", text(&self.0[..4]), text(&self.0[4..])))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}
