//! The way between the two `rempart-vpn`: what one gives us the other one gets. Thin on purpose: messages are not looked into.
//!
//! ```text
//!   rempart-vpn ──socket──▶ read ── 32 messages ──▶ push ──QUIC stream──▶ the other rempart-ha
//!               ◀──socket── write ◀─ 32 messages ── pull ◀─QUIC stream───
//!                             ▲
//!                             ├── role: the elector's word, at once
//!                             ├── link: whether a stream goes each way
//!                             └── hand over: the role is about to go; `ready` is passed on to the elector
//! ```
//!
//! Not over the bus: that costs a message's way through a third process and back, each time, and a thousand sessions come at
//! once. All of it runs on the main thread, so nothing here can hold up the elector or the journal, which have threads of
//! their own and a higher priority; the elector only stores a number and rings ([`crate::elector::RoleCell`]). Every queue is bounded and
//! presses back on whoever fills it.
//!
//! One program is connected at a time: a new one takes the place of the one before. It must run as root, as we do, or as
//! `rempart-vpn`: the kernel tells who it is (`SO_PEERCRED`, unix(7)).

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use rempart_daemon::relay::{Frame, MAX_FRAME, MAX_MESSAGE, TOPIC};
use rempart_daemon::tasks::{Task, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::channel::Current;
use crate::elector::{self, Command, RoleWatch, RoleWord};

/// Messages that wait, each way: a megabyte. `rempart-vpn` has no more than 64 under way.
const QUEUE: usize = 32;
/// The program that may connect beside root.
const USER: &str = "rempart-vpn";
/// How often the socket is tried again where it cannot be made, and a stream where it cannot be opened.
const AGAIN: Duration = Duration::from_secs(1);
/// A program that has just come is told within this time whether the other node's can be reached. With a connection it takes
/// a few milliseconds.
const DECIDED: Duration = Duration::from_millis(300);
/// How long a stream of the other node may take to say what it is for.
const BEGINNING: Duration = Duration::from_secs(2);

/// What the relay is made with.
pub struct Config {
    /// Where `rempart-vpn` connects.
    pub socket: PathBuf,
    /// What the elector says.
    pub role: RoleWatch,
    /// Who is to know that the role may go.
    pub elector: elector::Handle,
}

type Message = Zeroizing<Vec<u8>>;

/// What the elector has said last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said {
    role: Option<Option<u64>>,
    hand_over: u64,
}

/// The program that is connected.
struct Client {
    /// What it wants to be sent.
    from: Arc<Mutex<mpsc::Receiver<Message>>>,
    /// What it is to get.
    to: mpsc::Sender<Message>,
    /// Whether the other node's program can be reached; `None`: not known yet.
    link: watch::Sender<Option<bool>>,
    /// When it is to be known at the latest.
    decided: Instant,
    serving: Task,
}

/// Runs until the channel ends.
pub async fn run(
    config: Config,
    mut current: watch::Receiver<Option<Arc<Current>>>,
    mut streams: mpsc::Receiver<RecvStream>,
) {
    let (fresh_out, mut fresh) = mpsc::channel(1);
    let _listening = Task::spawn(listen(config.socket, fresh_out));
    let (mut said, elector) = (follow(config.role), config.elector);
    said.mark_unchanged();
    let mut client: Option<Client> = None;
    // The stream of the other node's program, until ours is there to have it.
    let mut waiting: Option<RecvStream> = None;
    let (mut push, mut pull): (Option<Task>, Option<Task>) = (None, None);
    let (ended_out, mut ended) = mpsc::channel::<()>(4);
    loop {
        if let Some(client) = &client {
            push.take_if(|task| !task.is_running());
            pull.take_if(|task| !task.is_running());
            let connection = current.borrow_and_update().clone();
            if let (None, Some(connection)) = (&push, connection) {
                let from = Arc::clone(&client.from);
                push = Some(Task::spawn(told(send(connection, from), ended_out.clone())));
            }
            if let Some(stream) = waiting.take() {
                // The newest one is that of the connection in use.
                pull = Some(Task::spawn(told(receive(stream, client.to.clone()), ended_out.clone())));
            }
            let linked = push.is_some() && pull.is_some();
            // Who has just come is not told that nobody is there while the streams are on their way.
            let soon = current.borrow().is_some() && Instant::now() < client.decided;
            client.link.send_if_modified(|link| {
                let now = if linked || link.is_some() || !soon { Some(linked) } else { None };
                std::mem::replace(link, now) != now
            });
        }
        let decided =
            client.as_ref().filter(|client| client.link.borrow().is_none()).map(|client| client.decided);
        let gone = async {
            match &mut client {
                Some(client) => client.serving.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = current.changed() => match changed {
                // What was under way may be lost; the other side of the other stream sees to that.
                Ok(()) => push = None,
                Err(_) => return,
            },
            Some(stream) = streams.recv() => waiting = Some(stream),
            Some(stream) = fresh.recv() => {
                (push, pull) = (None, None);
                client = Some(serve(stream, said.clone(), elector.clone()));
            }
            () = gone => {
                debug!("rempart-vpn is gone");
                (client, push, pull) = (None, None, None);
                may_go(&elector, said.borrow().hand_over);
            }
            Ok(()) = said.changed() => {
                let hand_over = said.borrow_and_update().hand_over;
                if client.is_none() {
                    may_go(&elector, hand_over);
                }
            }
            Some(()) = ended.recv() => {}
            () = until(decided) => {}
        }
    }
}

/// Nothing of remote access keeps the role here, at this hand-over; of one before, the elector does not care.
fn may_go(elector: &elector::Handle, token: u64) {
    // Too busy to hear it, the elector goes on by itself after a while.
    let _ = elector.send(Command::Ready(token));
}

/// Says when it is done.
async fn told(work: impl Future<Output = ()>, ended: mpsc::Sender<()>) {
    work.await;
    let _ = ended.try_send(());
}

/// The elector's word, for tasks.
fn follow(role: RoleWatch) -> watch::Receiver<Said> {
    let said = |word: &RoleWord| Said { role: word.get(), hand_over: word.hand_over() };
    let (out, seen) = watch::channel(said(&role.word));
    tokio::spawn(async move {
        let RoleWatch { word, bell } = role;
        let bell = match UnixDatagram::from_std(bell) {
            Ok(bell) => bell,
            Err(error) => return warn!(%error, "rempart-vpn does not see the role"),
        };
        loop {
            let now = said(&word);
            out.send_if_modified(|last| std::mem::replace(last, now) != now);
            if bell.recv(&mut [0; 8]).await.is_err() {
                return;
            }
        }
    });
    seen
}

/// Takes connections.
async fn listen(socket: PathBuf, fresh: mpsc::Sender<UnixStream>) {
    let mut missed = false;
    loop {
        match bind(&socket) {
            Ok(listener) => {
                missed = false;
                while let Ok((stream, _)) = listener.accept().await {
                    match stream.peer_cred() {
                        Ok(who) if may_connect(who.uid()) => {
                            info!(pid = who.pid(), "rempart-vpn is connected");
                            if fresh.send(stream).await.is_err() {
                                return;
                            }
                        }
                        Ok(who) => warn!(uid = who.uid(), "a stranger wants to be rempart-vpn"),
                        Err(error) => warn!(%error, "who connects to the relay is not known"),
                    }
                }
            }
            Err(error) if !missed => {
                warn!(%error, socket = %socket.display(), "rempart-vpn cannot connect: its sessions are not replicated");
                missed = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    // Who may reach the folder may knock; who it is decides.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn may_connect(uid: u32) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    let user = || nix::unistd::User::from_name(USER).ok().flatten().map(|user| user.uid.as_raw());
    uid == 0 || uid == ours || user() == Some(uid)
}

/// Serves a program that has connected.
fn serve(stream: UnixStream, said: watch::Receiver<Said>, elector: elector::Handle) -> Client {
    let (read_half, write_half) = stream.into_split();
    let (from_in, from) = mpsc::channel(QUEUE);
    let (to, to_out) = mpsc::channel(QUEUE);
    let (link, seen) = watch::channel(None);
    let serving = Task::spawn(async move {
        // Whichever of the two ends first ends the other.
        tokio::select! {
            done = read(read_half, from_in, &elector) => if let Err(error) = done {
                debug!(%error, "rempart-vpn cannot be read");
            },
            done = write(write_half, to_out, seen, said) => if let Err(error) = done {
                debug!(%error, "rempart-vpn cannot be told");
            },
        }
    });
    Client { from: Arc::new(Mutex::new(from)), to, link, decided: Instant::now() + DECIDED, serving }
}

/// What the program says.
async fn read(half: OwnedReadHalf, from: mpsc::Sender<Message>, elector: &elector::Handle) -> io::Result<()> {
    let mut half = BufReader::with_capacity(2 * MAX_FRAME, half);
    loop {
        let mut header = [0; 4];
        match half.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            done => done?,
        };
        let length = u32::from_be_bytes(header) as usize;
        if length > MAX_FRAME - 4 {
            return Err(io::Error::other("a frame is too long"));
        }
        let mut frame = Zeroizing::new(Vec::with_capacity(4 + length));
        frame.extend_from_slice(&header);
        frame.resize(4 + length, 0);
        half.read_exact(&mut frame[4..]).await?;
        match Frame::read(&frame).map_err(io::Error::other)? {
            Some((Frame::Message(body), _)) => {
                let message = Zeroizing::new(body.to_vec());
                if from.send(message).await.is_err() {
                    return Ok(());
                }
            }
            Some((Frame::Ready(token), _)) => may_go(elector, token),
            Some((Frame::Role(_) | Frame::Link(_) | Frame::HandOver(_), _)) | None => {
                return Err(io::Error::other("a frame that is not for us"));
            }
        }
    }
}

/// What the program is told: the role before all else.
async fn write(
    mut half: OwnedWriteHalf,
    mut messages: mpsc::Receiver<Message>,
    mut link: watch::Receiver<Option<bool>>,
    mut said: watch::Receiver<Said>,
) -> io::Result<()> {
    let mut frame = Zeroizing::new(Vec::with_capacity(MAX_FRAME));
    // A hand-over that began before the program came does not wait for it.
    let mut last = Said { role: None, ..*said.borrow() };
    said.mark_changed();
    link.mark_changed();
    loop {
        frame.clear();
        tokio::select! {
            biased;
            Ok(()) = said.changed() => {
                let Said { role, hand_over } = *said.borrow_and_update();
                if let Some(role) = role.filter(|role| last.role != Some(*role)) {
                    Frame::Role(role).write(&mut frame);
                }
                if hand_over != last.hand_over {
                    Frame::HandOver(hand_over).write(&mut frame);
                }
                last = Said { role, hand_over };
            },
            Ok(()) = link.changed() => if let Some(up) = *link.borrow_and_update() {
                Frame::Link(up).write(&mut frame);
            },
            Some(message) = messages.recv() => Frame::Message(&message).write(&mut frame),
            else => return Ok(()),
        }
        half.write_all(&frame).await?;
    }
}

/// What our program says goes to the other node's.
async fn send(connection: Arc<Current>, from: Arc<Mutex<mpsc::Receiver<Message>>>) {
    let mut stream = match connection.open_stream().await {
        Ok(stream) => stream,
        Err(error) => {
            debug!(%error, "no stream to the other node");
            // Not at once again: a connection that has ended is about to be replaced.
            return tokio::time::sleep(AGAIN).await;
        }
    };
    let mut from = from.lock().await;
    // What was meant for a stream before this one is of no use to anybody.
    while from.try_recv().is_ok() {}
    if let Err(error) = push(&mut stream, &mut from).await {
        debug!(%error, "the other node's relay does not take messages any more");
    }
}

async fn push(stream: &mut SendStream, from: &mut mpsc::Receiver<Message>) -> io::Result<()> {
    stream.write_all(&[TOPIC]).await?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + MAX_MESSAGE));
    // The other side lets go of the stream when its program is gone.
    let stopped = stream.stopped();
    tokio::pin!(stopped);
    loop {
        let message = tokio::select! {
            message = from.recv() => message,
            _ = &mut stopped => return Ok(()),
        };
        let Some(message) = message else { break };
        bytes.clear();
        // No message is longer than a frame.
        bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&message);
        stream.write_all(&bytes).await?;
    }
    let _ = stream.finish();
    Ok(())
}

/// What the other node's program says goes to ours.
async fn receive(mut stream: RecvStream, to: mpsc::Sender<Message>) {
    let begun = timeout(BEGINNING, stream.read_u8()).await;
    if !matches!(begun, Ok(Ok(TOPIC))) {
        debug!("a stream of the other node is for nothing that is known here");
        return;
    }
    if let Err(error) = pull(&mut stream, &to).await {
        debug!(%error, "the other node's relay says nothing any more");
    }
}

async fn pull(stream: &mut RecvStream, to: &mpsc::Sender<Message>) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await? as usize;
        if length > MAX_MESSAGE {
            return Err(io::Error::other("a message is too long"));
        }
        let mut message = Zeroizing::new(vec![0; length]);
        stream.read_exact(&mut message).await.map_err(io::Error::other)?;
        if to.send(message).await.is_err() {
            return Ok(());
        }
    }
}
