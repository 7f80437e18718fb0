//! Runs the verbs of the prompt: this same program, started again with the words of the line and nothing else.
//!
//! A process of its own, so that whatever ends it, Ctrl-C or a fault, leaves the console standing. What asks nothing is read
//! line by line and shown in a pane; what asks gets the terminal as it was before the console.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::model::Message;
use crate::cli::line::Order;
use crate::lang::Lang;
use crate::tr;

/// This program, whatever has become of its file since it was started.
const OWN: &str = "/proc/self/exe";

/// How verbs are run.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    /// Without colours.
    pub mono: bool,
}

/// A verb that runs beside the screens.
#[derive(Debug)]
pub struct Running(Option<Pid>);

impl Runner {
    fn command(self, order: &Order, lang: Lang) -> Command {
        let language = match lang {
            Lang::Fr => "fr",
            Lang::En => "en",
        };
        let mut command = Command::new(Path::new(OWN));
        command.args(["--lang", language]).args(self.mono.then_some("--mono")).args(&order.words);
        command.kill_on_drop(true);
        command
    }

    /// Runs a verb beside the screens; they hear what it says.
    pub fn begin(self, order: &Order, lang: Lang, sender: mpsc::Sender<Message>) -> Running {
        let mut command = self.command(order, lang);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let id = child.as_ref().ok().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        tokio::spawn(async move {
            let end = match child {
                Ok(child) => listen(child, &sender).await,
                Err(error) => Err(error),
            };
            let code = match end {
                Ok(code) => code,
                Err(error) => {
                    let _ = sender.send(Message::Said(error.to_string())).await;
                    Some(-1)
                }
            };
            let _ = sender.send(Message::Ended(code)).await;
        });
        Running(id.and_then(Pid::from_raw))
    }

    /// Runs a verb on the terminal, which is as any program finds it, and waits for Enter.
    pub async fn on_terminal(self, order: &Order, lang: Lang) -> io::Result<Option<i32>> {
        println!("rempart {}\n", order.words.join(" "));
        io::stdout().flush()?;
        let status = self.command(order, lang).status().await?;
        print!("\n{} ", tr!(lang, "prompt-return"));
        io::stdout().flush()?;
        tokio::task::spawn_blocking(enter).await.map_err(io::Error::other)?;
        Ok(status.code())
    }
}

impl Running {
    /// Asks it to end, as Ctrl-C does: an offer to pair is taken back.
    pub fn interrupt(&self) {
        if let Some(id) = self.0 {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::INT);
        }
    }
}

async fn listen(mut child: Child, sender: &mpsc::Sender<Message>) -> io::Result<Option<i32>> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    tokio::join!(lines(out, sender), lines(err, sender));
    Ok(child.wait().await?.code())
}

async fn lines(pipe: Option<impl AsyncRead + Unpin>, sender: &mpsc::Sender<Message>) {
    let Some(pipe) = pipe else { return };
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']).to_owned();
                // The loop has gone: so does the program.
                if sender.send(Message::Said(text)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits for Enter, or for the end of the terminal. Byte by byte: what is typed behind it is for the screens.
fn enter() {
    let mut byte = [0];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
            Ok(0) | Err(_) => return,
            Ok(_) if byte[0] == b'\n' || byte[0] == b'\r' => return,
            Ok(_) => {}
        }
    }
}
