//! A proxy that does to requests what networks and servers do to them on a bad day.
//!
//! It understands as much of HTTP/1.1 as it needs to tell requests apart: a head and a body of a known
//! length, one of each on a connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use scribefs::store::BucketOptions;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is closed before anything is read.
    Refuse,
    /// Taken, and never answered.
    BlackHole,
    /// Answered so much later.
    Late(Duration),
    /// Answered with that status and S3's code for it, and not passed on.
    Answer(u16, &'static str),
    /// The connection breaks after so many bytes of the request's body.
    CutUpload(usize),
    /// The connection breaks after so many bytes of the answer's body.
    CutDownload(usize),
    /// After so many bytes of the request's body nothing passes any more, and nobody hangs up: as where a firewall
    /// begins to drop packets.
    StallUpload(usize),
    /// The same after so many bytes of the answer's body.
    StallDownload(usize),
    /// UploadOutcome out, and the connection breaks instead of an answer.
    DropReply,
}

/// A fault, and which requests have it.
#[derive(Debug, Clone)]
pub(crate) struct DaemonConfig {
    fault: Fault,
    /// In `METHOD path?query`; empty: in all of them.
    text: String,
    /// One in so many.
    one_in: u64,
    /// How often it happens before it is over.
    left: u64,
}

impl DaemonConfig {
    /// Each request, until told otherwise.
    pub(crate) fn always(fault: Fault) -> Self {
        Self { fault, text: String::new(), one_in: 1, left: u64::MAX }
    }

    pub(crate) fn times(self, left: u64) -> Self {
        Self { left, ..self }
    }

    /// About one in so many, the same ones in each run.
    pub(crate) fn one_in(self, one_in: u64) -> Self {
        Self { one_in, ..self }
    }

    /// Only requests with `text` in their method, path and query.
    pub(crate) fn matching(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }
}

/// Stands before a server. Connections are threads, which end with their connection.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    is_over: AtomicBool,
    /// Guards what is to happen and what has happened.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Option<DaemonConfig>,
    chance: u64,
    requests: BTreeMap<String, u64>,
    faults: u64,
    open: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State { chance: 0x9E37_79B9_7F4A_7C15, ..State::default() });
        let shared = Arc::new(Shared { server, is_over: false.into(), state });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                // What breaks here is for the two sides to notice.
                thread::spawn(move || client.and_then(|client| shared.serve(client)));
            }
        });
        Self { address, shared }
    }

    /// The same bucket, through here.
    pub(crate) fn through(&self, options: &BucketOptions) -> BucketOptions {
        BucketOptions { endpoint: Some(format!("http://{}", self.address)), ..options.clone() }
    }

    /// What happens from now on, to open connections too.
    pub(crate) fn plan(&self, plan: DaemonConfig) {
        self.shared.state().plan = Some(plan);
    }

    /// From now on all is well. Connections that hang in a black hole break.
    pub(crate) fn heal(&self) {
        let mut state = self.shared.state();
        state.plan = None;
        for stream in state.open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Requests so far, by method.
    pub(crate) fn requests(&self, method: &str) -> u64 {
        self.shared.state().requests.get(method).copied().unwrap_or(0)
    }

    /// Requests so far.
    pub(crate) fn all_requests(&self) -> u64 {
        self.shared.state().requests.values().sum()
    }

    /// How often the plan has come true.
    pub(crate) fn faults(&self) -> u64 {
        self.shared.state().faults
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.heal();
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes whoever waits for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, client: TcpStream) -> io::Result<()> {
        self.state().open.push(client.try_clone()?);
        let mut client = BufReader::new(client);
        if let Some(head) = Head::read(&mut client)? {
            exchange(&head, self.fault_for(&head.line), &mut client, self.server)?;
        }
        client.get_ref().shutdown(Shutdown::Both)
    }

    fn fault_for(&self, line: &str) -> Option<Fault> {
        let mut state = self.state();
        let method = line.split(' ').next().unwrap_or("").to_owned();
        *state.requests.entry(method).or_default() += 1;
        let chance = state.next_chance();
        let plan = state.plan.as_mut()?;
        let request = line.trim_end_matches(" HTTP/1.1");
        let is_hit =
            request.contains(&plan.text) && 0 < plan.left && chance.is_multiple_of(plan.one_in);
        if !is_hit {
            return None;
        }
        plan.left -= 1;
        let fault = plan.fault;
        state.faults += 1;
        Some(fault)
    }
}

impl State {
    /// Xorshift: chance enough, and the same each time.
    fn next_chance(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 16
    }
}

/// Passes one request and its answer on.
fn exchange(
    head: &Head,
    fault: Option<Fault>,
    client: &mut BufReader<TcpStream>,
    server: SocketAddr,
) -> io::Result<()> {
    match fault {
        Some(Fault::Refuse) => return Ok(()),
        Some(Fault::BlackHole) => {
            // Until somebody hangs up.
            return io::copy(client, &mut io::sink()).map(|_| ());
        }
        Some(Fault::Answer(status, code)) => {
            pass(client, &mut io::sink(), head.length)?;
            return answer(client.get_mut(), head, status, code);
        }
        Some(
            Fault::Late(_)
            | Fault::CutUpload(_)
            | Fault::CutDownload(_)
            | Fault::StallUpload(_)
            | Fault::StallDownload(_)
            | Fault::DropReply,
        )
        | None => {}
    }
    let mut server = TcpStream::connect(server)?;
    server.write_all(&head.bytes)?;
    if let Some(Fault::CutUpload(bytes)) = fault {
        return pass(client, &mut server, head.length.min(bytes as u64));
    }
    if let Some(Fault::StallUpload(bytes)) = fault {
        pass(client, &mut server, head.length.min(bytes as u64))?;
        return until_hung_up(client.get_ref());
    }
    pass(client, &mut server, head.length)?;
    let mut server = BufReader::new(server);
    let Some(reply) = Head::read(&mut server)? else { return Ok(()) };
    match fault {
        Some(Fault::DropReply) => return Ok(()),
        Some(Fault::Late(delay)) => thread::sleep(delay),
        _ => {}
    }
    client.get_mut().write_all(&reply.bytes)?;
    match fault {
        Some(Fault::CutDownload(bytes)) => pass(&mut server, client.get_mut(), bytes as u64),
        Some(Fault::StallDownload(bytes)) => {
            pass(&mut server, client.get_mut(), bytes as u64)?;
            until_hung_up(client.get_ref())
        }
        _ => io::copy(&mut server, client.get_mut()).map(|_| ()),
    }
}

/// Takes no byte from the other side until it is gone, or until [`Proxy::heal`].
fn until_hung_up(stream: &TcpStream) -> io::Result<()> {
    let mut hung_up = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one structure, as said, of an open descriptor.
    match unsafe { libc::poll(&raw mut hung_up, 1, -1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn answer(client: &mut TcpStream, head: &Head, status: u16, code: &str) -> io::Result<()> {
    let body = if head.line.starts_with("HEAD ") || code.is_empty() {
        String::new()
    } else {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>")
    };
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status} Injected\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn pass(from: &mut impl Read, to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let passed = io::copy(&mut from.take(bytes), to)?;
    if passed < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The head of a request or an answer, which is to be the last on its connection.
struct Head {
    bytes: Vec<u8>,
    line: String,
    length: u64,
}

impl Head {
    /// `None` at the end of the connection.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            if from.read_line(&mut text)? == 0 {
                return Ok(None);
            }
        }
        let fields = text.split("\r\n").filter(|line| {
            !line.is_empty() && !line.to_ascii_lowercase().starts_with("connection:")
        });
        let fields: Vec<&str> = fields.collect();
        let length = fields.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let line = (*fields.first().unwrap_or(&"")).to_owned();
        let bytes = format!("{}\r\nConnection: close\r\n\r\n", fields.join("\r\n"));
        Ok(Some(Self { bytes: bytes.into_bytes(), line, length: length.unwrap_or(0) }))
    }
}
