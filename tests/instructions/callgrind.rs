//! Reads a profile as callgrind writes it: what each function spent in which source file, and whom it called.
//!
//! It does not know which of the functions are ours. Inlined code counts for the function that it was inlined into, and for
//! the file that it was written in.

use std::collections::BTreeMap;

use crate::Fault;

/// A profile with one kind of event, executed instructions.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// Source files. Functions name them by their place here.
    pub(crate) files: Vec<String>,
    /// Functions. Calls name them by their place here.
    pub(crate) functions: Vec<Function>,
}

/// A function of the profiled program or of one of its libraries.
#[derive(Debug, Default)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where it was written.
    pub(crate) file: usize,
    /// Instructions of its own, by the file of the code.
    pub(crate) own: BTreeMap<usize, u64>,
    pub(crate) calls: Vec<Call>,
}

/// Calls from one function to another, of code from one file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) callee: usize,
    /// The file of the calling code.
    pub(crate) file: usize,
    pub(crate) count: u64,
    /// Instructions until the calls returned, those of further callees included.
    pub(crate) instructions: u64,
}

impl Profile {
    /// Reads the text of a dump.
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        let mut reader = Reader::default();
        for (number, line) in text.lines().enumerate() {
            reader.line(line).ok_or_else(|| format!("line {} of the profile: {line}", number + 1))?;
        }
        Ok(reader.profile)
    }

    /// All instructions.
    pub(crate) fn instructions(&self) -> u64 {
        self.functions.iter().flat_map(|function| function.own.values()).sum()
    }

    /// How often functions of these names were called by others.
    pub(crate) fn calls_of(&self, is_one: impl Fn(&str) -> bool) -> u64 {
        self.calls_between(|_| true, is_one)
    }

    /// How often functions of some names were called by others of some names.
    pub(crate) fn calls_between(&self, counts: impl Fn(&str) -> bool, is_one: impl Fn(&str) -> bool) -> u64 {
        let are: Vec<bool> = self.functions.iter().map(|function| is_one(plain(&function.name))).collect();
        let others = self.functions.iter().zip(&are).filter(|(_, is_one)| !**is_one);
        let others = others.filter(|(function, _)| counts(plain(&function.name)));
        let calls = others.flat_map(|(function, _)| &function.calls).filter(|call| are[call.callee]);
        calls.map(|call| call.count).sum()
    }
}

/// A name without the depth of recursion and the version of its symbol.
fn plain(name: &str) -> &str {
    name.split(['\'', '@']).next().unwrap_or(name)
}

/// Where a line belongs to depends on the lines before it.
#[derive(Default)]
struct Reader {
    profile: Profile,
    /// Names are written once, with a number that stands for them from then on.
    files: BTreeMap<u64, usize>,
    functions: BTreeMap<u64, usize>,
    file: usize,
    function: usize,
    callee: usize,
    /// The next line tells what these calls cost.
    count: Option<u64>,
}

impl Reader {
    /// `None`: the line is not understood.
    fn line(&mut self, line: &str) -> Option<()> {
        if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            return self.cost(line);
        }
        // The rest is the dump's heading, or empty.
        let Some((key, value)) = line.split_once('=').filter(|(key, _)| key.bytes().all(|it| it.is_ascii_lowercase()))
        else {
            return Some(());
        };
        match key {
            "fl" | "fi" | "fe" => self.file = self.file_of(value)?,
            "fn" => {
                self.function = self.function_of(value)?;
                self.profile.functions[self.function].file = self.file;
            }
            "cfi" | "cfl" => drop(self.file_of(value)?),
            "cfn" => self.callee = self.function_of(value)?,
            "calls" => self.count = Some(value.split(' ').next()?.parse().ok()?),
            "ob" | "cob" => {}
            _ => return None,
        }
        Some(())
    }

    fn cost(&mut self, line: &str) -> Option<()> {
        let instructions = line.split(' ').nth(1)?.parse().ok()?;
        let function = self.profile.functions.get_mut(self.function)?;
        match self.count.take() {
            None => *function.own.entry(self.file).or_default() += instructions,
            Some(count) => {
                function.calls.push(Call { callee: self.callee, file: self.file, count, instructions });
            }
        }
        Some(())
    }

    fn file_of(&mut self, value: &str) -> Option<usize> {
        let (number, name) = numbered(value)?;
        if let Some(name) = name {
            self.files.insert(number, self.profile.files.len());
            self.profile.files.push(name.to_owned());
        }
        self.files.get(&number).copied()
    }

    fn function_of(&mut self, value: &str) -> Option<usize> {
        let (number, name) = numbered(value)?;
        if let Some(name) = name {
            self.functions.insert(number, self.profile.functions.len());
            self.profile.functions.push(Function { name: name.to_owned(), ..Function::default() });
        }
        self.functions.get(&number).copied()
    }
}

/// `(7) name`, or `(7)` for a name that was written before.
fn numbered(value: &str) -> Option<(u64, Option<&str>)> {
    let (number, name) = value.strip_prefix('(')?.split_once(')')?;
    Some((number.parse().ok()?, name.strip_prefix(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program whose `main` calls `work`, into which code of another file is inlined, and `work` calls `malloc`.
    pub(crate) const DUMP: &str = "\
# callgrind format
version: 1
cmd:  program serve --level=info
positions: line
events: Ir
summary: 165

ob=(1) program
fl=(1) /project/src/main.rs
fn=(1) main
10 5
cfi=(2) /project/src/work.rs
cfn=(2) work
calls=3 20
+2 160

fl=(2)
fn=(2)
20 30
fi=(3) /rustc/library/vec.rs
7 60
cob=(2) libc.so
cfi=(4) malloc.c
cfn=(3) malloc@@GLIBC_2.2.5
calls=6 100
* 70
fe=(2)
-1 0

ob=(2)
fl=(4)
fn=(3)
100 50
+3 20
cfn=(4) malloc'2
calls=1 100
* 0
";

    #[test]
    fn what_was_spent_and_called_is_read() {
        let profile = Profile::read(DUMP).unwrap();
        let names: Vec<&str> = profile.functions.iter().map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["main", "work", "malloc@@GLIBC_2.2.5", "malloc'2"]);
        assert_eq!(profile.functions[0].own, [(0, 5)].into());
        assert_eq!(profile.functions[0].calls, [Call { callee: 1, file: 0, count: 3, instructions: 160 }]);
        let work = &profile.functions[1];
        assert_eq!(profile.files[work.file], "/project/src/work.rs");
        assert_eq!(work.own, [(1, 30), (2, 60)].into());
        assert_eq!(work.calls, [Call { callee: 2, file: 2, count: 6, instructions: 70 }]);
        assert_eq!(profile.instructions(), 165);
    }

    #[test]
    fn calls_are_counted_where_others_make_them() {
        let profile = Profile::read(DUMP).unwrap();
        assert_eq!(profile.calls_of(|name| name == "malloc"), 6);
        assert_eq!(profile.calls_of(|name| name == "work"), 3);
        assert_eq!(profile.calls_of(|name| name == "free"), 0);
        let called = |caller: &str| profile.calls_between(|name| name == caller, |name| name == "malloc");
        assert_eq!((called("work"), called("main")), (6, 0));
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let fault = Profile::read("fl=(1) a.rs\nfn=(1) f\nbad=1\n").unwrap_err();
        assert_eq!(fault.to_string(), "line 3 of the profile: bad=1");
        assert!(Profile::read("fn=(9)\n").is_err());
        assert!(Profile::read("fl=(1) a.rs\nfn=(1) f\n10 many\n").is_err());
    }
}
