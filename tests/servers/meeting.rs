//! Proxies to two servers: a client that sends a certain message waits until it is sent to the other server, too.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::spawn;
use std::time::Duration;

/// How long the other way is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Meeting {
    urls: [String; 2],
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    said: Condvar,
}

#[derive(Default)]
struct State {
    word: Option<String>,
    /// The connections on which the text was sent.
    ways: [bool; 2],
    missed: bool,
}

impl Meeting {
    /// Two ways to the server with this URL, each on a port of its own.
    pub fn before(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let shared = Arc::<Shared>::default();
        let urls = [0, 1].map(|way| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let own = listener.local_addr().unwrap();
            let (address, shared) = (address.to_owned(), Arc::clone(&shared));
            spawn(move || {
                for client in listener.incoming() {
                    let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                    let shared = Arc::clone(&shared);
                    spawn(move || carry(client, server, way, &shared));
                }
            });
            format!("{start}@{own}/{database}")
        });
        Meeting { urls, shared }
    }

    pub fn url(&self, way: usize) -> &str {
        &self.urls[way]
    }

    /// From now on a connection that sends this waits.
    pub fn wait_for(&self, word: &str) {
        *self.shared.state.lock().unwrap() = State { word: Some(word.to_owned()), ..State::default() };
    }

    /// Returns true if the text was sent on both connections, and neither waited in vain.
    pub fn has_been(&self) -> bool {
        let state = self.shared.state.lock().unwrap();
        state.ways == [true, true] && !state.missed
    }
}

fn carry(mut client: TcpStream, mut server: TcpStream, way: usize, shared: &Shared) {
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let said = &bytes[..count];
        let is_said = |word: &String| said.windows(word.len()).any(|window| window == word.as_bytes());
        let mut state = shared.state.lock().unwrap();
        if state.word.as_ref().is_some_and(is_said) && !state.ways[way] {
            state.ways[way] = true;
            shared.said.notify_all();
            let alone = |state: &mut State| state.ways != [true, true];
            let (mut state, waited) = shared.said.wait_timeout_while(state, PATIENCE, alone).unwrap();
            state.missed |= waited.timed_out();
        } else {
            drop(state);
        }
        if server.write_all(said).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
