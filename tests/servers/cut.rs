//! A way to a server that can be cut: after something was said to the server, and before it has answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

pub struct Cut {
    url: String,
    /// The message at which a connection is cut, on any connection.
    word: Arc<Mutex<Option<String>>>,
}

impl Cut {
    /// A way to the server with this URL, on a port of its own.
    pub fn before(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap();
        let word = Arc::new(Mutex::new(None));
        let (address, waited_for) = (address.to_owned(), Arc::clone(&word));
        spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                let word = Arc::clone(&waited_for);
                spawn(move || carry(client, server, &word));
            }
        });
        Cut { url: format!("{start}@{own}/{database}"), word }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Cuts the next connection on which this text is sent, once.
    pub fn cut_after(&self, word: &str) {
        *self.word.lock().unwrap() = Some(word.to_owned());
    }
}

fn carry(mut client: TcpStream, mut server: TcpStream, word: &Mutex<Option<String>>) {
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let replies = spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
        // Of a client that has gone, the replies are read nevertheless, until the server closes the connection.
        let _ = std::io::copy(&mut from_server, &mut std::io::sink());
    });
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let said = &bytes[..count];
        let mut word = word.lock().unwrap();
        let is_said = |word: &String| said.windows(word.len()).any(|window| window == word.as_bytes());
        if word.as_ref().is_some_and(is_said) {
            *word = None;
            // The client hears nothing any more; the server does all of it.
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.write_all(said).and_then(|()| server.shutdown(Shutdown::Write));
            let _ = replies.join();
            break;
        }
        drop(word);
        if server.write_all(said).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
