//! Who imports from whom: each path that a file names leads to the file that defines its end, through whatever passes it on.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Segments, Source};

/// Every file with those whose definitions it names.
pub(crate) struct Imports<'a> {
    sources: BTreeMap<&'a [String], &'a Source>,
    /// By module.
    edges: BTreeMap<&'a [String], BTreeSet<&'a [String]>>,
}

impl<'a> Imports<'a> {
    /// Reads every path of every file.
    pub(crate) fn of(sources: &'a [Source]) -> Self {
        let mut all = Self { sources: sources.iter().map(|it| (&*it.module, it)).collect(), edges: BTreeMap::new() };
        for source in sources {
            let mut known = BTreeSet::new();
            for path in &source.paths {
                let is_import = source.imports.values().any(|it| it == path);
                let target = all.absolute(source, path).and_then(|path| all.defined(&path, 0));
                // What a module passes on from inside is its own.
                let is_passed_on = |target: &[String]| {
                    let names = source.imports.iter().filter(|(_, it)| *it == path).map(|(name, _)| name);
                    is_import
                        && target.starts_with(&source.module)
                        && names.into_iter().all(|name| source.passed_on.contains(name))
                };
                known.extend(target.filter(|target| **target != *source.module && !is_passed_on(target)));
            }
            all.edges.insert(&source.module, known);
        }
        all
    }

    /// A path as it would be written outside of its file; nothing for what is not of this crate.
    fn absolute(&self, source: &Source, path: &[String]) -> Option<Segments> {
        let mut base = source.module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => return Some(path.get(1..)?.to_vec()),
            "self" => rest = rest.get(1..)?,
            "super" => {}
            first => match source.imports.get(first) {
                Some(import) if import.as_slice() != path => {
                    let mut import = self.absolute(source, import)?;
                    import.extend_from_slice(path.get(1..)?);
                    return Some(import);
                }
                _ if source.groups.iter().flatten().any(|it| it == first) => {}
                _ => return None,
            },
        }
        while rest.first().is_some_and(|it| it == "super") {
            base.pop()?;
            rest = rest.get(1..)?;
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The module in whose file the end of a path is defined; nothing when it names only a module.
    fn defined(&self, path: &[String], depth: usize) -> Option<&'a [String]> {
        let length = (0..=path.len()).rev().find(|length| self.sources.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let source = self.sources[module];
        let first = rest.first()?;
        let passed_on = source.imports.get(first).filter(|_| depth < 9 && first != "*");
        let Some(import) = passed_on else { return Some(&source.module) };
        let import = self.absolute(source, import);
        // What comes from another crate is passed on here.
        let Some(mut import) = import else { return Some(&source.module) };
        import.extend_from_slice(&rest[1..]);
        self.defined(&import, depth + 1)
    }

    /// The pairs of modules in a folder of which one, or what is in it, imports from the other.
    pub(crate) fn siblings(&self, folder: &[String]) -> BTreeSet<(String, String)> {
        let within = |module: &&[String]| module.starts_with(folder) && module.len() > folder.len();
        let name = |module: &[String]| module[folder.len()].clone();
        let edges = self.edges.iter().filter(|(from, _)| within(from));
        let pairs = edges
            .flat_map(|(from, known)| known.iter().filter(|into| within(into)).map(|into| (name(from), name(into))));
        pairs.filter(|(from, into)| from != into).collect()
    }

    /// Sets of more than one module that lead to one another. What a module takes from those that it is in does not count.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<&'a [String]>> {
        let reached: BTreeMap<&[String], BTreeSet<&[String]>> =
            self.edges.keys().map(|module| (*module, self.reached(module))).collect();
        let mut circles = Vec::new();
        for (module, own) in &reached {
            let circle: BTreeSet<&[String]> =
                own.iter().copied().filter(|other| reached[other].contains(module)).collect();
            if circle.len() > 1 && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached(&self, module: &'a [String]) -> BTreeSet<&'a [String]> {
        let (mut found, mut next) = (BTreeSet::new(), vec![module]);
        while let Some(module) = next.pop() {
            let known = self.edges[module].iter().copied().filter(|it| !module.starts_with(it));
            next.extend(known.filter(|it| found.insert(*it)));
        }
        found
    }
}
