//! The worker that owns the model: requests in, events out, long work given up when it is no longer wanted.

mod broken;
mod circuits;
mod compare;
pub mod open;
pub mod protocol;
mod ranking;
mod session;
mod training;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};

use self::{
    circuits::Circuits,
    compare::Comparing,
    open::{Model, OpenRequest},
    protocol::{Download, Event, Progress, Request},
    ranking::Ranking,
    session::Session,
    training::Training,
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
        let worker = Worker {
            inbox,
            outbox,
            mailbox: mailbox.clone(),
            taken: 0,
            waiting: std::collections::VecDeque::new(),
            ranking: None,
            circuits: Circuits::default(),
            training: Training::default(),
            comparing: Comparing::default(),
        };
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
    waiting: std::collections::VecDeque<Request>,
    ranking: Option<Ranking>,
    circuits: Circuits,
    training: Training,
    comparing: Comparing,
}

impl Worker {
    fn run(mut self, open: OpenRequest) {
        let outbox = self.outbox.clone();
        let answers = Cell::new(0);
        let opened = guarded(|| Model::open(&open, &Opening { worker: &self, answers: &answers }));
        self.taken += answers.get();
        let model = match opened {
            Ok(model) => {
                model.remarks().into_iter().for_each(|remark| {
                    let _ = outbox.send(Event::Note(remark));
                });
                Arc::new(model)
            }
            Err(error) => {
                let _ = outbox.send(Event::Fatal { message: told(&error) });
                return;
            }
        };
        let _ = outbox.send(Event::Opened(Arc::new(model.info.clone())));
        self.training.opened(open.model.as_deref(), &model.info);
        let _ = outbox.send(self.training.event());
        let mut session = Session::new(model, outbox.clone());
        while self.fetch() {
            if let Some(request) = self.waiting.pop_front() {
                self.serve(&mut session, &open, request);
                continue;
            }
            let mailbox = self.mailbox.clone();
            let taken = self.taken;
            let cancelled = || mailbox.stop.load(Relaxed) || mailbox.sent.load(Relaxed) != taken;
            // What a screen waits for goes before the ranking.
            if self.circuits.is_working() {
                let circuits = &mut self.circuits;
                if let Err(error) = guarded(|| circuits.step(&session, &cancelled))
                    && !is_interrupted(&error)
                {
                    circuits.fail(&session, &error);
                }
            } else if self.comparing.is_working() {
                self.comparing.step(&session, &self.training, &open, &cancelled);
            } else if let Some(mut ranking) = self.ranking.take() {
                match guarded(|| ranking.step(&session, &cancelled)) {
                    Ok(()) if ranking.is_done() => {}
                    Ok(()) => self.ranking = Some(ranking),
                    Err(error) if is_interrupted(&error) => self.ranking = Some(ranking),
                    Err(error) => session.fail(&error),
                }
            } else {
                self.follow_run(&open);
            }
        }
    }

    /// Measures the next snapshot of the run, or looks whether there are new ones.
    fn follow_run(&mut self, open: &OpenRequest) {
        let (mailbox, taken) = (self.mailbox.clone(), self.taken);
        let cancelled = || mailbox.stop.load(Relaxed) || mailbox.sent.load(Relaxed) != taken;
        let changed = match self.training.is_measuring() {
            true => self.training.measure(open, &cancelled),
            false => self.training.is_watched() && self.training.look(),
        };
        if changed {
            let _ = self.outbox.send(self.training.event());
        }
    }

    /// Takes every request that has come, waiting for one when there is nothing to do. False: the engine is to end.
    fn fetch(&mut self) -> bool {
        if self.waiting.is_empty()
            && self.ranking.is_none()
            && !self.circuits.is_working()
            && !self.comparing.is_working()
            && !self.training.is_measuring()
        {
            // A run that is watched is looked at again after a while.
            let request = match self.training.is_watched() {
                true => self.inbox.recv_timeout(training::PAUSE),
                false => self.inbox.recv().map_err(RecvTimeoutError::from),
            };
            match request {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => {}
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
            | Request::Watch(_)
            | Request::Measure(_)
            | Request::Compare(_)
            | Request::Answer(_) => {}
            // What a look would show is no longer on the screen.
            _ => self.waiting.retain(|waiting| !matches!(waiting, Request::Look { .. })),
        }
        self.waiting.push_back(request);
    }

    fn serve(&mut self, session: &mut Session, open: &OpenRequest, request: Request) {
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
            Request::Open { model } => {
                // What an adapter is merged into, and whose tokenizer, are those of the run, not of another model.
                let request = match self.training.has(model.as_deref()) {
                    true => OpenRequest { model, ..beside(open) },
                    false => OpenRequest { model, base: None, tokenizer: None, ..beside(open) },
                };
                let watcher = Reopening { session, cancelled: &elsewhere };
                let model = Arc::new(Model::open(&request, &watcher)?);
                model.remarks().into_iter().for_each(|remark| session.tell(Event::Note(remark)));
                self.ranking = None;
                self.circuits = Circuits::default();
                session.tell(Event::Opened(Arc::new(model.info.clone())));
                self.training.opened(request.model.as_deref(), &model.info);
                session.tell(self.training.event());
                *session = Session::new(model, self.outbox.clone());
                Ok(())
            }
            Request::Prompt { epoch, input, bos } => session.prompt(epoch, &input, bos, &patient),
            Request::Append { epoch, token } => session.append(epoch, token, &patient),
            Request::Truncate { epoch, length } => session.truncate(epoch, length, &patient),
            Request::Ablate { epoch, heads } => session.ablate(epoch, heads, &patient),
            Request::Look { epoch, look } => session.look(epoch, look, &hasty),
            Request::Rank(settings) => {
                self.ranking = Some(Ranking::new(session, settings)?);
                Ok(())
            }
            Request::StopRanking => {
                self.ranking = None;
                session.tell(Event::RankingStopped);
                Ok(())
            }
            Request::Circuits(ask) => {
                self.circuits.ask(ask);
                Ok(())
            }
            Request::StopCircuits => {
                self.circuits.stop(session);
                Ok(())
            }
            Request::Watch(watch) => {
                self.training.watch(watch);
                session.tell(self.training.event());
                Ok(())
            }
            Request::Measure(all) => {
                self.training.measure_all(all);
                session.tell(self.training.event());
                Ok(())
            }
            Request::Compare(pair) => {
                self.comparing.ask(pair);
                Ok(())
            }
            // Whoever asked has gone on.
            Request::Answer(_) => Ok(()),
        });
        match result {
            // It gave way to something else; unless that makes it pointless, it goes on afterwards.
            Err(error) if is_interrupted(&error) => self.waiting.extend(look),
            Err(error) => session.fail(&error),
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
    session: &'a Session,
    cancelled: &'a dyn Fn() -> bool,
}

impl Watcher for Reopening<'_> {
    fn progress(&self, progress: Progress) -> bool {
        self.session.tell(Event::Progress(progress));
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
