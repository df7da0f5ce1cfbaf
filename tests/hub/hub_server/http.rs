//! As much of HTTP/1.1 as a hub needs: requests in, replies out.

use std::{
    fmt::Write as _,
    io::{self, BufRead, Read},
    ops::Range,
};

/// The most bytes that a request's first line and headers may have.
const HEAD_LIMIT: u64 = 64 * 1024;

/// The first header of that name, in whatever case.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A request's head. None is read whose body matters.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    pub headers: Vec<(String, String)>,
    old: bool,
}

/// Reads a request: none at the end of the connection, a status where it makes no sense.
pub fn read(reader: &mut impl BufRead) -> io::Result<Result<Option<Request>, u16>> {
    let mut head = reader.by_ref().take(HEAD_LIMIT);
    let Some(first) = line(&mut head)? else {
        return Ok(if head.limit() == 0 { Err(431) } else { Ok(None) });
    };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(Err(400));
    };
    let mut request = Request { method, target, headers: Vec::new(), old: version == "HTTP/1.0" };
    loop {
        match line(&mut head)?.as_deref() {
            None => return Ok(Err(if head.limit() == 0 { 431 } else { 400 })),
            Some("") => break,
            Some(line) => match line.split_once(':') {
                Some((name, value)) => request.headers.push((name.to_owned(), value.trim().to_owned())),
                None => return Ok(Err(400)),
            },
        }
    }
    skip_body(reader, &request)?;
    Ok(Ok(Some(request)))
}

/// A line without its end; none when there is no whole one.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// Leaves the reader at the next request.
fn skip_body(reader: &mut impl BufRead, request: &Request) -> io::Result<()> {
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    io::copy(&mut reader.take(length), &mut io::sink()).map(|_| ())
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The same request without a header.
    pub fn without(&self, name: &str) -> Self {
        let mut request = self.clone();
        request.headers.retain(|(it, _)| !it.eq_ignore_ascii_case(name));
        request
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub fn wants_close(&self) -> bool {
        match self.header("connection") {
            Some(value) if value.eq_ignore_ascii_case("close") => true,
            Some(value) if value.eq_ignore_ascii_case("keep-alive") => false,
            _ => self.old,
        }
    }

    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A parameter of the query, decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        let pairs = self.query().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| decode(key) == name).map(|(_, value)| decode(value)).next()
    }

    /// The path's segments, each decoded: a slash within one does not part it.
    pub fn segments(&self) -> Vec<String> {
        self.path().trim_start_matches('/').split('/').map(decode).collect()
    }

    /// The token of the Authorization header.
    pub fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The range asked for, with its end open or inclusive. None also where it has a form that servers may
    /// ignore, or names another version of the file.
    fn range(&self, etag: &str) -> Option<(usize, Option<usize>)> {
        if self.header("if-range").is_some_and(|wanted| wanted != etag) {
            return None;
        }
        let (from, to) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let from = from.parse().ok()?;
        let to = if to.is_empty() { None } else { Some(to.parse().ok()?) };
        to.is_none_or(|to| to >= from).then_some((from, to))
    }
}

/// Percent-decodes; what is no valid escape stays as it is.
pub fn decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = if byte == b'%' { hex_pair(after) } else { None };
        decoded.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The value of the two hexadecimal digits that the bytes begin with.
fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| (*bytes.get(at)? as char).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Percent-encodes all but the unreserved characters.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
        encoded
    })
}

/// Percent-encodes a path segment by segment.
pub fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// An answer, whole: what a HEAD leaves out is for the sender to leave out.
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::empty(status).with("Content-Type", kind) }
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// A file, or the range of it that was asked for.
    pub fn file(bytes: &[u8], etag: &str, request: &Request) -> Self {
        let total = bytes.len();
        let kind = "application/octet-stream";
        let reply = match request.range(etag) {
            None => Self::new(200, kind, bytes),
            Some((from, _)) if from >= total => {
                Self::empty(416).with("Content-Range", &format!("bytes */{total}"))
            }
            Some((from, to)) => {
                let part = Range { start: from, end: to.map_or(total, |to| total.min(to.saturating_add(1))) };
                let says = format!("bytes {}-{}/{total}", part.start, part.end - 1);
                Self::new(206, kind, &bytes[part]).with("Content-Range", &says)
            }
        };
        reply.with("ETag", etag).with("Accept-Ranges", "bytes")
    }

    /// The same with one more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(it, _)| !it.eq_ignore_ascii_case(name));
        self
    }

    /// The same with one byte in the middle wrong.
    pub fn flipped(mut self) -> Self {
        let middle = self.body.len() / 2;
        if let Some(byte) = self.body.get_mut(middle) {
            *byte ^= 1;
        }
        self
    }

    /// The same with a lie about the file's size. A redirect's own length is not the file's.
    pub fn claiming(mut self, size: u64, head: bool) -> Self {
        for (name, value) in &mut self.headers {
            if head && name.eq_ignore_ascii_case("x-linked-size") {
                *value = size.to_string();
            }
        }
        if (300..400).contains(&self.status) { self } else { self.with("Content-Length", &size.to_string()) }
    }

    /// The first line and the headers.
    pub fn head(&self, close: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if header(&self.headers, "content-length").is_none() {
            write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        head.push_str(if close { "Connection: close\r\n\r\n" } else { "Connection: keep-alive\r\n\r\n" });
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unspecified",
    }
}
