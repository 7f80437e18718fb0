//! Owns the command line: the verbs, their options, the help in both languages.
//!
//! What a verb does is in [`run`], how its answer looks in [`print`].

pub mod audit;
pub mod edit;
pub mod install;
pub mod line;
pub mod own;
pub mod pair;
pub mod print;
pub mod run;
pub mod table;
pub mod update;
pub mod vpn;
pub mod who;

use std::net::IpAddr;

use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::lang::Lang;
use crate::{format, tr};

/// What the person typed.
#[derive(Parser, Debug)]
#[command(name = "rempart", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Print the JSON document as it came.
    #[arg(long, global = true)]
    pub json: bool,
    /// The language.
    #[arg(long, global = true, value_enum, hide_possible_values = true, value_name = "fr|en")]
    pub lang: Option<Lang>,
    /// No colours.
    #[arg(long, global = true)]
    pub mono: bool,
    /// The verb; none opens the screens.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// A verb.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// How the node is.
    Status,
    /// The flows with their counters.
    Flows,
    /// The flow matrix, zones by zones.
    Matrix,
    /// The tracked connections.
    Connections(Selection),
    /// Ends connections.
    Kill(KillArgs),
    /// The firewall log.
    Log {
        /// Wait for more.
        #[arg(long, short)]
        follow: bool,
    },
    /// Whether a document is good.
    Check {
        /// The document, `-` for stdin; the candidate if left out.
        file: Option<String>,
    },
    /// What a document would become.
    Plan {
        /// The document, `-` for stdin; the candidate if left out.
        file: Option<String>,
    },
    /// What becomes of a packet, and why.
    Explain(ExplainArgs),
    /// Makes a document the candidate.
    Load {
        /// The document, `-` for stdin.
        file: String,
    },
    /// The candidate in an editor.
    Edit,
    /// Prints the candidate.
    Candidate,
    /// Puts a document into force.
    Commit {
        /// The document, `-` for stdin; the candidate if left out.
        file: Option<String>,
        #[command(flatten)]
        how: CommitArgs,
    },
    /// Keeps the commit on trial.
    Confirm,
    /// Goes back from the commit on trial.
    Revert,
    /// Commits an older revision again.
    Rollback {
        /// The revision.
        revision: u32,
        #[command(flatten)]
        how: CommitArgs,
    },
    /// What differs between two documents.
    Diff {
        /// A revision number, `running` or `candidate`.
        #[arg(default_value = "running")]
        from: String,
        /// A revision number, `running` or `candidate`.
        #[arg(default_value = "candidate")]
        to: String,
    },
    /// The revisions.
    History,
    /// The document of a revision.
    Show {
        /// The revision.
        revision: u32,
    },
    /// Compares this box with what others recommend.
    Audit {
        /// Whose recommendations.
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// The pair of nodes.
    Ha {
        /// What about it; its status if left out.
        #[command(subcommand)]
        verb: Option<HaVerb>,
    },
    /// Joins two nodes to a pair.
    Pair {
        /// The code that the other node shows; without one this node shows one.
        code: Option<String>,
        /// The device that the other node is on.
        #[arg(long, value_name = "DEVICE")]
        on: Option<String>,
    },
    /// Forgets the other node and its keys.
    Unpair,
    /// The network ports and their lamps.
    Ports,
    /// The administrator's password.
    Password,
    /// SSH to the console.
    Ssh {
        /// What about it; its status if left out.
        #[command(subcommand)]
        verb: Option<own::SshVerb>,
    },
    /// Remote access: people, devices, sessions.
    Vpn {
        /// What about it; its status if left out.
        #[command(subcommand)]
        verb: Option<vpn::VpnVerb>,
    },
    /// New versions of the product.
    Update {
        /// What about them; how it is if left out.
        #[command(subcommand)]
        verb: Option<update::UpdateVerb>,
    },
    /// Installs on a disk, on a live start.
    Install(install::InstallArgs),
    /// The JSON Schema of the document.
    Schema,
    /// The services that have a name.
    Services,
}

/// Whose recommendations.
#[derive(Clone, Copy, Subcommand, PartialEq, Eq, Debug)]
pub enum AuditVerb {
    /// The French national agency for the security of information systems.
    Anssi,
}

/// A verb about the pair.
#[derive(Clone, Copy, Subcommand, PartialEq, Eq, Debug)]
pub enum HaVerb {
    /// How the pair is.
    Status,
    /// Hands the role to the other node.
    Switch,
    /// Takes this node out of service, or back in.
    Maintenance {
        /// Out of service, or in.
        #[arg(value_enum, hide_possible_values = true, value_name = "on|off")]
        state: OnOff,
    },
    /// How the documents of the two nodes differ.
    Diff,
    /// Chooses between two documents that have diverged.
    Resolve {
        /// Whose document both nodes are to have.
        #[arg(value_enum, hide_possible_values = true, value_name = "mine|theirs")]
        choice: ChoiceArg,
        /// Without asking.
        #[arg(long, short)]
        yes: bool,
    },
}

/// Whose document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ChoiceArg {
    /// That of this node.
    Mine,
    /// That of the other.
    Theirs,
}

/// A switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

/// Which connections, in what order.
#[derive(Args, Debug, Default)]
pub struct Selection {
    /// From or to this zone.
    #[arg(long)]
    pub zone: Option<String>,
    /// Admitted by this flow: its number or name.
    #[arg(long)]
    pub flow: Option<String>,
    /// From or to this address.
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// From or to this port.
    #[arg(long)]
    pub port: Option<u16>,
    /// The order; newest first if left out.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "bytes|age|timeout")]
    pub sort: Option<SortArg>,
    /// At most so many.
    #[arg(long)]
    pub limit: Option<usize>,
}

/// The order of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SortArg {
    /// The most bytes first.
    Bytes,
    /// The oldest first.
    Age,
    /// The first to be forgotten first.
    Timeout,
}

/// What to end.
#[derive(Args, Debug)]
#[group(required = true)]
pub struct KillArgs {
    /// The connections' numbers.
    pub ids: Vec<u32>,
    /// All that this flow admitted: its number or name.
    #[arg(long, conflicts_with = "ids")]
    pub flow: Option<String>,
}

/// The packet.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The zone or interface that it arrives from; worked out from the source if left out.
    #[arg(long)]
    pub from: Option<String>,
    /// Source address.
    #[arg(long)]
    pub src: String,
    /// Destination address, as the sender writes it.
    #[arg(long)]
    pub dst: String,
    /// `tcp/443`, `udp/53`, `icmp/echo-request`, `proto/47`.
    pub service: String,
    /// Source port.
    #[arg(long)]
    pub sport: Option<u16>,
    /// The document, `-` for stdin; the running one if left out.
    #[arg(long)]
    pub file: Option<String>,
}

/// How to commit.
#[derive(Args, Debug)]
pub struct CommitArgs {
    /// Why.
    #[arg(long, short, default_value = "")]
    pub message: String,
    /// Go back after this time unless confirmed.
    #[arg(long, value_parser = confirm_time)]
    pub confirm: Option<u32>,
    /// Even if it cuts this session.
    #[arg(long)]
    pub force: bool,
}

/// Shortest and longest time for a confirmation, in seconds.
const CONFIRM_LIMITS_S: std::ops::RangeInclusive<u32> = 10..=86_400;

/// Reads the time that a commit waits for its confirmation, in seconds.
pub fn confirm_time(text: &str) -> Result<u32, String> {
    format::parse_duration(text)
        .filter(|s| CONFIRM_LIMITS_S.contains(s))
        .ok_or_else(|| "30s, 5m, 1h: 10 s .. 24 h".to_owned())
}

/// Reads the command line. The language is looked for first, since the help is in it.
pub fn parse() -> Cli {
    let words: Vec<String> = std::env::args().collect();
    let option = words.iter().enumerate().find_map(|(i, w)| match w.strip_prefix("--lang") {
        Some("") => words.get(i + 1).cloned(),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    let option = option.and_then(|v| Lang::from_str(&v, true).ok());
    let lang = Lang::choose(option, |name| std::env::var(name).ok());
    let matches = command(lang).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
}

/// The command line with its help in a language.
pub fn command(lang: Lang) -> Command {
    let usage = tr!(lang, "help-usage");
    let (verbs, options) = (tr!(lang, "help-verbs"), tr!(lang, "help-options"));
    let with_verbs = format!(
        "{{about}}\n\n{usage} {{usage}}\n\n{verbs}\n{{subcommands}}\n\n{options}\n{{options}}\n{{after-help}}"
    );
    let root = describe(Cli::command(), "rempart", lang)
        .about(tr!(lang, "help-rempart"))
        .after_help(tr!(lang, "help-exit-codes"))
        .help_template(with_verbs);
    root.mut_subcommands(|verb| {
        let name = verb.get_name().to_owned();
        verb_in(lang, verb, &name)
    })
}

/// A verb, and those below it, with their help. `name` is the way to it: `vpn-user-add`.
fn verb_in(lang: Lang, verb: Command, name: &str) -> Command {
    let (usage, options) = (tr!(lang, "help-usage"), tr!(lang, "help-options"));
    let middle = if verb.has_subcommands() {
        format!("\n{}\n{{subcommands}}\n", tr!(lang, "help-verbs"))
    } else if verb.get_positionals().next().is_some() {
        format!("\n{}\n{{positionals}}\n", tr!(lang, "help-arguments"))
    } else {
        String::new()
    };
    describe(verb, name, lang)
        .about(tr!(lang, &format!("help-{name}")))
        .disable_help_subcommand(true)
        .help_template(format!("{{about}}\n\n{usage} {{usage}}\n{middle}\n{options}\n{{options}}\n"))
        .mut_subcommands(|inner| {
            let name = format!("{name}-{}", inner.get_name());
            verb_in(lang, inner, &name)
        })
}

/// Gives each option of a verb its help, and translates clap's own two options.
fn describe(command: Command, verb: &str, lang: Lang) -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let command = command.disable_help_flag(true).arg(help);
    let command = match verb {
        "rempart" => {
            let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
            command.disable_version_flag(true).arg(version)
        }
        _ => command,
    };
    command.mut_args(|arg| {
        let text = tr!(lang, &help_id(verb, arg.get_id().as_str()));
        arg.help(text)
    })
}

/// The message that describes an option. Options that mean the same everywhere share one.
pub fn help_id(verb: &str, arg: &str) -> String {
    match arg {
        "help" | "version" | "json" | "lang" | "mono" | "file" | "message" | "confirm" | "force"
        | "revision" => {
            format!("help-arg-{arg}")
        }
        _ => format!("help-{verb}-{arg}"),
    }
}

#[cfg(test)]
mod tests;
