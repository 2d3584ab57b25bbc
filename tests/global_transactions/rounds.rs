//! Proxies before servers that count sequential round trips. A script names the servers that each round trip goes to. A
//! server's answers are held back until all servers of the round trip have received a request. A client that waits for one
//! server before it sends to the next blocks, and its test fails.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::spawn;
use std::time::Duration;

/// How long answers are held back at most, so that a failing test ends.
const LONGEST: Duration = Duration::from_secs(60);

/// Statements of the background: a session looks for participants that were left once in a second.
const BACKGROUND: &str = "pg_prepared_xacts";

#[derive(Default)]
struct State {
    /// The servers of each round trip.
    script: Vec<Vec<usize>>,
    /// The first round trip that has servers without a request.
    round: usize,
    /// The SQL of each request, with its server, by round trip.
    requests: Vec<Vec<(usize, String)>>,
    /// The round trip that each server's last request belongs to, and the number of answers that are not delivered.
    servers: Vec<(usize, usize)>,
    /// How the client left the script.
    wrong: Option<String>,
    is_over: bool,
}

#[derive(Clone, Default)]
pub struct Rounds(Arc<(Mutex<State>, Condvar)>);

impl Rounds {
    /// Returns proxies before a server, and the server's URL through each of them.
    pub fn before<const N: usize>(url: &str) -> (Rounds, [String; N]) {
        let rounds = Rounds::default();
        rounds.0.0.lock().unwrap().is_over = true;
        let urls = std::array::from_fn(|index| rounds.listen(index, url));
        (rounds, urls)
    }

    fn listen(&self, index: usize, url: &str) -> String {
        let (start, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap();
        let (address, rounds) = (address.to_owned(), self.clone());
        self.0.0.lock().unwrap().servers.push((0, 0));
        spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let counted = Arc::<Mutex<VecDeque<bool>>>::default();
                let (here, there, counted_there) = (rounds.clone(), rounds.clone(), Arc::clone(&counted));
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                spawn(move || here.carry_requests(index, from_client, to_server, &counted));
                spawn(move || there.carry_answers(index, server, client, &counted_there));
            }
        });
        format!("{start}@{own}/{database}")
    }

    /// From now on the client makes these round trips.
    pub fn expect(&self, script: &[&[usize]]) {
        let mut state = self.0.0.lock().unwrap();
        let servers = vec![(0, 0); state.servers.len()];
        let script: Vec<Vec<usize>> = script.iter().map(|servers| servers.to_vec()).collect();
        *state = State { requests: vec![Vec::new(); script.len()], script, servers, ..State::default() };
    }

    /// The client has made all of them, and no other. Returns the SQL of each request, by round trip.
    #[track_caller]
    pub fn finish(&self) -> Vec<Vec<(usize, String)>> {
        let mut state = self.0.0.lock().unwrap();
        state.is_over = true;
        self.0.1.notify_all();
        assert_eq!(state.wrong, None, "{:#?}", state.requests);
        assert_eq!(state.round, state.script.len(), "{:#?}", state.requests);
        std::mem::take(&mut state.requests)
    }

    fn fail(&self, state: &mut State, wrong: String) {
        (state.wrong, state.is_over) = (Some(wrong), true);
        self.0.1.notify_all();
    }

    /// A client sends these requests to a server at once.
    fn sends(&self, server: usize, sent: Vec<String>) {
        let mut state = self.0.0.lock().unwrap();
        if state.is_over || sent.is_empty() {
            return;
        }
        if state.servers[server].1 == 0 {
            let round = state.round;
            if !state.script.get(round).is_some_and(|servers| servers.contains(&server)) {
                let wrong = format!("round trip {round} goes to server {server}: {sent:?}");
                return self.fail(&mut state, wrong);
            }
            state.servers[server].0 = round;
        }
        state.servers[server].1 += sent.len();
        let round = state.servers[server].0;
        state.requests[round].extend(sent.into_iter().map(|sql| (server, sql)));
        let has_request = |wanted: &usize| state.requests[round].iter().any(|(server, _)| server == wanted);
        if round == state.round && state.script[round].iter().all(has_request) {
            state.round += 1;
            self.0.1.notify_all();
        }
    }

    /// Waits until a server's answer may be delivered.
    fn holds_back(&self, server: usize) {
        let state = self.0.0.lock().unwrap();
        let is_held = |state: &mut State| !state.is_over && state.servers[server].0 >= state.round;
        if state.servers[server].1 == 0 {
            return;
        }
        let (mut state, waited) = self.0.1.wait_timeout_while(state, LONGEST, is_held).unwrap();
        if waited.timed_out() {
            let round = state.round;
            let wrong = format!("server {server} waits in round trip {round} of {:?}", state.script);
            self.fail(&mut state, wrong);
        }
    }

    fn has_delivered(&self, server: usize) {
        let mut state = self.0.0.lock().unwrap();
        state.servers[server].1 = state.servers[server].1.saturating_sub(1);
    }

    fn carry_requests(
        &self,
        index: usize,
        mut client: TcpStream,
        mut server: TcpStream,
        counted: &Mutex<VecDeque<bool>>,
    ) {
        let (mut bytes, mut buffer, mut requests) = (Vec::new(), [0; 1 << 16], Requests::default());
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
            let (length, sent) = requests.complete(&bytes);
            let is_counted = |sql: &String| !sql.contains(BACKGROUND);
            counted.lock().unwrap().extend(sent.iter().map(is_counted));
            self.sends(index, sent.into_iter().filter(is_counted).collect());
            if server.write_all(&bytes[..length]).is_err() {
                break;
            }
            bytes.drain(..length);
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn carry_answers(
        &self,
        index: usize,
        mut server: TcpStream,
        mut client: TcpStream,
        counted: &Mutex<VecDeque<bool>>,
    ) {
        // The first `ReadyForQuery` answers no request.
        let mut is_ready = false;
        while let Some(message) = message(&mut server) {
            let ends = message[0] == b'Z' && std::mem::replace(&mut is_ready, true);
            let is_counted = *counted.lock().unwrap().front().unwrap_or(&false);
            if is_counted {
                self.holds_back(index);
            }
            if ends {
                counted.lock().unwrap().pop_front();
                if is_counted {
                    self.has_delivered(index);
                }
            }
            if client.write_all(&message).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }
}

/// A message of a server.
fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).ok()?;
    let length = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
    message.resize(1 + length, 0);
    from.read_exact(&mut message[5..]).ok()?;
    Some(message)
}

/// Reads the messages of a client.
#[derive(Default)]
struct Requests {
    has_begun: bool,
    /// The prepared statements, by their names.
    statements: Vec<(String, String)>,
    sql: String,
}

impl Requests {
    /// Returns the length of all complete messages, and the SQL of each request among them.
    fn complete(&mut self, bytes: &[u8]) -> (usize, Vec<String>) {
        let (mut at, mut sent) = (0, Vec::new());
        loop {
            // The first message has no kind.
            let head = usize::from(self.has_begun);
            let Some(length) = bytes.get(at + head..at + head + 4) else { return (at, sent) };
            let length = head + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            let Some(message) = bytes.get(at..at + length) else { return (at, sent) };
            at += length;
            if !std::mem::replace(&mut self.has_begun, true) {
                continue;
            }
            let words: Vec<String> = message[5..]
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into())
                .collect();
            match message[0] {
                b'Q' => sent.push(words[0].clone()),
                b'P' => {
                    self.sql = words[1].clone();
                    self.statements.push((words[0].clone(), words[1].clone()));
                }
                b'B' => {
                    let named = self.statements.iter().rev().find(|(name, _)| *name == words[1]);
                    self.sql = named.map(|(_, sql)| sql.clone()).unwrap_or_default();
                }
                b'S' => sent.push(self.sql.clone()),
                _ => {}
            }
        }
    }
}
