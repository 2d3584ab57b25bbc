//! A proxy before each server that counts the requests of a client and runs an event at one of them. It can be redirected to
//! another server, as an address that moves with a failover.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// On which side of a step something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the server has it.
    Before,
    /// After the server has run it, and before the client receives the answer.
    After,
}

/// A request of the client: the server, and how many it was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub server: usize,
    pub request: usize,
    /// The last SQL that was seen.
    pub sql: String,
}

/// The fault at a step; the connection is closed then, without the request or the answer.
pub struct Trap {
    pub server: usize,
    pub request: usize,
    pub moment: Moment,
    pub spring: Box<dyn FnOnce() + Send>,
    /// Whether all connections are closed, and new ones refused, as when the client is dead.
    pub kills: bool,
}

#[derive(Default)]
struct State {
    trap: Option<Trap>,
    is_dead: bool,
    /// True while the event of the trap runs.
    is_springing: bool,
    /// The requests since the last look.
    steps: Vec<Step>,
    /// All connections, to be closed.
    connections: Vec<TcpStream>,
}

/// The proxies of all servers.
#[derive(Clone)]
pub struct Proxies {
    state: Arc<Mutex<State>>,
    sprung: Arc<Condvar>,
    requests: Arc<Vec<AtomicUsize>>,
    answers: Arc<Vec<AtomicUsize>>,
    ports: Arc<Vec<u16>>,
    /// The ports that new connections are led to.
    servers: Arc<Vec<AtomicU16>>,
}

impl Proxies {
    pub fn start(servers: &[u16]) -> Proxies {
        let listeners: Vec<TcpListener> =
            servers.iter().map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let zeros = || Arc::new(servers.iter().map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let proxies = Proxies {
            state: Arc::default(),
            sprung: Arc::default(),
            requests: zeros(),
            answers: zeros(),
            ports: Arc::new(ports),
            servers: Arc::new(servers.iter().map(|&server| AtomicU16::new(server)).collect()),
        };
        for (index, listener) in listeners.into_iter().enumerate() {
            let proxies = proxies.clone();
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    let server = proxies.servers[index].load(Ordering::SeqCst);
                    proxies.connect(index, client.unwrap(), server);
                }
            });
        }
        proxies
    }

    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Redirects new connections to another server. Open ones stay.
    pub fn lead_to(&self, index: usize, server: u16) {
        self.servers[index].store(server, Ordering::SeqCst);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.state.lock().unwrap().connections.drain(..).for_each(|stream| close(&stream));
    }

    /// Begins to count anew, with a trap or without.
    pub fn arm(&self, trap: Option<Trap>) {
        let mut state = self.state.lock().unwrap();
        (state.trap, state.is_dead) = (trap, false);
        state.steps.clear();
        self.requests.iter().chain(self.answers.iter()).for_each(|count| count.store(0, Ordering::SeqCst));
    }

    /// The requests since then, and whether the trap is still waiting. Returns once its event has ended.
    pub fn disarm(&self) -> (Vec<Step>, bool) {
        let mut state = self.state.lock().unwrap();
        while state.is_springing {
            state = self.sprung.wait(state).unwrap();
        }
        state.is_dead = false;
        (std::mem::take(&mut state.steps), state.trap.take().is_some())
    }

    fn connect(&self, index: usize, client: TcpStream, server: u16) {
        if self.state.lock().unwrap().is_dead {
            return;
        }
        // A server that is down refuses: the client sees its connection closed.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.state.lock().unwrap().connections.push(stream.try_clone().unwrap());
        }
        let (here, there) = (self.clone(), self.clone());
        let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || here.requests(index, from_client, to_server));
        std::thread::spawn(move || there.answers(index, server, client));
    }

    fn requests(&self, index: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut is_first = true;
        let mut sql = String::new();
        while let Some((kind, message)) = message(&mut from, std::mem::take(&mut is_first)) {
            match kind {
                b'Q' => sql = text(&message[5..]),
                b'P' => sql = text(message[5..].split(|byte| *byte == 0).nth(1).unwrap_or_default()),
                _ => {}
            }
            if matches!(kind, b'Q' | b'S') {
                let request = self.requests[index].fetch_add(1, Ordering::SeqCst);
                self.state.lock().unwrap().steps.push(Step { server: index, request, sql: sql.clone() });
                if self.springs(index, request, Moment::Before) {
                    break;
                }
            }
            if to.write_all(&message).is_err() {
                break;
            }
        }
        close(&from);
        close(&to);
    }

    fn answers(&self, index: usize, mut from: TcpStream, mut to: TcpStream) {
        // The first one reports that the connection is ready, and answers no request.
        let mut is_ready = false;
        while let Some((kind, message)) = message(&mut from, false) {
            if kind == b'Z' && std::mem::replace(&mut is_ready, true) {
                let answer = self.answers[index].fetch_add(1, Ordering::SeqCst);
                if self.springs(index, answer, Moment::After) {
                    break;
                }
            }
            if to.write_all(&message).is_err() {
                break;
            }
        }
        close(&from);
        close(&to);
    }

    /// Runs the event if the trap is set at this request.
    fn springs(&self, index: usize, count: usize, moment: Moment) -> bool {
        let trap = {
            let mut state = self.state.lock().unwrap();
            let is_here = |trap: &Trap| (trap.server, trap.request, trap.moment) == (index, count, moment);
            match state.trap.take_if(|trap| is_here(trap)) {
                None => return state.is_dead,
                Some(trap) => {
                    (state.is_dead, state.is_springing) = (trap.kills, true);
                    if trap.kills {
                        state.connections.drain(..).for_each(|stream| close(&stream));
                    }
                    trap
                }
            }
        };
        (trap.spring)();
        self.state.lock().unwrap().is_springing = false;
        self.sprung.notify_all();
        true
    }
}

/// The next message and its kind; the first of a connection has none.
fn message(from: &mut TcpStream, is_first: bool) -> Option<(u8, Vec<u8>)> {
    let head = if is_first { 4 } else { 5 };
    let mut message = vec![0; head];
    read(from, &mut message)?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().unwrap()) as usize;
    message.resize(head - 4 + length, 0);
    read(from, &mut message[head..])?;
    Some((if is_first { 0 } else { message[0] }, message))
}

fn read(from: &mut TcpStream, bytes: &mut [u8]) -> Option<()> {
    loop {
        match from.read_exact(bytes) {
            Ok(()) => return Some(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
