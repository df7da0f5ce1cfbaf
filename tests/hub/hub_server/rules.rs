//! What is to go wrong, or to wait, and with which requests.

use std::sync::{Arc, Condvar, Mutex};

use super::{
    Origin,
    http::{self, Request},
};

/// Which requests a rule is about.
#[derive(Clone, Debug, Default)]
pub struct On {
    pub origin: Option<Origin>,
    pub method: Option<&'static str>,
    /// A part of the target as it was sent, query and all, or of its path decoded. A signed link's query has
    /// the file's name in it.
    pub path: String,
}

impl On {
    /// Requests to either origin.
    pub fn any(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Requests to the hub.
    pub fn hub(path: &str) -> Self {
        Self { origin: Some(Origin::Hub), ..Self::any(path) }
    }

    /// Requests to the CDN.
    pub fn cdn(path: &str) -> Self {
        Self { origin: Some(Origin::Cdn), ..Self::any(path) }
    }

    /// Of these the GETs.
    pub fn get(self) -> Self {
        Self { method: Some("GET"), ..self }
    }

    /// Of these the HEADs.
    pub fn head(self) -> Self {
        Self { method: Some("HEAD"), ..self }
    }

    fn matches(&self, origin: Origin, request: &Request) -> bool {
        self.origin.is_none_or(|it| it == origin)
            && self.method.is_none_or(|it| it == request.method)
            && (request.target.contains(&self.path) || http::decode(request.path()).contains(&self.path))
    }
}

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer instead.
    Status { code: u16, headers: Vec<(&'static str, String)>, body: String },
    /// The headers promise everything, the connection is closed after `after` bytes of the body. An answer
    /// without a body, such as a redirect or that to a HEAD, is not sent at all.
    Cut { after: usize },
    /// As [`Fault::Cut`], but the connection stays open in silence until the client or the server goes.
    Stall { after: usize },
    /// Content-Length lies, except about a redirect, and X-Linked-Size does on a HEAD. The body is sent as it
    /// is, and the connection is closed.
    Length { say: u64 },
    /// One byte of the body is wrong, its length right.
    Flip,
    /// A Range header is ignored: 200 with everything.
    NoRanges,
    /// A proxy's login page instead.
    Page,
    /// A redirect instead.
    Redirect { to: String, code: u16 },
}

struct Rule {
    on: On,
    fault: Fault,
    left: usize,
}

/// The rules that are in force.
#[derive(Default)]
pub struct Rules {
    faults: Mutex<Vec<Rule>>,
    holds: Mutex<Vec<(On, usize, Arc<Hold>)>>,
}

impl Rules {
    pub fn add(&self, on: On, fault: Fault, times: usize) {
        self.faults.lock().unwrap().push(Rule { on, fault, left: times });
    }

    /// What goes wrong with a request, which uses the rule up by one.
    pub fn fault_for(&self, origin: Origin, request: &Request) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        faults.retain(|rule| rule.left > 0);
        let rule = faults.iter_mut().find(|rule| rule.on.matches(origin, request))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }

    pub fn hold(&self, on: On, after: usize) -> Gate {
        let hold = Arc::new(Hold::default());
        self.holds.lock().unwrap().push((on, after, Arc::clone(&hold)));
        Gate { hold }
    }

    /// The gates that a request's body has to pass, in their order.
    pub fn holds_for(&self, origin: Origin, request: &Request) -> Vec<(usize, Arc<Hold>)> {
        let holds = self.holds.lock().unwrap();
        let matching = holds.iter().filter(|(on, ..)| on.matches(origin, request));
        let mut found: Vec<_> = matching.map(|(_, after, hold)| (*after, Arc::clone(hold))).collect();
        found.sort_by_key(|(after, _)| *after);
        found
    }

    /// Opens every gate, so that nothing waits for one that nobody will open.
    pub fn open_gates(&self) {
        for (.., hold) in self.holds.lock().unwrap().iter() {
            hold.open();
        }
    }
}

/// The server's side of a gate.
#[derive(Default)]
pub struct Hold {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reached: bool,
    open: bool,
}

impl Hold {
    /// Notes that a body got here, and waits for the gate to open.
    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.reached = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.open).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }
}

/// Holds bodies back until it is released or dropped.
pub struct Gate {
    hold: Arc<Hold>,
}

impl Gate {
    /// Waits until some body has come this far, its bytes up to here being sent. Returns also when the gate
    /// is open, as it is once the server is gone.
    pub fn wait(&self) {
        let state = self.hold.state.lock().unwrap();
        drop(self.hold.changed.wait_while(state, |state| !state.reached && !state.open).unwrap());
    }

    /// Lets every body pass, those that wait and those to come.
    pub fn release(&self) {
        self.hold.open();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}
