//! Owns a line that is typed at the screens' prompt: its words, what may follow them, whether it is a verb.
//!
//! Our own parser and the same verbs as on a command line. There is no shell: nothing is expanded, nothing redirected.

use clap::{Command, FromArgMatches as _};

use super::own::{KeyVerb, SshVerb};
use super::update::UpdateVerb;
use super::vpn::{AuthorityVerb, VpnVerb};
use super::{Cli, HaVerb, Verb, command};
use crate::lang::Lang;
use crate::tr;

/// A verb that may be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The words behind `rempart`.
    pub words: Vec<String>,
    /// Whether it asks for something while it runs, or draws by itself: it wants the terminal.
    pub asks: bool,
}

/// What may come next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The word.
    pub word: String,
    /// What it does; empty where there is nothing to say.
    pub about: String,
}

/// The words of a line. Blanks part them; what stands in quotes of either kind is one. `None` where a quote has no end.
pub fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Reads a line. The error is for the person: what is wrong, or the help that was asked for. `None` where nothing stands.
pub fn parse(lang: Lang, line: &str) -> Result<Option<Order>, String> {
    let mut words = split(line).ok_or_else(|| tr!(lang, "prompt-quote"))?;
    // As people are used to from elsewhere.
    if words.first().is_some_and(|word| word == "rempart") {
        words.remove(0);
    }
    if words.is_empty() {
        return Ok(None);
    }
    let typed = std::iter::once("rempart".to_owned()).chain(words.iter().cloned());
    let matches = command(lang).try_get_matches_from(typed).map_err(|error| error.render().to_string())?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.render().to_string())?;
    Ok(cli.verb.map(|verb| Order { words, asks: verb.asks() }))
}

/// What the last word of a line may become, in the order of the help.
pub fn candidates(lang: Lang, line: &str) -> Vec<Candidate> {
    let Some(mut words) = split(line) else { return Vec::new() };
    let last = if line.ends_with(char::is_whitespace) || words.is_empty() { None } else { words.pop() };
    let last = last.unwrap_or_default();
    let mut verb = command(lang);
    let mut before = None;
    for word in words.iter().skip(usize::from(words.first().is_some_and(|w| w == "rempart"))) {
        match verb.find_subcommand(word) {
            Some(inner) => verb = inner.clone(),
            None => before = Some(word.as_str()),
        }
    }
    let mut found = values(&verb, before);
    if found.is_empty() {
        let inner = verb.get_subcommands().map(|inner| candidate(inner.get_name(), inner.get_about()));
        found.extend(inner);
        found.extend(words_of(&verb));
    }
    if last.starts_with('-') {
        let options = verb.get_arguments().filter(|a| a.get_id() != "help" && a.get_id() != "version");
        found =
            options.filter_map(|a| Some(candidate(&format!("--{}", a.get_long()?), a.get_help()))).collect();
    }
    found.retain(|c| c.word.starts_with(&last));
    found
}

/// The line with its last word completed as far as there is no doubt.
pub fn complete(lang: Lang, line: &str) -> String {
    let found = candidates(lang, line);
    let Some(first) = found.first() else { return line.to_owned() };
    let common = found.iter().fold(first.word.as_str(), |common, c| {
        let same = common.char_indices().zip(c.word.chars()).find(|((_, a), b)| a != b);
        let end = same.map_or(common.len().min(c.word.len()), |((at, _), _)| at);
        &common[..end]
    });
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let head = line.get(..start).unwrap_or_default();
    let only = if found.len() == 1 { " " } else { "" };
    format!("{head}{common}{only}")
}

fn candidate(word: &str, about: Option<&clap::builder::StyledStr>) -> Candidate {
    Candidate { word: word.to_owned(), about: about.map(ToString::to_string).unwrap_or_default() }
}

/// The words that an option takes, where the last word is such an option.
fn values(verb: &Command, before: Option<&str>) -> Vec<Candidate> {
    let name = before.and_then(|word| word.strip_prefix("--")).unwrap_or_default();
    let option = verb.get_arguments().find(|a| a.get_long() == Some(name));
    option.map(possible).unwrap_or_default()
}

/// The words that the verb itself takes.
fn words_of(verb: &Command) -> Vec<Candidate> {
    verb.get_positionals().flat_map(possible).collect()
}

fn possible(arg: &clap::Arg) -> Vec<Candidate> {
    let takes = arg.get_action().takes_values();
    let values = if takes { arg.get_possible_values() } else { Vec::new() };
    values.iter().map(|value| candidate(value.get_name(), None)).collect()
}

impl Verb {
    /// Whether it asks the person for something while it runs, or shows how far it is.
    fn asks(&self) -> bool {
        match self {
            Self::Edit | Self::Password => true,
            Self::Ha { verb } => matches!(verb, Some(HaVerb::Resolve { yes: false, .. })),
            Self::Vpn { verb: Some(verb) } => match verb {
                VpnVerb::Password { remove, .. } => !remove,
                VpnVerb::Import(args) => args.locked,
                VpnVerb::Authority { verb: AuthorityVerb::Import { locked, .. } } => *locked,
                VpnVerb::Test { .. } => true,
                VpnVerb::Status
                | VpnVerb::List
                | VpnVerb::Disconnect(_)
                | VpnVerb::Export(_)
                | VpnVerb::Devices
                | VpnVerb::Revoke { .. }
                | VpnVerb::Rename { .. }
                | VpnVerb::User { .. }
                | VpnVerb::Code { .. }
                | VpnVerb::Authority { .. }
                | VpnVerb::Wireguard { .. } => false,
            },
            Self::Update { verb: Some(verb) } => match verb {
                UpdateVerb::Check { .. } | UpdateVerb::Install { .. } | UpdateVerb::Pair { .. } => true,
                UpdateVerb::Status
                | UpdateVerb::Files
                | UpdateVerb::Stop
                | UpdateVerb::Restart
                | UpdateVerb::Confirm
                | UpdateVerb::Back => false,
            },
            Self::Install(args) => args.writes(),
            // A document that is typed.
            Self::Check { file } | Self::Plan { file } | Self::Commit { file, .. } => {
                file.as_deref() == Some("-")
            }
            Self::Load { file } => file == "-",
            Self::Ssh { verb: Some(SshVerb::Key { verb: KeyVerb::Add { key } }) } => key == &["-"],
            Self::Explain(args) => args.file.as_deref() == Some("-"),
            Self::Status
            | Self::Flows
            | Self::Matrix
            | Self::Connections(_)
            | Self::Kill(_)
            | Self::Log { .. }
            | Self::Candidate
            | Self::Confirm
            | Self::Revert
            | Self::Rollback { .. }
            | Self::Diff { .. }
            | Self::History
            | Self::Show { .. }
            | Self::Audit { .. }
            | Self::Pair { .. }
            | Self::Unpair
            | Self::Ports
            | Self::Ssh { .. }
            | Self::Vpn { verb: None }
            | Self::Update { verb: None }
            | Self::Schema
            | Self::Services => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        candidates(Lang::En, line).into_iter().map(|c| c.word).collect()
    }

    #[test]
    fn quotes_make_one_word_and_nothing_is_expanded() {
        let line = r#"commit -m "two words" 'a b'"" $HOME `id` ;x |y >z"#;
        let expected =
            ["commit", "-m", "two words", "a b", "$HOME", "`id`", ";x", "|y", ">z"].map(str::to_owned);
        assert_eq!(split(line), Some(expected.to_vec()));
        assert_eq!(split("''"), Some(vec![String::new()]));
        assert_eq!(split("\"open"), None);
    }

    #[test]
    fn a_verb_is_read_as_on_a_command_line() {
        let order = |line: &str| parse(Lang::En, line).unwrap().unwrap();
        assert_eq!(order("status").words, ["status"]);
        assert_eq!(order("rempart vpn list").words, ["vpn", "list"]);
        assert_eq!(parse(Lang::En, "   "), Ok(None));
        for (line, asks) in [
            ("vpn password alice", true),
            ("vpn password alice --remove", false),
            ("pair", false),
            ("update install usb", true),
            ("log --follow", false),
            ("ha resolve mine", true),
            ("ha resolve mine -y", false),
        ] {
            assert_eq!(order(line).asks, asks, "{line}");
        }
        for lang in [Lang::En, Lang::Fr] {
            let wrong = parse(lang, "vpn frobnicate").unwrap_err();
            assert!(wrong.contains("frobnicate"), "{wrong}");
            let help = parse(lang, "vpn --help").unwrap_err();
            assert!(help.contains("export") && help.contains(&tr!(lang, "help-usage")), "{help}");
        }
        assert!(parse(Lang::En, "status; id").is_err());
    }

    #[test]
    fn the_last_word_is_completed() {
        assert_eq!(words("vpn ex"), ["export"]);
        assert_eq!(words("con"), ["connections", "confirm"]);
        assert_eq!(words("ha maintenance "), ["on", "off"]);
        assert_eq!(words("connections --sort "), ["bytes", "age", "timeout"]);
        assert!(words("commit --c").contains(&"--confirm".to_owned()));
        assert!(words("").len() > 20 && words("nothing ").len() > 20);
        let complete = |line: &str| complete(Lang::En, line);
        assert_eq!(complete("co"), "co");
        assert_eq!(complete("vpn ex"), "vpn export ");
        assert_eq!(complete("rempart upd"), "rempart update ");
        assert_eq!(complete("conn"), "connections ");
        assert_eq!(complete("xyz"), "xyz");
        assert_eq!(complete("kill \"open"), "kill \"open");
    }
}
