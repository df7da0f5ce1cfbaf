//! Follows a pickle without executing any of it: a call stays the name of what it would call and its arguments.
//!
//! This is our own, and not candle's, because files come from strangers: values refer to each other by number, so none of
//! them is copied, and a file can neither make them larger than itself nor nest them deeper than the stack is.

use std::{collections::HashMap, str::from_utf8};

use anyhow::{Context, Result};

/// Most bytes of a pickle: those of the largest models have a few million.
pub const LONGEST: usize = 64 << 20;

/// Number of a value.
pub type Id = usize;

/// Module and name of a class or function.
pub type Class<'a> = (&'a str, &'a str);

/// What a pickle puts together, as far as tensors are made of it.
enum Value<'a> {
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
    Text(&'a str),
    Class(Class<'a>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Call(Id, Id),
    /// What lies outside the pickle, such as a storage, by the value that names it.
    Outside(Id),
    /// Sets, bytes and the like: nothing that describes a tensor or a model.
    Other,
}

/// The values that are there once, however often a pickle has them: [`Value::Other`], `None`, `False` and `True`.
const OTHER: Id = 0;
const NONE: Id = 1;
const FALSE: Id = 2;
const TRUE: Id = 3;

/// The values of a pickle.
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Follows the pickle that `bytes` begin with to its end, and says how many of them it is.
    ///
    /// # Errors
    /// When it is damaged, or has an instruction that `torch.save` never writes.
    pub fn follow(bytes: &'a [u8]) -> Result<(Self, usize)> {
        let mut machine = Machine {
            rest: bytes,
            values: vec![Value::Other, Value::None, Value::Bool(false), Value::Bool(true)],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run().with_context(|| {
            let place = bytes.len() - machine.rest.len();
            format!("its pickle cannot be followed at byte {place}: it is damaged; fetch it again")
        })?;
        Ok((Self { values: machine.values, root }, bytes.len() - machine.rest.len()))
    }

    /// What the pickle is of.
    pub fn root(&self) -> Id {
        self.root
    }

    /// A whole number.
    pub fn int(&self, id: Id) -> Option<i64> {
        if let Value::Int(number) = self.values[id] { Some(number) } else { None }
    }

    /// A text.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        if let Value::Text(text) = self.values[id] { Some(text) } else { None }
    }

    /// A class or function.
    pub fn class(&self, id: Id) -> Option<Class<'a>> {
        if let Value::Class(class) = self.values[id] { Some(class) } else { None }
    }

    /// A number, a text, a truth value or `None` as JSON has it.
    pub fn json(&self, id: Id) -> Option<serde_json::Value> {
        Some(match self.values[id] {
            Value::Int(number) => number.into(),
            Value::Float(number) => number.into(),
            Value::Bool(truth) => truth.into(),
            Value::None => serde_json::Value::Null,
            Value::Text(text) => text.into(),
            _ => return None,
        })
    }

    /// The value of a dict under a key that is a text.
    pub fn entry(&self, dict: Id, key: &str) -> Option<Id> {
        let entries = self.dict(dict)?;
        entries.iter().find(|&&(name, _)| self.text(name) == Some(key)).map(|&(_, value)| value)
    }

    /// The parts of a tuple.
    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        if let Value::Tuple(parts) = &self.values[id] { Some(parts) } else { None }
    }

    /// The parts of a list.
    pub fn list(&self, id: Id) -> Option<&[Id]> {
        if let Value::List(parts) = &self.values[id] { Some(parts) } else { None }
    }

    /// The keys and values of a dict.
    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        if let Value::Dict(entries) = &self.values[id] { Some(entries) } else { None }
    }

    /// What would be called, and its arguments.
    pub fn call(&self, id: Id) -> Option<(Id, Id)> {
        if let Value::Call(callable, arguments) = self.values[id] {
            Some((callable, arguments))
        } else {
            None
        }
    }

    /// The value that names something outside the pickle.
    pub fn outside(&self, id: Id) -> Option<Id> {
        if let Value::Outside(name) = self.values[id] { Some(name) } else { None }
    }

    /// Every value that names something outside the pickle.
    pub fn all_outside(&self) -> impl Iterator<Item = Id> {
        (0..self.values.len()).filter_map(|id| self.outside(id))
    }
}

/// The state while a pickle is followed; its methods answer `None` where the pickle is damaged.
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack that instructions go back to.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Option<Id> {
        loop {
            match self.byte()? {
                b'.' => return self.stack.pop(),
                code => self.step(code)?,
            }
        }
    }

    /// Follows the instruction `code`; Python's `pickletools` lists them all.
    fn step(&mut self, code: u8) -> Option<()> {
        match code {
            // PROTO, FRAME: how the rest is written, which its instructions say anyway.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.stack.pop()?),
            b'1' => drop(self.since_mark()?),
            b'N' => self.stack.push(NONE),
            0x88 => self.stack.push(TRUE),
            0x89 => self.stack.push(FALSE),
            0x8f => self.stack.push(OTHER),
            0x91 => self.since_mark().map(|_| self.stack.push(OTHER))?,
            b'G' => {
                let number = f64::from_be_bytes(*self.take(8)?.first_chunk()?);
                self.push(Value::Float(number));
            }
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.number(code)?,
            b'X' | b'U' | b'T' | 0x8c | 0x8d => self.string(code)?,
            b'B' | b'C' | 0x8e | 0x96 => {
                let count = self.count(if code == b'C' {
                    1
                } else if code == b'B' {
                    4
                } else {
                    8
                })?;
                self.skip(count)?;
            }
            b'c' => {
                let class = (self.line()?, self.line()?);
                self.push(Value::Class(class));
            }
            0x93 => self.named_class()?,
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let at = self.stack.len().checked_sub(usize::from(code - 0x84))?;
                let parts = self.stack.split_off(at);
                self.push(Value::Tuple(parts));
            }
            b't' => {
                let parts = self.since_mark()?;
                self.push(Value::Tuple(parts));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let parts = self.since_mark()?;
                self.push(Value::List(parts));
            }
            b'a' => {
                let part = self.stack.pop()?;
                self.append(&[part])?;
            }
            b'e' => {
                let parts = self.since_mark()?;
                self.append(&parts)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let parts = self.since_mark()?;
                self.push(Value::Dict(Vec::new()));
                self.set(&parts)?;
            }
            b's' => {
                let at = self.stack.len().checked_sub(2)?;
                let parts = self.stack.split_off(at);
                self.set(&parts)?;
            }
            b'u' => {
                let parts = self.since_mark()?;
                self.set(&parts)?;
            }
            // What a set or an object is filled with describes no tensor.
            b'b' => drop(self.stack.pop()?),
            0x90 => drop(self.since_mark()?),
            b'q' | b'r' | 0x94 => self.remember(code)?,
            b'h' | b'j' => {
                let place = self.count(if code == b'h' { 1 } else { 4 })?;
                self.stack.push(*self.memo.get(&u32::try_from(place).ok()?)?);
            }
            b'R' | 0x81 => self.call()?,
            // Named arguments, which no tensor has.
            0x92 => {
                self.stack.pop()?;
                self.call()?;
            }
            b'Q' => {
                let name = self.stack.pop()?;
                self.push(Value::Outside(name));
            }
            _ => return None,
        }
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// An unsigned number of `width` bytes, 8 at most.
    fn count(&mut self, width: usize) -> Option<usize> {
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.take(width)?);
        usize::try_from(u64::from_le_bytes(number)).ok()
    }

    fn line(&mut self) -> Option<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n')?;
        let line = self.take(end + 1)?;
        from_utf8(&line[..end]).ok()
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Passes over `count` bytes that say a value which describes no tensor.
    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count)?;
        self.stack.push(OTHER);
        Some(())
    }

    /// What was pushed since the last mark.
    fn since_mark(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    /// BININT1, BININT2, BININT, LONG1, LONG4; numbers of more than 64 bits describe no tensor.
    fn number(&mut self, code: u8) -> Option<()> {
        let width = match code {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            0x8a => self.count(1)?,
            _ => self.count(4)?,
        };
        if width > 8 {
            return self.skip(width);
        }
        let bytes = self.take(width)?;
        let signed = !matches!(code, b'K' | b'M');
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        number[..width].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(number)));
        Some(())
    }

    /// BINUNICODE and SHORT_BINSTRING with their kin.
    fn string(&mut self, code: u8) -> Option<()> {
        let width = match code {
            b'U' | 0x8c => 1,
            b'X' | b'T' => 4,
            _ => 8,
        };
        let count = self.count(width)?;
        let text = from_utf8(self.take(count)?).ok();
        self.push(text.map_or(Value::Other, Value::Text));
        Some(())
    }

    fn named_class(&mut self) -> Option<()> {
        let (name, module) = (self.stack.pop()?, self.stack.pop()?);
        let (Value::Text(module), Value::Text(name)) = (&self.values[module], &self.values[name]) else {
            return None;
        };
        let class = (*module, *name);
        self.push(Value::Class(class));
        Some(())
    }

    /// Puts `parts` into the list on top of the stack; an object that takes them is left alone.
    fn append(&mut self, parts: &[Id]) -> Option<()> {
        if let Value::List(list) = &mut self.values[*self.stack.last()?] {
            list.extend(parts);
        }
        Some(())
    }

    /// Puts pairs of `parts` into the dict on top of the stack; an object that takes entries is left alone.
    fn set(&mut self, parts: &[Id]) -> Option<()> {
        let (pairs, []) = parts.as_chunks::<2>() else { return None };
        if let Value::Dict(entries) = &mut self.values[*self.stack.last()?] {
            entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Some(())
    }

    /// BINPUT, LONG_BINPUT, MEMOIZE: the top of the stack gets a number to be fetched by.
    fn remember(&mut self, code: u8) -> Option<()> {
        let place = match code {
            b'q' => self.count(1)?,
            b'r' => self.count(4)?,
            _ => self.memo.len(),
        };
        self.memo.insert(u32::try_from(place).ok()?, *self.stack.last()?);
        Some(())
    }

    /// A call is kept as it is, but for the dicts that are made by one.
    fn call(&mut self) -> Option<()> {
        let (arguments, callable) = (self.stack.pop()?, self.stack.pop()?);
        let dict =
            matches!(self.values[callable], Value::Class(("collections", "OrderedDict" | "defaultdict")));
        self.push(if dict { Value::Dict(Vec::new()) } else { Value::Call(callable, arguments) });
        Some(())
    }
}
