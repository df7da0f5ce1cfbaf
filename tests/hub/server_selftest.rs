//! The test server for downloads speaks the Hub's protocol, over raw sockets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use crate::hub_server::{Fault, Hub, On, Origin, Repository, git_blob, sha256};

const CONFIG: &[u8] = b"{\"model_type\": \"gpt2\"}";
const WEIGHTS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const INFO: &str = "/api/models/org/tiny";
const RESOLVE: &str = "/org/tiny/resolve/main";

/// The repository that most tests look at.
fn tiny() -> Repository {
    Repository::new("org/tiny")
        .file("config.json", CONFIG)
        .file("onnx/a b/config.json", "{}")
        .lfs("model.safetensors", WEIGHTS)
        .lfs("onnx/model.onnx", "onnx")
        .tag("v1.0")
        .commit("step/1000")
        .lfs("model.safetensors", "trained")
}

fn hub() -> Hub {
    Hub::start(vec![tiny()])
}

/// A connection.
struct Client {
    reader: BufReader<TcpStream>,
}

/// What came back: of the body as much as did.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn refusal(&self) -> (u16, Option<&str>, &str) {
        (self.status, self.find("X-Error-Code"), self.header("X-Error-Message"))
    }
}

impl Client {
    fn to(origin: &str) -> Self {
        let address = origin.strip_prefix("http://").unwrap();
        Self { reader: BufReader::new(TcpStream::connect(address).unwrap()) }
    }

    fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, target, headers);
        self.answer(method == "HEAD").expect("an answer")
    }

    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: here\r\n{lines}\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// An answer, unless the connection ends before it does. Its headers and as much of the body as comes.
    fn answer(&mut self, head: bool) -> Option<Answer> {
        let (status, headers) = self.start()?;
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = if head { 0 } else { answer.header("Content-Length").parse().unwrap() };
        self.reader.by_ref().take(length).read_to_end(&mut answer.body).unwrap();
        Some(answer)
    }

    fn start(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let first = self.line().filter(|line| !line.is_empty())?;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = std::iter::from_fn(|| {
            let (name, value) = self.line()?.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()))?;
            Some((name, value))
        });
        Some((status, headers.collect()))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    /// Whether the server has closed the connection, all that it sent being read.
    fn ended(&mut self) -> bool {
        self.reader.fill_buf().map_or(true, <[u8]>::is_empty)
    }
}

/// One request on a connection of its own.
fn ask(origin: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    Client::to(origin).ask(method, target, headers)
}

fn get(hub: &Hub, target: &str) -> Answer {
    ask(&hub.endpoint(), "GET", target, &[])
}

fn get_as(hub: &Hub, token: &str, target: &str) -> Answer {
    ask(&hub.endpoint(), "GET", target, &[("authorization", &format!("Bearer {token}"))])
}

/// The signed link to the weights, without the origin.
fn signed(hub: &Hub) -> String {
    let answer = get(hub, &format!("{RESOLVE}/model.safetensors"));
    answer.header("Location").strip_prefix(&hub.cdn()).unwrap().to_owned()
}

fn range(hub: &Hub, target: &str, range: &str) -> Answer {
    ask(&hub.cdn(), "GET", target, &[("Range", range)])
}

#[test]
fn a_repository_is_described_at_a_branch_a_tag_or_a_commit() {
    let (hub, tiny) = (hub(), tiny());
    let mut client = Client::to(&hub.endpoint());
    let info = client.ask("GET", INFO, &[]).json();
    assert_eq!(info["id"], "org/tiny");
    assert_eq!(info["sha"], tiny.sha("main"));
    assert_eq!(info["gated"], false);
    assert_eq!(info["siblings"][0]["rfilename"], "config.json");

    // All of these on one connection.
    let mut sha_at =
        |revision: &str| client.ask("GET", &format!("{INFO}/revision/{revision}"), &[]).json()["sha"].clone();
    assert_eq!(sha_at("v1.0"), tiny.sha("main"));
    assert_eq!(sha_at("step%2F1000"), tiny.sha("step/1000"));
    assert_eq!(sha_at(&tiny.sha("step/1000")), tiny.sha("step/1000"));
    assert_ne!(tiny.sha("step/1000"), tiny.sha("main"));

    let seen = hub.requests();
    assert_eq!(seen[2].path, "/api/models/org/tiny/revision/step/1000");
    assert_eq!((seen[2].origin, seen[2].status, seen[2].header("HOST")), (Origin::Hub, 200, Some("here")));
    hub.forget();
    assert!(hub.requests().is_empty());
}

#[test]
fn a_revision_that_is_not_there_is_named() {
    let hub = hub();
    for target in [format!("{INFO}/revision/nope"), format!("{INFO}/tree/nope")] {
        let answer = get(&hub, &target);
        assert_eq!(answer.refusal(), (404, Some("RevisionNotFound"), "Invalid rev id: nope"));
        assert_eq!(answer.json()["error"], "Invalid rev id: nope");
    }
    let answer = get(&hub, "/org/tiny/resolve/nope/config.json");
    assert_eq!(answer.find("X-Error-Code"), Some("RevisionNotFound"));
}

#[test]
fn a_tree_comes_page_by_page() {
    let hub = hub();
    let first = get(&hub, &format!("{INFO}/tree/main?recursive=true&expand=false"));
    let (url, rel) = first.header("Link").split_once(">; ").unwrap();
    assert_eq!(rel, "rel=\"next\"");
    let second = get(&hub, url.strip_prefix(&format!("<{}", hub.endpoint())).unwrap());
    assert_eq!(second.find("Link"), None);

    let pages = [first.json(), second.json()];
    let entries: Vec<&Value> = pages.iter().flat_map(|page| page.as_array().unwrap()).collect();
    let paths: Vec<&str> = entries.iter().map(|it| it["path"].as_str().unwrap()).collect();
    let expected =
        ["config.json", "model.safetensors", "onnx", "onnx/a b", "onnx/a b/config.json", "onnx/model.onnx"];
    assert_eq!(paths, expected);
    assert_eq!(entries[0]["oid"], git_blob(CONFIG));
    assert_eq!(entries[0].get("lfs"), None);
    assert_eq!(entries[1]["lfs"]["oid"], sha256(WEIGHTS));
    assert_eq!(entries[1]["size"], WEIGHTS.len());
    assert_eq!(entries[2]["type"], "directory");

    let top = get(&hub, &format!("{INFO}/tree/main")).json();
    assert_eq!(top.as_array().unwrap().len(), 3);
}

#[test]
fn hashes_are_those_of_git() {
    assert_eq!(git_blob(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_eq!(git_blob(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn branches_and_tags_are_listed() {
    let (hub, tiny) = (hub(), tiny());
    let refs = get(&hub, &format!("{INFO}/refs")).json();
    assert_eq!(refs["branches"][1]["name"], "step/1000");
    assert_eq!(refs["branches"][1]["ref"], "refs/heads/step/1000");
    assert_eq!(refs["branches"][1]["targetCommit"], tiny.sha("step/1000"));
    assert_eq!(refs["tags"][0]["ref"], "refs/tags/v1.0");
    assert_eq!(refs["tags"][0]["targetCommit"], tiny.sha("main"));
}

#[test]
fn a_regular_file_is_elsewhere_on_the_hub() {
    let (hub, commit) = (hub(), tiny().sha("main"));
    let mut client = Client::to(&hub.endpoint());
    let answer = client.ask("HEAD", &format!("{RESOLVE}/onnx/a%20b/config.json"), &[]);
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("X-Repo-Commit"), commit);
    assert_eq!(answer.header("ETag"), format!("\"{}\"", git_blob(b"{}")));
    let location = answer.header("Location").to_owned();
    let path = format!("/api/resolve-cache/models/org/tiny/{commit}/onnx/a%20b/config.json?");
    assert!(location.starts_with(&path), "{location}");

    let head = client.ask("HEAD", &location, &[]);
    assert_eq!((head.status, head.header("Content-Length")), (200, "2"));
    let whole = client.ask("GET", &location, &[]);
    assert_eq!((whole.status, &whole.body[..]), (200, &b"{}"[..]));
    assert_eq!(whole.header("ETag"), format!("\"{}\"", git_blob(b"{}")));
    let part = client.ask("GET", &location, &[("Range", "bytes=1-")]);
    assert_eq!((part.status, &part.body[..], part.header("Content-Range")), (206, &b"}"[..], "bytes 1-1/2"));

    let missing = client.ask("HEAD", &format!("{RESOLVE}/nope.json"), &[]);
    assert_eq!(missing.refusal(), (404, Some("EntryNotFound"), "Entry not found"));
    assert_eq!(missing.header("X-Repo-Commit"), commit);
}

#[test]
fn an_lfs_file_is_at_the_cdn_under_a_signed_link() {
    let hub = hub();
    let head = ask(&hub.endpoint(), "HEAD", &format!("{RESOLVE}/model.safetensors"), &[]);
    assert_eq!(head.status, 302);
    assert_eq!(head.header("X-Linked-Etag"), format!("\"{}\"", sha256(WEIGHTS)));
    assert_eq!(head.header("X-Linked-Size"), WEIGHTS.len().to_string());
    assert_eq!(head.header("X-Repo-Commit"), tiny().sha("main"));
    assert!(head.header("ETag").starts_with("W/\""));

    let target = signed(&hub);
    let whole = ask(&hub.cdn(), "GET", &target, &[]);
    assert_eq!((whole.status, &whole.body[..]), (200, WEIGHTS));
    assert!(whole.headers.iter().all(|(name, _)| !name.starts_with("X-")));
    let part = range(&hub, &target, "bytes=30-99");
    assert_eq!((part.status, &part.body[..]), (206, &b"uvwxyz"[..]));
    assert_eq!(part.header("Content-Range"), "bytes 30-35/36");
    assert_eq!(range(&hub, &target, "bytes=2-4").body, b"234");

    let past = range(&hub, &target, "bytes=36-");
    assert_eq!((past.status, past.header("Content-Range")), (416, "bytes */36"));
    let unsigned = target.split_once('?').unwrap().0;
    assert_eq!(ask(&hub.cdn(), "GET", unsigned, &[]).status, 403);
    let forged = target.replacen("X-Signature=", "X-Signature=0", 1);
    assert_eq!(ask(&hub.cdn(), "HEAD", &forged, &[]).status, 403);
}

#[test]
fn an_lfs_file_may_be_at_the_hub() {
    let hub = Hub::start(vec![tiny().direct_lfs()]);
    let mut client = Client::to(&hub.endpoint());
    let answer = client.ask("GET", &format!("{RESOLVE}/model.safetensors"), &[("Range", "bytes=30-")]);
    assert_eq!((answer.status, &answer.body[..]), (206, &b"uvwxyz"[..]));
    assert_eq!(answer.header("X-Linked-Size"), "36");
    assert_eq!(answer.header("X-Linked-Etag"), format!("\"{}\"", sha256(WEIGHTS)));
}

#[test]
fn a_gated_repository_shows_itself_and_keeps_its_files() {
    let hub = Hub::start(vec![tiny().gated()]);
    let file = &format!("{RESOLVE}/config.json");
    assert_eq!(get(&hub, INFO).json()["gated"], "manual");
    assert_eq!(get(&hub, &format!("{INFO}/tree/main")).status, 200);
    let log_in = "Access to model org/tiny is restricted. You must have access to it and be authenticated to \
        access it. Please log in.";
    assert_eq!(get(&hub, file).refusal(), (401, Some("GatedRepo"), log_in));
    let ask_for_it = "Access to model org/tiny is restricted and you are not in the authorized list. Visit \
        https://huggingface.co/org/tiny to ask for access.";
    assert_eq!(get_as(&hub, "hf_other", file).refusal(), (403, Some("GatedRepo"), ask_for_it));
    assert_eq!(get_as(&hub, "hf_accepted", file).status, 307);
}

#[test]
fn what_one_may_not_see_looks_as_if_it_were_not_there() {
    let hub = Hub::start(vec![tiny().private("hf_secret")]);
    for target in [INFO, "/api/models/org/none/refs", "/org/tiny/resolve/main/config.json"] {
        let nobody = (401, Some("RepoNotFound"), "Invalid username or password.");
        assert_eq!(get(&hub, target).refusal(), nobody);
        let stranger = (404, Some("RepoNotFound"), "Repository not found");
        assert_eq!(get_as(&hub, "hf_other", target).refusal(), stranger);
        let expired = (401, None, "Invalid credentials in Authorization header");
        assert_eq!(get_as(&hub, "hf_expired", target).refusal(), expired);
    }
    assert_eq!(get_as(&hub, "hf_secret", INFO).json()["private"], true);
}

#[test]
fn an_old_name_leads_to_the_new_one() {
    let hub = Hub::start(vec![tiny().named_before("old/tiny").named_before("tiny")]);
    for old in ["/old/tiny", "/tiny"] {
        for (before, after) in [("/api/models", "/tree/main?recursive=true"), ("", "/resolve/main/a%20b")] {
            let answer = get(&hub, &format!("{before}{old}{after}"));
            assert_eq!(answer.status, 307);
            assert_eq!(answer.header("Location"), format!("{before}/org/tiny{after}"));
        }
    }
}

#[test]
fn a_body_can_be_cut_short() {
    let hub = hub();
    let target = signed(&hub);
    hub.fault(On::cdn("model.safetensors").get(), Fault::Cut { after: 10 }, 1);
    let mut client = Client::to(&hub.cdn());
    let cut = client.ask("GET", &target, &[]);
    assert_eq!((cut.header("Content-Length"), &cut.body[..]), ("36", &WEIGHTS[..10]));
    assert!(client.ended());
    assert_eq!(range(&hub, &target, "bytes=10-").body, WEIGHTS[10..]);

    // An answer that has no body is missing altogether.
    hub.fault(On::any(INFO), Fault::Cut { after: 0 }, 1);
    let mut client = Client::to(&hub.endpoint());
    client.send("HEAD", INFO, &[]);
    assert!(client.answer(true).is_none());
}

#[test]
fn a_length_can_lie() {
    let hub = hub();
    let target = signed(&hub);
    hub.fault(On::any("model.safetensors"), Fault::Length { say: 99 }, 2);
    let head = ask(&hub.endpoint(), "HEAD", &format!("{RESOLVE}/model.safetensors"), &[]);
    assert_eq!((head.header("X-Linked-Size"), head.header("Content-Length")), ("99", "0"));
    let mut client = Client::to(&hub.cdn());
    let answer = client.ask("GET", &target, &[]);
    assert_eq!((answer.header("Content-Length"), &answer.body[..]), ("99", WEIGHTS));
    assert!(client.ended());
}

#[test]
fn answers_can_be_of_another_kind() {
    let hub = hub();
    let target = signed(&hub);
    let page = |on| hub.fault(on, Fault::Page, 1);
    page(On::hub(INFO));
    let answer = get(&hub, INFO);
    assert_eq!((answer.status, answer.header("Content-Type")), (200, "text/html; charset=utf-8"));
    assert!(answer.body.starts_with(b"<!DOCTYPE html>"));

    let headers = vec![("Retry-After", "1".to_owned())];
    hub.fault(On::hub(INFO), Fault::Status { code: 429, headers, body: "slower".to_owned() }, 2);
    for _ in 0..2 {
        let answer = get(&hub, INFO);
        assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
    }
    hub.fault(On::hub(INFO), Fault::Redirect { to: "http://elsewhere/".to_owned(), code: 308 }, 1);
    assert_eq!(get(&hub, INFO).header("Location"), "http://elsewhere/");
    assert_eq!(get(&hub, INFO).status, 200);

    hub.fault(On::cdn(""), Fault::NoRanges, 1);
    let answer = range(&hub, &target, "bytes=30-");
    assert_eq!((answer.status, &answer.body[..]), (200, WEIGHTS));
    hub.fault(On::cdn(""), Fault::Flip, 1);
    let answer = ask(&hub.cdn(), "GET", &target, &[]);
    assert_eq!(answer.body.iter().zip(WEIGHTS).filter(|(a, b)| a != b).count(), 1);
}

#[test]
fn a_body_waits_at_a_gate() {
    let hub = hub();
    let target = signed(&hub);
    let gate = hub.hold(On::cdn("model.safetensors"), 10);
    let mut client = Client::to(&hub.cdn());
    client.send("GET", &target, &[]);
    gate.wait();
    let mut start = [0; 10];
    client.start().unwrap();
    client.reader.read_exact(&mut start).unwrap();
    assert_eq!(start, WEIGHTS[..10]);
    client.reader.get_ref().set_nonblocking(true).unwrap();
    assert!(client.reader.fill_buf().is_err(), "more came through the gate");
    client.reader.get_ref().set_nonblocking(false).unwrap();
    gate.release();
    let mut rest = [0; 26];
    client.reader.read_exact(&mut rest).unwrap();
    assert_eq!(rest, WEIGHTS[10..]);
    // It stays open, and the connection is as good as before.
    assert_eq!(client.ask("GET", &target, &[]).body, WEIGHTS);
}

#[test]
fn nothing_outlives_the_server() {
    let hub = hub();
    let target = signed(&hub);
    let mut idle = Client::to(&hub.endpoint());
    idle.ask("GET", INFO, &[]);
    hub.fault(On::cdn(""), Fault::Stall { after: 3 }, 1);
    let mut stalled = Client::to(&hub.cdn());
    stalled.send("GET", &target, &[]);
    stalled.start().unwrap();
    stalled.reader.read_exact(&mut [0; 3]).unwrap();
    let gate = hub.hold(On::cdn(""), 5);
    let mut held = Client::to(&hub.cdn());
    held.send("GET", &target, &[]);
    gate.wait();

    drop(hub);
    assert!(idle.ended() && stalled.ended());
    let cut = held.answer(false);
    assert!(cut.is_none_or(|answer| answer.body.len() < WEIGHTS.len()));
}

#[test]
fn nonsense_is_refused_and_the_connection_closed() {
    let hub = hub();
    let mut client = Client::to(&hub.endpoint());
    client.reader.get_mut().write_all(b"nonsense\r\n\r\n").unwrap();
    assert_eq!(client.answer(false).unwrap().status, 400);
    assert!(client.ended());
    let mut client = Client::to(&hub.endpoint());
    assert_eq!(client.ask("GET", INFO, &[("Connection", "close")]).header("Connection"), "close");
    assert!(client.ended());
    assert_eq!(ask(&hub.endpoint(), "POST", INFO, &[("Content-Length", "0")]).status, 405);
    let long = "x".repeat(60_000);
    assert_eq!(ask(&hub.endpoint(), "GET", INFO, &[("X-Long", &long)]).status, 200);
}
