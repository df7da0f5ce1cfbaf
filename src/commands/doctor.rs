//! `doctor`: what this machine and this terminal offer, for the user and for bug reports.

use std::{
    fmt::Write,
    fs,
    io::{self, IsTerminal},
    thread,
};

use anyhow::Result;

use crate::{
    cli::{Common, DoctorArgs},
    model::families::FAMILIES,
    report::table::{Align, aligned},
    term::{self, color, env, over_ssh, raw},
    ui::theme::Depth,
};

/// Prints the report, or the families.
pub fn run(args: &DoctorArgs, common: &Common) -> Result<()> {
    if args.families {
        return super::print(&families());
    }
    let colour = color::decide(common.color, env);
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let value: String = value.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let variable = |name: &str| env(name).unwrap_or_else(|| "unset".to_owned());
    let terminal = io::stdout().is_terminal();

    line("version", &format!("attnscope {} ({}, {})", env!("CARGO_PKG_VERSION"), PLATFORM.0, PLATFORM.1));
    line("devices", &devices());
    line("cores", &thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |n| n.to_string()));
    line("memory", &memory());
    line(
        "terminal",
        &match term::size() {
            Some((width, height)) if terminal => format!("{width} x {height}"),
            _ => {
                "standard output is no terminal: rank, show and trace work, the explorer does not".to_owned()
            }
        },
    );
    line("colour", &format!("{}, because {}", depth_name(colour.depth), colour.reason));
    line("TERM", &variable("TERM"));
    line("COLORTERM", &variable("COLORTERM"));
    line("tmux", if env("TMUX").is_some() { "yes: copied text goes through tmux" } else { "no" });
    line("ssh", if over_ssh() { "yes: at most 30 frames a second" } else { "no" });
    line("locale", &locale());
    hub(&mut line);
    line("log", &raw::log_path().map_or_else(|| "none".to_owned(), |path| path.display().to_string()));
    if terminal && colour.depth != Depth::Mono {
        let _ = writeln!(out, "{:<10} {}", "strip", color::strip(colour.depth));
    }
    super::print(&out)
}

/// The hub, its cache, and who asks; the token itself is nobody's business.
#[cfg(feature = "hub")]
fn hub(line: &mut dyn FnMut(&str, &str)) {
    use crate::{checkpoint::hub, memory, text::size};

    let settings = match hub::settings::Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => return line("hub", &format!("cannot be used: {error:#}")),
    };
    let offline = settings.offline.map_or_else(String::new, |name| format!(", but {name} is set: offline"));
    let silence = settings.patience.as_secs();
    line("hub", &format!("{}{offline}; given up after {silence} s of silence", settings.endpoint));
    let proxy =
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find(|name| env(name).is_some());
    line("proxy", &proxy.map_or_else(|| "none".to_owned(), |name| format!("from {name}")));
    let free = memory::free_disk(&settings.cache)
        .map_or_else(String::new, |bytes| format!(", {} free", size(bytes)));
    line("cache", &format!("{}{free}", settings.cache.display()));
    line(
        "token",
        &settings.token.map_or_else(|| "none".to_owned(), |token| format!("from {}", token.origin)),
    );
}

#[cfg(not(feature = "hub"))]
fn hub(line: &mut dyn FnMut(&str, &str)) {
    line("hub", "built without");
}

/// Every family with the names that files call it by and the models that it has.
fn families() -> String {
    let rows = FAMILIES.iter().map(|family| {
        let gguf = family.gguf.map_or("-", |gguf| gguf.name);
        [family.name, gguf, family.models].map(str::to_owned).to_vec()
    });
    let heading = ["model_type", "GGUF", "models"].map(str::to_owned).to_vec();
    aligned(std::iter::once(heading).chain(rows), |_| Align::Left)
        + "\nAll of them as safetensors and as files of PyTorch; those with a name under GGUF in that format too.\n"
}

const PLATFORM: (&str, &str) = (std::env::consts::OS, std::env::consts::ARCH);

/// The devices that this build can compute on.
fn devices() -> String {
    let built = [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))];
    let with = built.iter().filter(|(_, there)| *there).map(|(name, _)| format!(", {name}"));
    let without = built.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect::<Vec<_>>();
    let mut text = format!("cpu{}", with.collect::<String>());
    if !without.is_empty() {
        let _ = write!(text, " (built without {})", without.join(" and "));
    }
    text
}

/// Free memory as the kernel tells it.
fn memory() -> String {
    let Ok(table) = fs::read_to_string("/proc/meminfo") else { return "unknown".to_owned() };
    let gigabytes = |field: &str| {
        let line = table.lines().find(|line| line.starts_with(field))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0 / 1e9)
    };
    match (gigabytes("MemAvailable:"), gigabytes("MemTotal:")) {
        (Some(free), Some(total)) => format!("{free:.1} GB of {total:.1} GB free"),
        _ => "unknown".to_owned(),
    }
}

fn depth_name(depth: Depth) -> &'static str {
    match depth {
        Depth::Truecolor => "truecolor",
        Depth::Indexed => "256 colours",
        Depth::Ansi => "16 colours",
        Depth::Mono => "none",
    }
}

/// The character encoding, by the rules of POSIX.
fn locale() -> String {
    let Some(name) = env("LC_ALL").or_else(|| env("LC_CTYPE")).or_else(|| env("LANG")) else {
        return "unset: shades and frames need UTF-8, set LANG to C.UTF-8".to_owned();
    };
    if name.to_lowercase().replace('-', "").contains("utf8") {
        name
    } else {
        format!("{name}: shades and frames need UTF-8, set LANG to C.UTF-8")
    }
}
