//! A Hugging Face Hub on the loopback interface, for tests of a client that downloads from it.
//!
//! There are two origins, as there are in the world: the hub, which knows repositories and redirects, and the
//! CDN, which serves signed links and knows nothing else. They are plain sockets and threads, so that a test
//! can have any byte of an answer go wrong, and nothing here waits for a clock.

#![allow(dead_code, unused_imports)]

mod answer;
mod connection;
mod http;
pub mod models;
mod repository;
mod rules;

use std::{
    collections::HashMap,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use http::Request;
pub use repository::{Repository, git_blob, sha256};
use rules::Rules;
pub use rules::{Fault, Gate, On};

/// Which of the two servers a request went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Hub,
    Cdn,
}

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub origin: Origin,
    pub method: String,
    /// The target without its query, percent-decoded.
    pub path: String,
    /// The query as it was sent, without the question mark.
    pub query: String,
    pub headers: Vec<(String, String)>,
    /// The status answered, or meant where a fault kept the whole answer back.
    pub status: u16,
}

impl Seen {
    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }
}

/// What the threads of both origins share.
struct Site {
    endpoint: String,
    cdn: String,
    repositories: Vec<Repository>,
    seen: Mutex<Vec<Seen>>,
    rules: Rules,
    open: Mutex<Open>,
}

/// The connections that are open, to be cut when the server goes.
#[derive(Default)]
struct Open {
    streams: HashMap<u64, Arc<TcpStream>>,
    next: u64,
    /// Set for good when the server goes: no connection is let in after that.
    closing: bool,
}

impl Site {
    /// Notes a connection; none when the server is going.
    fn enter(&self, stream: &Arc<TcpStream>) -> Option<u64> {
        let mut open = self.open.lock().unwrap();
        if open.closing {
            return None;
        }
        open.next += 1;
        let id = open.next;
        open.streams.insert(id, Arc::clone(stream));
        Some(id)
    }

    /// Forgets a connection and closes it.
    fn leave(&self, id: u64) {
        if let Some(stream) = self.open.lock().unwrap().streams.remove(&id) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends every connection, whatever its thread is blocked on: reading, writing or a gate. The gates open
    /// last, when no byte can get out through them.
    fn close(&self) {
        let mut open = self.open.lock().unwrap();
        open.closing = true;
        for stream in open.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(open);
        self.rules.open_gates();
    }

    /// Puts a request on the list, before its answer is sent: a client that has the answer finds it there.
    fn record(&self, origin: Origin, request: &Request, status: u16) {
        self.seen.lock().unwrap().push(Seen {
            origin,
            method: request.method.clone(),
            path: http::decode(request.path()),
            query: request.query().to_owned(),
            headers: request.headers.clone(),
            status,
        });
    }
}

/// The server: both origins, until it is dropped.
pub struct Hub {
    site: Arc<Site>,
    threads: Vec<(String, JoinHandle<()>)>,
}

impl Hub {
    /// Listens on two free ports of the loopback interface.
    pub fn start(repositories: Vec<Repository>) -> Self {
        let [hub, cdn] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [hub_address, cdn_address] = [&hub, &cdn].map(|it| it.local_addr().unwrap().to_string());
        let site = Arc::new(Site {
            endpoint: format!("http://{hub_address}"),
            cdn: format!("http://{cdn_address}"),
            repositories,
            seen: Mutex::default(),
            rules: Rules::default(),
            open: Mutex::default(),
        });
        let threads = [(hub, hub_address, Origin::Hub), (cdn, cdn_address, Origin::Cdn)]
            .map(|(listener, address, origin)| {
                let site = Arc::clone(&site);
                (address, thread::spawn(move || connection::accept(&listener, origin, &site)))
            })
            .into();
        Self { site, threads }
    }

    /// The hub's address, for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.site.endpoint.clone()
    }

    /// The address of the CDN, to which LFS files are redirected.
    pub fn cdn(&self) -> String {
        self.site.cdn.clone()
    }

    /// Every request since the start or the last [`Hub::forget`], in the order of their answers.
    pub fn requests(&self) -> Vec<Seen> {
        self.site.seen.lock().unwrap().clone()
    }

    /// Empties the list of requests.
    pub fn forget(&self) {
        self.site.seen.lock().unwrap().clear();
    }

    /// Has the next `times` requests that match go wrong. The first rule that matches wins, one that is used
    /// up is gone.
    pub fn fault(&self, on: On, fault: Fault, times: usize) {
        self.site.rules.add(on, fault, times);
    }

    /// Has the bodies of requests that match stop after `after` bytes, until the gate opens. A body that is
    /// shorter than that, or that is not sent at all, passes.
    pub fn hold(&self, on: On, after: usize) -> Gate {
        self.site.rules.hold(on, after)
    }
}

impl Drop for Hub {
    /// Leaves no thread behind, and waits for no client: their connections are cut.
    fn drop(&mut self) {
        self.site.close();
        for (address, thread) in self.threads.drain(..) {
            // The accept loop sees that the server is going when one more connection comes in.
            if TcpStream::connect(address).is_err() {
                continue;
            }
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the test server panicked, see above");
        }
    }
}
