//! Owns the two languages: the embedded message files and the lookup behind [`tr!`](crate::tr).
//!
//! A sentence is one message with arguments, never glued from fragments. What machines read (`--json`, logs,
//! what the daemon answers) is English and does not pass through here.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::types::FluentNumber;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

use crate::format;

/// A language of the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Lang {
    /// French.
    Fr,
    /// English.
    #[default]
    En,
}

type Bundle = FluentBundle<FluentResource>;

static FR: LazyLock<Bundle> = LazyLock::new(|| bundle(Lang::Fr));
static EN: LazyLock<Bundle> = LazyLock::new(|| bundle(Lang::En));

/// The message files of a language, in no particular order.
pub fn sources(lang: Lang) -> [&'static str; 9] {
    match lang {
        Lang::Fr => [
            include_str!("../locales/fr/audit.ftl"),
            include_str!("../locales/fr/common.ftl"),
            include_str!("../locales/fr/cli.ftl"),
            include_str!("../locales/fr/help.ftl"),
            include_str!("../locales/fr/install.ftl"),
            include_str!("../locales/fr/screens.ftl"),
            include_str!("../locales/fr/setup.ftl"),
            include_str!("../locales/fr/update.ftl"),
            include_str!("../locales/fr/vpn.ftl"),
        ],
        Lang::En => [
            include_str!("../locales/en/audit.ftl"),
            include_str!("../locales/en/common.ftl"),
            include_str!("../locales/en/cli.ftl"),
            include_str!("../locales/en/help.ftl"),
            include_str!("../locales/en/install.ftl"),
            include_str!("../locales/en/screens.ftl"),
            include_str!("../locales/en/setup.ftl"),
            include_str!("../locales/en/update.ftl"),
            include_str!("../locales/en/vpn.ftl"),
        ],
    }
}

fn bundle(lang: Lang) -> Bundle {
    let id: LanguageIdentifier = match lang {
        Lang::Fr => "fr",
        Lang::En => "en",
    }
    .parse()
    .expect("a language tag");
    let mut bundle = Bundle::new_concurrent(vec![id]);
    // The default wraps every argument in U+2068 and U+2069, which the console font shows as blots.
    bundle.set_use_isolating(false);
    bundle.set_formatter(Some(match lang {
        Lang::Fr => |value, _| number(Lang::Fr, value),
        Lang::En => |value, _| number(Lang::En, value),
    }));
    for source in sources(lang) {
        // A file that does not parse is our fault alone, and the tests read both.
        let resource = FluentResource::try_new(source.to_owned()).expect("an embedded message file parses");
        bundle.add_resource(resource).expect("no message is defined twice");
    }
    bundle
}

fn number(lang: Lang, value: &FluentValue) -> Option<String> {
    match value {
        FluentValue::Number(FluentNumber { value, .. }) => Some(format::integer(lang, *value as u64)),
        FluentValue::String(_) | FluentValue::Custom(_) | FluentValue::None | FluentValue::Error => None,
    }
}

impl Lang {
    /// From `--lang`, else from the environment as `setlocale(3)` reads it for messages, else English.
    pub fn choose(option: Option<Lang>, env: impl Fn(&str) -> Option<String>) -> Lang {
        let named = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(env).find(|v| !v.is_empty());
        option.unwrap_or(match named {
            Some(name) if name.starts_with("fr") => Lang::Fr,
            Some(_) | None => Lang::En,
        })
    }

    /// The other one.
    pub fn other(self) -> Lang {
        match self {
            Lang::Fr => Lang::En,
            Lang::En => Lang::Fr,
        }
    }

    /// The message `id` with its arguments; the id itself if there is none, which the tests rule out.
    pub fn text(self, id: &str, args: &[(&'static str, FluentValue<'_>)]) -> String {
        let bundle = match self {
            Lang::Fr => &*FR,
            Lang::En => &*EN,
        };
        let Some(pattern) = bundle.get_message(id).and_then(|m| m.value()) else { return id.to_owned() };
        let args: FluentArgs = args.iter().map(|(k, v)| (*k, v.clone())).collect();
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, Some(&args), &mut errors).into_owned();
        debug_assert!(errors.is_empty(), "message {id}: {errors:?}");
        text
    }
}

/// A message in a language: `tr!(lang, "kill-done", count = 3)`.
#[macro_export]
macro_rules! tr {
    ($lang:expr, $id:expr) => { $lang.text($id, &[]) };
    ($lang:expr, $id:expr, $($name:ident = $value:expr),+ $(,)?) => {
        $lang.text($id, &[$((stringify!($name), fluent_bundle::FluentValue::from($value))),+])
    };
}

/// Marks a message id that is chosen in one place and looked up in another, so that the tests find it.
#[macro_export]
macro_rules! id {
    ($id:literal) => {
        $id
    };
}

#[cfg(test)]
pub mod tests;
