//! The arguments of `watch`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::check::ChecksArgs;

/// What `--help` says below the options.
const MORE_HELP: &str = "\
A checkpoint is checked once it has not changed for the time between two looks. What cannot be opened is called broken when the \
job has written a later one, has ended, or has left it as it is for two minutes; then it fails as `open`. A checkpoint that is \
written anew is checked again.

The history has a JSON object a line: schema_version, step, path, modified (milliseconds since 1970) and bytes of the checkpoint, \
verdict, numbers (loss, repeat_gain, induction, previous, duplicate, attention_score), findings (check, verdict, where, value, \
usual, text), model and settings; of two lines about one checkpoint the later holds. The same command goes on where it was \
stopped or killed.

COMMAND runs through the shell when a checkpoint fails that did not fail in the same way before, and is waited for. It finds \
ATTNSCOPE_STEP, ATTNSCOPE_CHECKPOINT (its path), ATTNSCOPE_VERDICT, ATTNSCOPE_FINDINGS (what is new and fails, a line each) and \
ATTNSCOPE_HISTORY.

Exit codes: 0 ended and no checkpoint of the history fails, 1 one fails, 2 nothing could be checked or written, 130 interrupted.";

/// Arguments of `watch`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_long_help = MORE_HELP)]
pub struct WatchArgs {
    /// Folder that the job writes its checkpoints into (step-100, checkpoint-500); it may not be there yet
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// File to append a line of JSON to for each checkpoint [default: DIR.watch.jsonl]
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Command to run when a checkpoint fails, through the shell
    #[arg(long, value_name = "COMMAND")]
    pub on_fail: Option<String>,
    /// Check only checkpoints that are so many steps or more apart, and the last
    #[arg(long, value_name = "STEPS", default_value_t = 1)]
    pub every: u64,
    /// Check what is there, and end
    #[arg(long, conflicts_with_all = ["until_pid", "until_step", "idle_exit"])]
    pub once: bool,
    /// End when this process has ended, after what it has left
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub until_pid: Option<i32>,
    /// End when a checkpoint of this step or a later one has been checked
    #[arg(long, value_name = "STEP")]
    pub until_step: Option<u64>,
    /// End when nothing new has come for so long
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    pub idle_exit: Option<Duration>,
    /// Time between two looks at the folder
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub interval: Duration,
    /// What is checked, and what is expected.
    #[command(flatten)]
    pub checks: ChecksArgs,
    /// Check this checkpoint alone and print its line, as the process does that is started for each.
    #[arg(long, value_name = "CHECKPOINT", hide = true)]
    pub one: Option<String>,
}

fn minutes(text: &str) -> Result<Duration, String> {
    seconds(text).map(|time| time * 60)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.trim().parse().ok().filter(|&time: &f64| time > 0.0 && time < 1e7);
    time.map(Duration::from_secs_f64).ok_or_else(|| format!("`{text}` is no time: give a number above 0"))
}
