//! Connections: one thread each, requests in turn, and the faults that are a matter of bytes.

use std::{
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use super::{
    Origin, Site, answer,
    http::{self, Reply, Request},
    rules::{Fault, Hold},
};

/// Takes connections until the server goes, and ends when all of their threads have.
pub fn accept(listener: &TcpListener, origin: Origin, site: &Site) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            let Ok(stream) = stream.map(Arc::new) else { continue };
            let Some(id) = site.enter(&stream) else { break };
            scope.spawn(move || {
                // An error is a client that went away, which is a client's right.
                let _ = converse(&stream, origin, site);
                site.leave(id);
            });
        }
    });
}

/// Answers the requests of one connection until either side has had enough.
fn converse(stream: &TcpStream, origin: Origin, site: &Site) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = match http::read(&mut reader)? {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(status) => return Sending::new(&Reply::text(status, "Malformed request"), true).send(stream),
        };
        if !serve(stream, origin, &request, site)? {
            return Ok(());
        }
    }
}

/// Answers one request, and says whether the connection lives on.
fn serve(stream: &TcpStream, origin: Origin, request: &Request, site: &Site) -> io::Result<bool> {
    let fault = site.rules.fault_for(origin, request);
    let reply = reply(origin, request, site, fault.as_ref());
    site.record(origin, request, reply.status);

    let mut sending = Sending::new(&reply, request.wants_close());
    if request.is_head() {
        sending.body = &[];
    }
    sending.holds = site.rules.holds_for(origin, request);
    sending.stop = match fault {
        Some(Fault::Cut { after }) => Some(Stop { after, stall: false }),
        Some(Fault::Stall { after }) => Some(Stop { after, stall: true }),
        _ => None,
    };
    let ends = sending.close || sending.stop.is_some() || matches!(fault, Some(Fault::Length { .. }));
    sending.send(stream)?;
    Ok(!ends)
}

/// The answer, with the faults in it that are a matter of what it says.
fn reply(origin: Origin, request: &Request, site: &Site, fault: Option<&Fault>) -> Reply {
    let honest = || answer::answer(site, origin, request);
    match fault {
        Some(Fault::Status { code, headers, body }) => {
            headers.iter().fold(Reply::text(*code, body), |reply, (name, value)| reply.with(name, value))
        }
        Some(Fault::Page) => Reply::new(200, "text/html; charset=utf-8", LOGIN_PAGE),
        Some(Fault::Redirect { to, code }) => Reply::empty(*code).with("Location", to),
        Some(Fault::NoRanges) => {
            answer::answer(site, origin, &request.without("range")).without("accept-ranges")
        }
        Some(Fault::Flip) => honest().flipped(),
        Some(Fault::Length { say }) => honest().claiming(*say, request.is_head()),
        Some(Fault::Cut { .. } | Fault::Stall { .. }) | None => honest(),
    }
}

/// What a captive portal answers whatever it is asked for.
const LOGIN_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Log in to the network</title></head>\n\
    <body><form method=\"post\"><input name=\"user\"><input name=\"password\"></form></body></html>\n";

/// Where an answer ends early.
struct Stop {
    after: usize,
    /// The connection stays open in silence.
    stall: bool,
}

/// An answer on its way out.
struct Sending<'a> {
    reply: &'a Reply,
    /// What is sent of the reply's body: nothing for a HEAD.
    body: &'a [u8],
    close: bool,
    stop: Option<Stop>,
    /// The gates before the byte at that place, in order.
    holds: Vec<(usize, Arc<Hold>)>,
}

impl<'a> Sending<'a> {
    fn new(reply: &'a Reply, close: bool) -> Self {
        Self { reply, body: &reply.body, close, stop: None, holds: Vec::new() }
    }

    fn send(self, mut stream: &TcpStream) -> io::Result<()> {
        let end = self.stop.as_ref().map_or(self.body.len(), |stop| stop.after.min(self.body.len()));
        // Without a body, there is only the answer as a whole to keep back.
        if self.stop.is_none() || !self.body.is_empty() {
            stream.write_all(self.reply.head(self.close).as_bytes())?;
        }
        let mut sent = 0;
        for (after, hold) in self.holds.iter().filter(|(after, _)| *after <= end && !self.body.is_empty()) {
            stream.write_all(&self.body[sent..*after])?;
            sent = *after;
            hold.pass();
        }
        stream.write_all(&self.body[sent..end])?;
        if self.stop.is_some_and(|stop| stop.stall) {
            // Ends when the client closes the connection, or the server's end does.
            io::copy(&mut stream, &mut io::sink())?;
        }
        Ok(())
    }
}
