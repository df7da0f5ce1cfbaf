//! The modules of a crate, and which imports which.

use std::collections::{BTreeMap, BTreeSet};

use crate::syntax::{File, Path};

/// Aliases of aliases are followed so far.
const FAR: usize = 8;

/// The modules of a crate by their paths from its root. A program beside the library is its module `main`.
pub struct Plan {
    modules: BTreeMap<Path, Module>,
}

struct Module {
    name: String,
    file: File,
}

impl Plan {
    /// Of the files of `src`, by their names there.
    pub fn of(files: &BTreeMap<String, String>) -> Self {
        let mut plan = Self { modules: BTreeMap::new() };
        plan.read(files, Path::new(), "lib.rs");
        if files.contains_key("main.rs") {
            plan.read(files, vec!["main".into()], "main.rs");
        }
        plan
    }

    fn read(&mut self, files: &BTreeMap<String, String>, path: Path, name: &str) {
        let file = File::read(&files[name]);
        for child in &file.modules {
            let path: Path = path.iter().chain([child]).cloned().collect();
            let names = [format!("{}.rs", path.join("/")), format!("{}/mod.rs", path.join("/"))];
            let name = names.iter().find(|&name| files.contains_key(name));
            let name = name.unwrap_or_else(|| panic!("no file holds the module {}", path.join("::")));
            self.read(files, path, name);
        }
        self.modules.insert(path, Module { name: name.to_owned(), file });
    }

    /// The module that has what `path` names in the module `from`; `None` for another crate's.
    fn owner(&self, from: &[String], path: &[String], far: usize) -> Option<Path> {
        let mut rest = path.iter().peekable();
        let mut at = match path.first()?.as_str() {
            "self" | "super" => from.to_vec(),
            "crate" | "attnscope" => Path::new(),
            child => Some(from.to_vec()).filter(|at| self.child(at, child).is_some())?,
        };
        rest.next_if(|&name| ["self", "crate", "attnscope"].contains(&name.as_str()));
        while rest.next_if(|&name| name == "super").is_some() {
            at.pop();
        }
        while let Some(name) = rest.next() {
            if let Some(child) = self.child(&at, name) {
                at = child;
                continue;
            }
            let imports = self.modules[&at].file.imports.iter();
            let Some((_, alias)) = imports.clone().find(|(alias, _)| alias == name).filter(|_| far > 0)
            else {
                break;
            };
            let alias: Path = alias.iter().chain(rest).cloned().collect();
            return self.owner(&at, &alias, far - 1).or(Some(at));
        }
        Some(at)
    }

    fn child(&self, at: &[String], name: &str) -> Option<Path> {
        let path: Path = at.iter().map(String::as_str).chain([name]).map(str::to_owned).collect();
        self.modules.contains_key(&path).then_some(path)
    }

    /// Which module imports from which other.
    fn imports(&self) -> BTreeSet<(&Path, Path)> {
        let mut found = BTreeSet::new();
        for (from, module) in &self.modules {
            let paths = module.file.imports.iter().map(|(_, path)| path).chain(&module.file.mentions);
            found.extend(paths.filter_map(|path| Some((from, self.owner(from, path, FAR)?))));
        }
        found
    }

    /// Imports by one room, a child of the root, from another: the file, the importing room, the other room.
    fn between_rooms(&self) -> BTreeSet<(&str, &str, String)> {
        let apart = self.imports().into_iter().filter_map(|(from, to)| {
            let (here, there) = (from.first()?, to.first()?.clone());
            (*here != there).then(|| (self.modules[from].name.as_str(), here.as_str(), there))
        });
        apart.collect()
    }

    /// Imports from a floor above, and rooms that are on no floor.
    pub fn climbs(&self, floors: &[&[&str]]) -> Vec<String> {
        let floor = |room: &str| floors.iter().position(|rooms| rooms.contains(&room));
        let is_above =
            |here: &str, there: &str| floor(here).zip(floor(there)).is_some_and(|(here, there)| there > here);
        let rooms: BTreeSet<_> = self.modules.keys().filter_map(|path| path.first()).collect();
        let nowhere =
            rooms.iter().filter(|room| floor(room).is_none()).map(|room| format!("{room} is on no floor"));
        let imports = self.between_rooms().into_iter().filter(|(_, here, there)| is_above(here, there));
        nowhere
            .chain(imports.map(|(file, _, there)| format!("{file} imports from {there}, a floor above")))
            .collect()
    }

    /// Words in rooms that are not among those that may know them.
    pub fn strangers(&self, known: &[(&[&str], &[&str])]) -> Vec<String> {
        let mut found = Vec::new();
        for (path, module) in &self.modules {
            let room = path.first().map_or("", String::as_str);
            for (words, _) in known.iter().filter(|(_, rooms)| !rooms.contains(&room)) {
                let words = words.iter().filter(|&&word| module.file.words.contains(word));
                found.extend(words.map(|word| format!("{} names {word}", module.name)));
            }
        }
        found
    }

    /// Modules of one folder that import from each other, directly or by way of others of the folder.
    pub fn circles(&self) -> Vec<String> {
        let mut folders: BTreeMap<&[String], BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
        let imports = self.imports();
        for (from, to) in &imports {
            let common = from.iter().zip(to).take_while(|(here, there)| here == there).count();
            if let (Some(here), Some(there)) = (from.get(common), to.get(common)) {
                folders.entry(&from[..common]).or_default().entry(here).or_default().insert(there.clone());
            }
        }
        let mut found = Vec::new();
        for (folder, edges) in folders {
            let reached: BTreeMap<_, _> = edges.keys().map(|&from| (from, reached(&edges, from))).collect();
            let mutual = |a: &str, b: &str| {
                let reaches = |a, b| reached.get(a).is_some_and(|reached| reached.contains(b));
                reaches(a, b) && reaches(b, a)
            };
            let circles: BTreeSet<Vec<&str>> = (edges.keys())
                .map(|a| edges.keys().copied().filter(|b| mutual(a, b)).collect())
                .filter(|circle: &Vec<&str>| !circle.is_empty())
                .collect();
            for circle in circles {
                let arrows = circle.iter().flat_map(|&a| {
                    let inside = edges[a].iter().filter(|b| circle.contains(&b.as_str()));
                    inside.map(move |b| format!("{a} -> {b}"))
                });
                let folder = folder.iter().fold("src".to_owned(), |path, name| path + "/" + name);
                found.push(format!("{folder}: {}", arrows.collect::<Vec<_>>().join(", ")));
            }
        }
        found
    }
}

/// What is reached from `from` by one arrow or more.
fn reached<'a>(edges: &'a BTreeMap<&str, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = edges.get(from).into_iter().flatten().map(String::as_str).collect();
    while let Some(name) = next.pop() {
        if found.insert(name) {
            next.extend(edges.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    found
}
