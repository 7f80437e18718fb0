//! Owns how numbers, sizes, durations and times look, and how text is cut and padded to columns.
//!
//! Pure. French groups digits with a narrow no-break space and sets a no-break space before a unit.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::lang::Lang;
use crate::tr;

/// An integer with its digits in groups of three.
pub fn integer(lang: Lang, n: u64) -> String {
    let separator = match lang {
        Lang::Fr => '\u{202f}',
        Lang::En => ',',
    };
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}

/// `n` divided by the power of 1000 that leaves at most three digits, with one decimal below ten, and that power.
fn scaled(lang: Lang, n: u64) -> (String, u32) {
    let mut power = 0;
    let mut unit = 1_u64;
    while n / unit >= 1000 && power < 4 {
        unit *= 1000;
        power += 1;
    }
    let text = if power > 0 && n / unit < 10 {
        let point = match lang {
            Lang::Fr => ',',
            Lang::En => '.',
        };
        format!("{}{point}{}", n / unit, n % unit * 10 / unit)
    } else {
        (n / unit).to_string()
    };
    (text, power)
}

/// A number of bytes, at most seven columns wide below a petabyte.
pub fn bytes(lang: Lang, n: u64) -> String {
    let (n, power) = scaled(lang, n);
    match power {
        0 => tr!(lang, "size-bytes", n = n),
        1 => tr!(lang, "size-kilo", n = n),
        2 => tr!(lang, "size-mega", n = n),
        3 => tr!(lang, "size-giga", n = n),
        _ => tr!(lang, "size-tera", n = n),
    }
}

/// A number of bits per second.
pub fn bit_rate(lang: Lang, n: u64) -> String {
    let (n, power) = scaled(lang, n);
    match power {
        0 => tr!(lang, "rate-bits", n = n),
        1 => tr!(lang, "rate-kilo", n = n),
        2 => tr!(lang, "rate-mega", n = n),
        3 => tr!(lang, "rate-giga", n = n),
        _ => tr!(lang, "rate-tera", n = n),
    }
}

/// A duration in its largest unit, at most six columns wide.
pub fn short_duration(lang: Lang, seconds: u64) -> String {
    match seconds {
        0..60 => tr!(lang, "duration-seconds", n = seconds.to_string()),
        60..3600 => tr!(lang, "duration-minutes", n = (seconds / 60).to_string()),
        3600..172_800 => tr!(lang, "duration-hours", n = (seconds / 3600).to_string()),
        _ => tr!(lang, "duration-days", n = (seconds / 86_400).to_string()),
    }
}

/// A duration in its two largest units.
pub fn duration(lang: Lang, seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => tr!(lang, "duration-seconds", n = seconds.to_string()),
        60..3600 if seconds.is_multiple_of(60) => tr!(lang, "duration-minutes", n = minutes.to_string()),
        60..3600 => {
            tr!(lang, "duration-minutes-seconds", m = minutes.to_string(), s = (seconds % 60).to_string())
        }
        3600..86_400 if minutes.is_multiple_of(60) => tr!(lang, "duration-hours", n = hours.to_string()),
        3600..86_400 => {
            tr!(lang, "duration-hours-minutes", h = hours.to_string(), m = (minutes % 60).to_string())
        }
        _ => tr!(lang, "duration-days-hours", d = days.to_string(), h = (hours % 24).to_string()),
    }
}

/// A countdown: `4:07`.
pub fn countdown(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// What a person types for a time span, in seconds: `90`, `90s`, `5m`, `1h30m`.
pub fn parse_duration(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let mut total = 0_u32;
    let mut digits = String::new();
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<u32>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    (digits.is_empty() && !text.is_empty()).then_some(total)
}

/// An RFC 3339 time as date and time of day in `tz`; the text itself if it is no time.
pub fn date_time(tz: &TimeZone, text: &str) -> String {
    zoned(tz, text, "%Y-%m-%d %H:%M:%S")
}

/// The same without seconds.
pub fn date_minute(tz: &TimeZone, text: &str) -> String {
    zoned(tz, text, "%Y-%m-%d %H:%M")
}

/// The same, time of day alone.
pub fn time_of_day(tz: &TimeZone, text: &str) -> String {
    zoned(tz, text, "%H:%M:%S")
}

fn zoned(tz: &TimeZone, text: &str, pattern: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(t) => t.to_zoned(tz.clone()).strftime(pattern).to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Cuts a text to `columns`, with `…` where something is missing. Control characters become spaces.
pub fn fit(text: &str, columns: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if width(text) <= columns {
        return text.chars().map(clean).collect();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars().map(clean) {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > columns {
            break;
        }
        used += w;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Cuts or pads on the right to exactly `columns`.
pub fn left(text: &str, columns: usize) -> String {
    let mut out = fit(text, columns);
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&out))));
    out
}

/// Cuts or pads on the left to exactly `columns`.
pub fn right(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let mut out: String = std::iter::repeat_n(' ', columns.saturating_sub(width(&text))).collect();
    out.push_str(&text);
    out
}

/// Breaks a text into lines of at most `columns`, at spaces where there are any, and at its own line ends.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut out = Vec::new();
    for line in text.split('\n') {
        let line: String =
            line.replace('\t', "    ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut current = String::new();
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            if used > 0 && used + width(word.trim_end_matches(' ')) > columns {
                out.push(std::mem::take(&mut current));
                used = 0;
            }
            for c in word.chars() {
                let w = c.width().unwrap_or(0);
                if used + w > columns {
                    if c == ' ' {
                        continue;
                    }
                    out.push(std::mem::take(&mut current));
                    used = 0;
                }
                current.push(c);
                used += w;
            }
        }
        out.push(current);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_language() {
        assert_eq!(integer(Lang::En, 1_234_567), "1,234,567");
        assert_eq!(integer(Lang::Fr, 1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(integer(Lang::Fr, 999), "999");
        assert_eq!(bytes(Lang::En, 999), "999\u{a0}B");
        assert_eq!(bytes(Lang::En, 1_480_000), "1.4\u{a0}MB");
        assert_eq!(bytes(Lang::Fr, 1_480_000), "1,4\u{a0}Mo");
    }

    #[test]
    fn durations_keep_two_units() {
        assert_eq!(duration(Lang::En, 59), "59\u{a0}s");
        assert_eq!(duration(Lang::En, 300), "5\u{a0}min");
        assert_eq!(duration(Lang::En, 3600 * 26), "1\u{a0}d 2\u{a0}h");
        assert_eq!(duration(Lang::Fr, 3600 * 26), "1\u{a0}j 2\u{a0}h");
        assert_eq!(countdown(247), "4:07");
    }

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, seconds) in
            [("90", Some(90)), ("5m", Some(300)), ("1h30m", Some(5400)), (" 10s ", Some(10))]
        {
            assert_eq!(parse_duration(text), seconds, "{text}");
        }
        for text in ["", "m", "5x", "5m3", "99999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn text_is_cut_and_padded_by_columns_not_bytes() {
        assert_eq!(fit("périmètre", 9), "périmètre");
        assert_eq!(fit("périmètre", 5), "péri…");
        assert_eq!(left("né", 4), "né  ");
        assert_eq!(right("né", 4), "  né");
        assert_eq!(left("日本語", 4), "日… ");
        assert_eq!(fit("a\x1bb", 5), "a b");
    }

    #[test]
    fn wrapping_prefers_spaces_and_loses_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("a\n\nb", 9), ["a", "", "b"]);
    }
}
