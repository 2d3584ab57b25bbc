//! A proxy to a server that closes a connection when a word is sent on it, before the server receives it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

#[derive(Clone, Default)]
struct Rule {
    word: Option<String>,
    /// Whether the server gets the word, and only the reply is lost.
    delivers: bool,
    /// Run after the word was seen, before any new connection is let through.
    then: Option<Arc<Mutex<dyn FnMut() + Send>>>,
}

pub struct Gate {
    url: String,
    rule: Arc<Mutex<Rule>>,
}

impl Gate {
    /// Listens on a port of its own before the server with this URL.
    pub fn before(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap();
        let rule = Arc::<Mutex<Rule>>::default();
        let (address, rules) = (address.to_owned(), Arc::clone(&rule));
        spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // Waits while `then` runs.
                drop(rules.lock().unwrap());
                let Ok(server) = TcpStream::connect(&address) else { continue };
                let rules = Arc::clone(&rules);
                spawn(move || carry(client, server, &rules));
            }
        });
        Gate { url: format!("{start}@{own}/{database}"), rule }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on connections are closed on which this is sent.
    pub fn refuse(&self, word: &str) {
        *self.rule.lock().unwrap() = Rule { word: Some(word.to_owned()), ..Rule::default() };
    }

    /// Loses the reply to this word once, and runs something before the client can connect again.
    pub fn lose_reply(&self, word: &str, then: impl FnMut() + Send + 'static) {
        let then: Arc<Mutex<dyn FnMut() + Send>> = Arc::new(Mutex::new(then));
        *self.rule.lock().unwrap() = Rule { word: Some(word.to_owned()), delivers: true, then: Some(then) };
    }

    pub fn allow(&self) {
        *self.rule.lock().unwrap() = Rule::default();
    }
}

fn carry(mut client: TcpStream, mut server: TcpStream, rules: &Mutex<Rule>) {
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let replies = spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
        // Of a client that has gone, the replies are read nevertheless, until the server closes the connection.
        let _ = std::io::copy(&mut from_server, &mut std::io::sink());
    });
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let sent = &bytes[..count];
        let has = |word: &String| sent.windows(word.len()).any(|window| window == word.as_bytes());
        let mut rule = rules.lock().unwrap();
        if rule.word.as_ref().is_some_and(has) {
            let _ = client.shutdown(Shutdown::Both);
            if rule.delivers {
                let _ = server.write_all(sent).and_then(|()| server.shutdown(Shutdown::Write));
                let _ = replies.join();
            }
            if let Some(then) = std::mem::take(&mut rule.then) {
                rule.word = None;
                then.lock().unwrap()();
            }
            break;
        }
        drop(rule);
        if server.write_all(sent).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
