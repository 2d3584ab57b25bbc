//! A proxy in front of a server that can hold back `COMMIT PREPARED`. A transaction over several servers is then decided, and
//! not finished on this one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::spawn;
use std::time::Duration;

const HELD: &[u8] = b"COMMIT PREPARED";

/// How long a statement is held back at most, so that a failing test ends.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    holds: bool,
    /// How long each is delayed instead.
    delay: Duration,
    /// The name of the transaction that is held back, on all its servers; others pass.
    held: Option<String>,
}

/// Shared by all proxies of a cluster.
#[derive(Clone, Default)]
pub struct Hold(Arc<(Mutex<State>, Condvar)>);

impl Hold {
    /// The URL of a proxy in front of the server with this one.
    pub fn before(&self, url: &str) -> String {
        let (start, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap();
        let (address, hold) = (address.to_owned(), self.clone());
        spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let hold = hold.clone();
                spawn(move || carry(client, server, &hold));
            }
        });
        format!("{start}@{own}/{database}")
    }

    /// From now on the next transaction that is finished is held back, until `release`.
    pub fn hold(&self) {
        *self.0.0.lock().unwrap() = State { holds: true, ..State::default() };
    }

    /// From now on each statement is sent after this time.
    pub fn delay(&self, delay: Duration) {
        self.0.0.lock().unwrap().delay = delay;
    }

    pub fn release(&self) {
        self.0.0.lock().unwrap().holds = false;
        self.0.1.notify_all();
    }

    /// Whether a transaction is held back now.
    pub fn has_some(&self) -> bool {
        self.0.0.lock().unwrap().held.is_some()
    }

    fn pass(&self, sent: &[u8]) {
        let mut state = self.0.0.lock().unwrap();
        if !state.delay.is_zero() {
            let delay = state.delay;
            drop(state);
            std::thread::sleep(delay);
            return;
        }
        // The name in quotes ends with the transaction's own and that of the server.
        let text = String::from_utf8_lossy(sent);
        let name = text.split('\'').nth(1).and_then(|name| name.rsplit(':').nth(1)).unwrap_or_default();
        if state.holds && state.held.get_or_insert_with(|| name.to_owned()) == name {
            drop(self.0.1.wait_timeout_while(state, LONGEST, |state| state.holds).unwrap());
        }
    }
}

fn carry(mut client: TcpStream, mut server: TcpStream, hold: &Hold) {
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let sent = &bytes[..count];
        if sent.windows(HELD.len()).any(|window| window == HELD) {
            hold.pass(sent);
        }
        if server.write_all(sent).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
