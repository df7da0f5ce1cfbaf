//! `watch`: checks each new checkpoint of a running job, and keeps a history.
//!
//! Each is checked in a process of its own: what a checkpoint that is damaged or still written to does to it ends that process
//! alone, and memory, a GPU's too, belongs to the job again in between.

mod display;
mod job;

use std::{
    env, fs,
    io::stderr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use self::{display::Display, job::Job};
use super::{
    checks::{self, Checks},
    open,
};
use crate::{
    analysis::check::{Verdict, gravest_first},
    checkpoint::snapshot::{self, Snapshot, is_checkpoint},
    cli::{Common, watch::WatchArgs},
    memory,
    report::{check::Settings, watch},
    run::{self, Checked, Found, History, Next, Seen, Stamp, Watched},
    term::signals,
    text::{bounded, count, line},
};

/// New findings that `--on-fail` is told of.
const TOLD: usize = 100;

/// Runs the command: the exit code says whether a checkpoint fails.
pub fn run(args: &WatchArgs, common: &Common) -> Result<ExitCode> {
    let common = &common.reading(&args.checks.reading);
    let checks = Checks::new(&args.checks)?;
    if let Some(model) = &args.one {
        return one(model, &checks, common);
    }
    let told = args.folder.display();
    if args.folder.is_file() {
        bail!("{told} is a file: give the folder that the job writes its checkpoints into");
    }
    let watched = Watched::new(&args.folder, args.interval, args.every);
    if !watched.has_any() && is_checkpoint(&args.folder) {
        bail!("{told} is one checkpoint and no folder of several: attnscope check {told}");
    }
    if !watched.has_any() && args.once {
        bail!("{told} holds no checkpoints (folders named step* or checkpoint-*)");
    }
    let job = args.until_pid.map(Job::of);
    let (history, mended) = History::open(&beside(args))?;
    let mut watch = Watch {
        args,
        watched,
        history,
        settings: checks.settings(),
        display: Display::new(common),
        is_stuck: false,
    };
    if let Some(mended) = mended {
        watch.display.trouble(&mended);
    }
    watch.follow(job.as_ref())?;
    watch.end()
}

/// Where the history is: beside the run, so that it stays where the run is removed.
fn beside(args: &WatchArgs) -> PathBuf {
    args.history.clone().unwrap_or_else(|| {
        let folder = fs::canonicalize(&args.folder).unwrap_or_else(|_| args.folder.clone());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What was given is shorter than what it leads to.
        let beside = args.folder.parent().filter(|_| args.folder.file_name() == folder.file_name());
        beside.or(folder.parent()).unwrap_or(Path::new("")).join(name + ".watch.jsonl")
    })
}

/// Checks one checkpoint and prints its line: what the process does that is started for each.
fn one(model: &str, checks: &Checks, common: &Common) -> Result<ExitCode> {
    signals::end_with_parent();
    memory::keep_freed();
    let name = model.trim_end_matches('/').rsplit(['/', '@']).next().unwrap_or_default();
    let step = snapshot::step(name);
    let stamp = run::stamp(&Snapshot { model: model.to_owned(), step: step.unwrap_or_default() });
    let quiet = &Common { quiet: true, ..common.clone() };
    let opened = open::silently(model, quiet)?;
    let settings = checks.settings();
    let mut findings = checks.make(&opened, quiet)?;
    gravest_first(&mut findings);
    let checked = Checked::new(model, step, stamp, &findings);
    super::print(&watch::line(&checked, Some(&opened.info), &settings)?)?;
    Ok(ExitCode::SUCCESS)
}

/// A run that is watched.
struct Watch<'a> {
    args: &'a WatchArgs,
    watched: Watched,
    history: History,
    settings: Settings,
    display: Display,
    /// The history could not be written when that was last tried.
    is_stuck: bool,
}

impl Watch<'_> {
    /// Checks what comes, until the end that was asked for.
    fn follow(&mut self, job: Option<&Job>) -> Result<()> {
        let (mut last_news, mut has_waited, mut is_over) = (Instant::now(), false, false);
        loop {
            let seen = self.watched.look(&self.history);
            self.tell(seen);
            if seen != Seen::Same {
                last_news = Instant::now();
            }
            if self.history.waiting() > 0 {
                self.write();
            }
            if let Some(next) = self.watched.next(&self.history, is_over) {
                let step = next.snapshot.step;
                let is_settled = self.check(next)?;
                last_news = Instant::now();
                if is_settled && self.args.until_step.is_some_and(|last| step >= last) {
                    return Ok(());
                }
                if is_settled {
                    continue;
                }
            } else {
                let reached = |last| self.history.checked().iter().any(|one| one.step >= Some(last));
                if is_over || self.args.until_step.is_some_and(reached) {
                    return Ok(());
                }
                let is_idle = self.args.idle_exit.is_some_and(|most| last_news.elapsed() >= most);
                if job.is_some_and(Job::is_over) || is_idle {
                    // What was written last is still to be looked at.
                    is_over = true;
                    continue;
                }
                if self.args.once && (has_waited || self.watched.unfinished(&self.history).is_empty()) {
                    self.leave();
                    return Ok(());
                }
            }
            let last = self.watched.run().snapshots.last();
            let waiting = last.map_or("waiting for checkpoints".to_owned(), |last| {
                format!("waiting for what comes after step {}", last.step)
            });
            self.display.status(&self.history, waiting);
            thread::sleep(self.args.interval);
            has_waited = true;
        }
    }

    /// Says whether the folder came, went, or holds nothing.
    fn tell(&mut self, seen: Seen) {
        let told = line(&self.args.folder.display().to_string());
        match seen {
            Seen::Gone if self.args.folder.is_dir() => {
                self.display.note(&format!("{told} holds no checkpoints: waiting for them"));
            }
            Seen::Gone => self.display.trouble(&format!("{told} is not there: waiting for it")),
            Seen::Back => self.display.note(&format!("{told} is there now")),
            Seen::New | Seen::Same => {}
        }
    }

    /// Checks a snapshot; false where it was written to meanwhile, so that it has to settle first.
    fn check(&mut self, next: Next) -> Result<bool> {
        let Next { snapshot, is_last_try } = next;
        let before = run::stamp(&snapshot);
        self.display.status(&self.history, format!("checking step {}", snapshot.step));
        let result = apart(&snapshot.model)?;
        let stamp = run::stamp(&snapshot);
        if stamp != before {
            return Ok(false);
        }
        match result {
            Ok(text) => self.keep(snapshot, stamp, &text)?,
            Err(reason) if is_last_try => {
                let broken = Checked::unreadable(&snapshot, stamp, &reason);
                let text = watch::line(&broken, None, &self.settings)?;
                self.keep(snapshot, stamp, &text)?;
            }
            Err(reason) => self.watched.unreadable(snapshot, stamp, reason),
        }
        Ok(true)
    }

    /// Keeps what was found of a snapshot, shows it, and runs the command where something new fails.
    fn keep(&mut self, snapshot: Snapshot, stamp: Stamp, text: &str) -> Result<()> {
        let former = self.history.before(snapshot.step).cloned();
        self.history.append(text).context("the check of a checkpoint has printed no report")?;
        self.write();
        self.watched.checked(snapshot, stamp);
        let Some(checked) = self.history.checked().last() else { return Ok(()) };
        let news = checked.news(former.as_ref());
        self.display.checked(checked, &news);
        let fails: Vec<&Found> = news.into_iter().filter(|found| found.verdict == Verdict::Fail).collect();
        if let (Some(command), false) = (&self.args.on_fail, fails.is_empty()) {
            let result = self.display.suspend(|| on_fail(command, checked, &fails, self.history.path()));
            if let Err(error) = result {
                self.display
                    .trouble(&format!("--on-fail at step {}: {error:#}", checked.step.unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Writes what the history waits to write; says so once where it cannot, and once where it can again.
    fn write(&mut self) {
        let told = line(&self.history.path().display().to_string());
        match self.history.write() {
            Ok(()) if std::mem::take(&mut self.is_stuck) => {
                self.display.trouble(&format!("{told} is written again, and holds every line"));
            }
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    let lines = count(self.history.waiting(), "line");
                    self.display
                        .trouble(&format!("{told} cannot be written: {error}; {lines} kept until it can"));
                }
            }
        }
    }

    /// Says of what cannot be checked yet that it is left.
    fn leave(&mut self) {
        for (snapshot, reason) in self.watched.unfinished(&self.history) {
            let why = reason.map_or("it is still written to".to_owned(), |reason| {
                format!("it cannot be checked yet: {reason}")
            });
            self.display.trouble(&format!("step {} is left for the next time: {why}", snapshot.step));
        }
    }

    /// The end: what there was, and the exit code.
    fn end(mut self) -> Result<ExitCode> {
        if self.history.waiting() > 0 {
            self.write();
        }
        let told = line(&self.history.path().display().to_string());
        let (folder, all) = (line(&self.args.folder.display().to_string()), self.history.curve());
        let fails = all.iter().filter(|one| one.verdict == Verdict::Fail).count();
        let summary = format!("{}, {fails} of them fail: {told}", count(all.len(), "checkpoint"));
        self.display.end(&self.history, &summary);
        match self.history.waiting() {
            0 => {}
            lines => bail!(
                "{} could not be written to {told}: make room, and the same command checks these checkpoints again",
                count(lines, "line")
            ),
        }
        if self.history.checked().is_empty() {
            bail!("no checkpoint was checked: {folder} holds none (folders named step* or checkpoint-*)");
        }
        Ok(if fails > 0 { checks::code(Verdict::Fail) } else { ExitCode::SUCCESS })
    }
}

/// Checks a snapshot in a process of its own, started as this one was: its line, or in a line why there is none.
///
/// # Errors
/// When no process can be started.
fn apart(model: &str) -> Result<Result<String, String>> {
    // The program may have been replaced since it was started.
    let program = Path::new("/proc/self/exe");
    let program = if program.exists() { program.to_path_buf() } else { env::current_exe()? };
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).arg(format!("--one={model}")).stdin(Stdio::null());
    let output = command.output().context("a check is a process of its own, which cannot be started")?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().rev().find(|text| !text.trim().is_empty());
    let reason = reason
        .map_or_else(|| output.status.to_string(), |text| text.trim_start_matches("attnscope: ").to_owned());
    Ok(Err(line(&bounded(&reason))))
}

/// Runs the command of `--on-fail` to its end.
fn on_fail(command: &str, checked: &Checked, fails: &[&Found], history: &Path) -> Result<()> {
    let findings: Vec<String> = fails.iter().take(TOLD).map(|found| watch::finding(found)).collect();
    let status = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(stderr())
        .env("ATTNSCOPE_STEP", checked.step.map_or_else(String::new, |step| step.to_string()))
        .env("ATTNSCOPE_CHECKPOINT", &checked.path)
        .env("ATTNSCOPE_VERDICT", checked.verdict.name())
        .env("ATTNSCOPE_FINDINGS", findings.join("\n"))
        .env("ATTNSCOPE_HISTORY", history)
        .status()
        .context("it cannot be started")?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(())
}
