//! The worker that owns the model: requests in, events out, long work given up when it is no longer wanted.

mod against;
mod broken;
pub mod check;
mod checks;
mod circuits;
mod compare;
mod desk;
pub mod edits;
mod following;
mod job;
pub mod open;
pub mod protocol;
mod ranking;
pub mod read_as;
mod run;
mod training;

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};

use self::{
    checks::Checks,
    circuits::Circuits,
    compare::Comparing,
    desk::Desk,
    following::Following,
    job::Queue,
    open::{Model, OpenRequest},
    protocol::{Download, Event, Progress, Request},
    ranking::Rankings,
};
use crate::{
    checkpoint::progress::Watcher,
    error::{Interrupted, is_interrupted, told},
};

/// What tells work under way that something newer waits.
#[derive(Clone, Default)]
struct Mailbox {
    /// The engine is to end.
    stop: Arc<AtomicBool>,
    /// Requests sent so far.
    sent: Arc<AtomicU64>,
    /// Requests sent so far that make every earlier prompt pointless.
    prompts: Arc<AtomicU64>,
    /// Requests sent so far to open another model.
    opens: Arc<AtomicU64>,
}

/// A handle to the engine's thread; dropping it cancels the work and ends the thread.
pub struct Engine {
    /// What the engine answers.
    pub events: Receiver<Event>,
    requests: Option<Sender<Request>>,
    mailbox: Mailbox,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens a model on a thread of its own; the first events tell how that goes.
    pub fn spawn(open: OpenRequest) -> Self {
        let (requests, inbox) = unbounded();
        let (outbox, events) = unbounded();
        let mailbox = Mailbox::default();
        let worker = Worker { inbox, outbox, mailbox: mailbox.clone(), taken: 0, waiting: VecDeque::new() };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run(open));
        Self { events, requests: Some(requests), mailbox, thread: thread.ok() }
    }

    /// Asks for something; requests to an engine that has ended are forgotten.
    pub fn send(&self, request: Request) {
        match request {
            Request::Prompt { .. } => drop(self.mailbox.prompts.fetch_add(1, Relaxed)),
            Request::Open { .. } => drop(self.mailbox.opens.fetch_add(1, Relaxed)),
            _ => {}
        }
        // Counted before it can be taken: the worker compares the two numbers.
        self.mailbox.sent.fetch_add(1, Relaxed);
        if let Some(requests) = &self.requests {
            // An engine that could not open its model has told so and ended.
            let _ = requests.send(request);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.mailbox.stop.store(true, Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic was told as an event already.
            let _ = thread.join();
        }
    }
}

/// The engine's side of the channels.
struct Worker {
    inbox: Receiver<Request>,
    outbox: Sender<Event>,
    mailbox: Mailbox,
    /// Requests taken from the inbox so far.
    taken: u64,
    waiting: VecDeque<Request>,
}

impl Worker {
    fn run(mut self, open: OpenRequest) {
        let outbox = self.outbox.clone();
        let answers = Cell::new(0);
        let opened = guarded(|| Model::open(&open, &Opening { worker: &self, answers: &answers }));
        self.taken += answers.get();
        let model = match opened {
            Ok(model) => model,
            Err(error) => {
                let _ = outbox.send(Event::Fatal { message: told(&error) });
                return;
            }
        };
        let mut desk = Desk::new(open, model, outbox);
        // What a screen waits for goes before the ranking, and that before what is only followed.
        let mut queue = Queue::new(vec![
            Box::new(Circuits::default()),
            Box::new(Comparing::default()),
            Box::new(Rankings::default()),
            Box::new(Checks::default()),
            Box::new(Following),
        ]);
        while self.fetch(&mut queue, &mut desk) {
            match self.waiting.pop_front() {
                Some(request) => self.serve(&mut queue, &mut desk, request),
                None => {
                    let (mailbox, taken) = (self.mailbox.clone(), self.taken);
                    let cancelled = || mailbox.stop.load(Relaxed) || mailbox.sent.load(Relaxed) != taken;
                    queue.step(&mut desk, &cancelled);
                }
            }
        }
    }

    /// Takes every request that has come, waiting for one when there is nothing to do. False: the engine is to end.
    fn fetch(&mut self, queue: &mut Queue, desk: &mut Desk) -> bool {
        if self.waiting.is_empty() && !queue.is_working(desk) {
            let request = match queue.pause(desk) {
                Some(pause) => self.inbox.recv_timeout(pause),
                None => self.inbox.recv().map_err(RecvTimeoutError::from),
            };
            match request {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => queue.look_around(desk),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(request) => self.take(request),
                Err(TryRecvError::Empty) => return !self.mailbox.stop.load(Relaxed),
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Puts a request in the queue, without those that it makes pointless.
    fn take(&mut self, request: Request) {
        self.taken += 1;
        match request {
            Request::Open { .. } => {
                self.waiting.retain(|waiting| {
                    matches!(waiting, Request::Watch(_) | Request::Measure(_) | Request::Compare(_))
                });
            }
            Request::Prompt { .. } => {
                self.waiting.retain(|waiting| {
                    !matches!(
                        waiting,
                        Request::Prompt { .. }
                            | Request::Append { .. }
                            | Request::Truncate { .. }
                            | Request::Ablate { .. }
                            | Request::Look { .. }
                            | Request::Answer(_)
                    )
                });
            }
            Request::Circuits(_) => self.waiting.retain(|waiting| !matches!(waiting, Request::Circuits(_))),
            Request::Rank(_)
            | Request::StopCircuits
            | Request::StopRanking
            | Request::Check(_)
            | Request::StopChecking
            | Request::Watch(_)
            | Request::Measure(_)
            | Request::Compare(_)
            | Request::Answer(_) => {}
            // What a look would show is no longer on the screen.
            _ => self.waiting.retain(|waiting| !matches!(waiting, Request::Look { .. })),
        }
        self.waiting.push_back(request);
    }

    fn serve(&mut self, queue: &mut Queue, desk: &mut Desk, request: Request) {
        let (mailbox, taken) = (self.mailbox.clone(), self.taken);
        let (prompts, opens) = (mailbox.prompts.load(Relaxed), mailbox.opens.load(Relaxed));
        // A prompt goes on unless another one came; what only shows something gives way to anything new.
        let elsewhere = || mailbox.stop.load(Relaxed) || mailbox.opens.load(Relaxed) != opens;
        let patient = || elsewhere() || mailbox.prompts.load(Relaxed) != prompts;
        let hasty = || mailbox.stop.load(Relaxed) || mailbox.sent.load(Relaxed) != taken;
        let look = match &request {
            Request::Look { .. } => Some(request.clone()),
            _ => None,
        };
        let result = guarded(|| match request {
            Request::Open { model: name } => {
                // What an adapter is merged into, and whose tokenizer, are those of the run, not of another model.
                let request = match desk.training.has(name.as_deref()) {
                    true => OpenRequest { model: name, ..beside(&desk.open) },
                    false => OpenRequest {
                        model: name,
                        base: None,
                        tokenizer: None,
                        read_as: Vec::new(),
                        ..beside(&desk.open)
                    },
                };
                let model = Model::open(&request, &Reopening { desk, cancelled: &elsewhere })?;
                queue.reopened();
                desk.replace(request.model.as_deref(), model);
                Ok(())
            }
            Request::Prompt { epoch, input, bos } => desk.prompt(epoch, &input, bos, &patient),
            Request::Append { epoch, token } => desk.append(epoch, token, &patient),
            Request::Truncate { epoch, length } => desk.truncate(epoch, length, &patient),
            Request::Ablate { epoch, heads } => desk.ablate(epoch, heads, &patient),
            Request::Look { epoch, look } => desk.look(epoch, look, &hasty),
            other => queue.take(other, desk),
        });
        match result {
            // It gave way to something else; unless that makes it pointless, it goes on afterwards.
            Err(error) if is_interrupted(&error) => self.waiting.extend(look),
            Err(error) => desk.fail(&error),
            Ok(()) => {}
        }
    }
}

/// The engine while it opens its model: news go out as events, and a question waits for its answer.
struct Opening<'a> {
    worker: &'a Worker,
    /// Requests taken from the inbox meanwhile.
    answers: &'a Cell<u64>,
}

impl Opening<'_> {
    /// Sends an event. False: the engine is to end.
    fn tell(&self, event: Event) -> bool {
        // The app's end may be gone; then `stop` is set.
        let _ = self.worker.outbox.send(event);
        !self.worker.mailbox.stop.load(Relaxed)
    }
}

impl Watcher for Opening<'_> {
    fn progress(&self, progress: Progress) -> bool {
        self.tell(Event::Progress(progress))
    }

    fn download(&self, download: &Download) -> bool {
        self.tell(Event::Download(download.clone()))
    }

    fn ask(&self, question: &str) -> anyhow::Result<Option<bool>> {
        self.tell(Event::Question(question.to_owned()));
        loop {
            let request = self.worker.inbox.recv().map_err(|_| Interrupted)?;
            self.answers.set(self.answers.get() + 1);
            // Nothing else can be asked of a model that is not open.
            if let Request::Answer(answer) = request {
                return Ok(Some(answer));
            }
        }
    }

    fn note(&self, text: &str) {
        self.tell(Event::Note(text.to_owned()));
    }
}

/// The engine while it opens another model: how far it is goes out, and what would have to be asked is refused.
struct Reopening<'a> {
    desk: &'a Desk,
    cancelled: &'a dyn Fn() -> bool,
}

impl Watcher for Reopening<'_> {
    fn progress(&self, progress: Progress) -> bool {
        self.desk.tell(Event::Progress(progress));
        !(self.cancelled)()
    }

    fn download(&self, download: &Download) -> bool {
        let (done, total) = (download.done(), download.total());
        self.progress(Progress { stage: "downloading", done, total, bytes: true })
    }

    fn ask(&self, _: &str) -> anyhow::Result<Option<bool>> {
        Ok(None)
    }

    fn note(&self, _: &str) {}
}

/// The request that opens other models on the device and in the type that this one was asked for.
fn beside(open: &OpenRequest) -> OpenRequest {
    OpenRequest { model: None, file: None, update: false, ..open.clone() }
}

/// Runs `work`, turning a panic into an error: the explorer lives on and says so.
fn guarded<R>(work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown");
        Err(anyhow::anyhow!("internal error: {text}; please report it with the command line"))
    })
}
