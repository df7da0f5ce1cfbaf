//! What is typed, as the app's own keys.

use std::{io, thread};

use crossbeam_channel::{Receiver, unbounded};
use crossterm::event::{self, Event, KeyCode as Code, KeyEvent, KeyEventKind, KeyModifiers};

use crate::app::{
    Msg,
    key::{Key, KeyCode},
};

/// Starts the thread that reads the terminal. It sleeps until something is typed, and ends, closing the channel, when the
/// terminal cannot be read any more.
pub fn read() -> io::Result<Receiver<Msg>> {
    let (sender, receiver) = unbounded();
    thread::Builder::new().name("input".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(message) = message(event)
                && sender.send(message).is_err()
            {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// The app's message for an event; `None` for what it does not care about.
fn message(event: Event) -> Option<Msg> {
    match event {
        Event::Key(event) if event.kind != KeyEventKind::Release => key(event).map(Msg::Key),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(width, height) => Some(Msg::Resize(width, height)),
        _ => None,
    }
}

/// The app's key for a key event; `None` for a key that it has no name for.
fn key(event: KeyEvent) -> Option<Key> {
    let held = |modifier| event.modifiers.contains(modifier);
    let shift = held(KeyModifiers::SHIFT) || event.code == Code::BackTab;
    let code = match event.code {
        Code::Char(letter) if shift => KeyCode::Char(letter.to_uppercase().next().unwrap_or(letter)),
        Code::Char(letter) => KeyCode::Char(letter),
        Code::Tab | Code::BackTab => KeyCode::Tab,
        Code::Enter => KeyCode::Enter,
        Code::Esc => KeyCode::Esc,
        Code::Backspace => KeyCode::Backspace,
        Code::Delete => KeyCode::Delete,
        Code::Insert => KeyCode::Insert,
        Code::Left => KeyCode::Left,
        Code::Right => KeyCode::Right,
        Code::Up => KeyCode::Up,
        Code::Down => KeyCode::Down,
        Code::Home => KeyCode::Home,
        Code::End => KeyCode::End,
        Code::PageUp => KeyCode::PageUp,
        Code::PageDown => KeyCode::PageDown,
        Code::F(number) => KeyCode::F(number),
        _ => return None,
    };
    Some(Key::new(code, held(KeyModifiers::CONTROL), held(KeyModifiers::ALT), shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_modifiers_and_releases_are_dropped() {
        let pressed = |code, modifiers| key(KeyEvent::new(code, modifiers)).unwrap().to_string();
        assert_eq!(pressed(Code::Char('c'), KeyModifiers::CONTROL), "<C-c>");
        assert_eq!(pressed(Code::Char('g'), KeyModifiers::SHIFT), "G");
        assert_eq!(pressed(Code::BackTab, KeyModifiers::NONE), "<S-Tab>");
        assert_eq!(pressed(Code::Right, KeyModifiers::NONE), "<Right>");
        let press = KeyEvent::new(Code::Char('q'), KeyModifiers::NONE);
        assert!(message(Event::Key(press)).is_some());
        assert!(message(Event::Key(KeyEvent { kind: KeyEventKind::Release, ..press })).is_none());
        assert!(message(Event::FocusGained).is_none());
    }
}
