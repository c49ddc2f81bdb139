//! Divides a profile among the parts of the program: our modules, and the few libraries that are parts of their own.
//!
//! Code counts for the file that it was written in, even where it was inlined. What other libraries spend is charged to the
//! parts that call them, in proportion to what these calls cost: that is exact for a copy or an allocation, and an estimate
//! further down.

use std::collections::BTreeMap;

use crate::callgrind::Profile;

/// Libraries with a part of their own, by the names of their crates.
const LIBRARIES: [(&str, &[&str]); 4] = [
    ("hyper", &["hyper", "httparse", "h2"]),
    ("hyper-util", &["hyper-util"]),
    ("tokio", &["tokio", "mio"]),
    ("reqwest, tower", &["reqwest", "tower", "tower-service", "tower-http"]),
];

/// What no part has called, such as the loops of threads.
const REST: &str = "rest";

/// How often charges are passed on to callers: more than there are functions of libraries in any chain of calls.
const PASSES: usize = 60;

/// Instructions by part.
pub(crate) fn divide(profile: &Profile) -> BTreeMap<String, f64> {
    let mut names: Vec<String> = vec![REST.to_owned()];
    let owners: Vec<Option<usize>> = profile
        .files
        .iter()
        .map(|file| {
            let name = owner(file)?;
            let at = names.iter().position(|known| *known == name);
            Some(at.unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            }))
        })
        .collect();
    // The part of a function's code from this file; none: it is for its callers to pay.
    let part = |function: usize, file: usize| owners[file].or(owners[profile.functions[function].file]);

    let mut callers: Vec<Vec<(usize, usize, f64)>> = vec![Vec::new(); profile.functions.len()];
    for (caller, function) in profile.functions.iter().enumerate() {
        for call in function.calls.iter().filter(|call| call.callee != caller) {
            callers[call.callee].push((caller, call.file, call.instructions as f64));
        }
    }
    let mut shares = vec![vec![0.0; names.len()]; profile.functions.len()];
    for _ in 0..PASSES {
        let mut next = Vec::with_capacity(shares.len());
        for callers in &callers {
            let mut share = vec![0.0; names.len()];
            let whole: f64 = callers.iter().map(|(_, _, weight)| weight).sum();
            for (caller, file, weight) in callers.iter().filter(|_| whole > 0.0) {
                match part(*caller, *file) {
                    Some(part) => share[part] += weight / whole,
                    None => share.iter_mut().zip(&shares[*caller]).for_each(|(to, from)| *to += from * weight / whole),
                }
            }
            next.push(share);
        }
        shares = next;
    }

    let mut sums = vec![0.0; names.len()];
    for (at, function) in profile.functions.iter().enumerate() {
        for (file, own) in &function.own {
            let own = *own as f64;
            match part(at, *file) {
                Some(part) => sums[part] += own,
                None => {
                    sums.iter_mut().zip(&shares[at]).for_each(|(sum, share)| *sum += own * share);
                    sums[0] += own * (1.0 - shares[at].iter().sum::<f64>());
                }
            }
        }
    }
    names.into_iter().zip(sums).filter(|(_, sum)| *sum >= 0.5).collect()
}

/// The part that code of this file belongs to: `policy/limit` for `src/policy/limit/keys.rs`.
fn owner(file: &str) -> Option<String> {
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        let krate = rest.split('/').nth(1)?;
        // `hyper-util-0.1.21` is hyper-util.
        let end = krate.match_indices('-').map(|(at, _)| at).find(|at| krate[at + 1..].starts_with(is_digit));
        let name = krate.get(..end?)?;
        return LIBRARIES.iter().find(|(_, crates)| crates.contains(&name)).map(|(part, _)| (*part).to_owned());
    }
    // The standard library, and the libraries in it.
    if ["/rustc/", "/rust/deps/"].iter().any(|root| file.starts_with(root)) || file.contains("/rustlib/") {
        return None;
    }
    let ours = file.rsplit_once("/src/")?.1.strip_suffix(".rs")?;
    let ours = ours.strip_suffix("/mod").unwrap_or(ours);
    let end = ours.match_indices('/').nth(1).map_or(ours.len(), |(at, _)| at);
    Some(ours[..end].to_owned())
}

fn is_digit(of: char) -> bool {
    of.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_module_or_a_library() {
        let crates = "/home-of-cargo/registry/src/index-1/";
        assert_eq!(owner("/project/src/policy/limit/keys.rs").as_deref(), Some("policy/limit"));
        assert_eq!(owner("/project/src/policy/limit/mod.rs").as_deref(), Some("policy/limit"));
        assert_eq!(owner("/project/src/policy/retry.rs").as_deref(), Some("policy/retry"));
        assert_eq!(owner("/project/src/stack.rs").as_deref(), Some("stack"));
        assert_eq!(owner(&format!("{crates}hyper-util-0.1.21/src/rt/tokio.rs")).as_deref(), Some("hyper-util"));
        assert_eq!(owner(&format!("{crates}hyper-1.12.0/src/proto/mod.rs")).as_deref(), Some("hyper"));
        assert_eq!(owner(&format!("{crates}serde_json-1.0.1/src/de.rs")), None);
        assert_eq!(owner("/rustc/0a1b/library/core/src/str/mod.rs"), None);
        assert_eq!(owner("/rust/deps/hashbrown-0.16.1/src/map.rs"), None);
        assert_eq!(owner("./malloc/malloc.c"), None);
    }

    #[test]
    fn libraries_are_charged_to_those_who_call_them() {
        // `limit` calls a library for 300 of the 400 that it costs in all, `retry` for 100. Half of it is a copy.
        let profile = Profile::read(
            "fl=(1) /p/src/policy/limit.rs\nfn=(1) limit\n1 10\nfi=(9) /rustc/1/library/vec.rs\n1 5\n\
             cfn=(3) library\ncalls=3 1\n1 300\n\
             fl=(2) /p/src/policy/retry.rs\nfn=(2) retry\n1 20\ncfn=(3)\ncalls=1 1\n1 100\n\
             fl=(3) /c/registry/src/i/serde_json-1.0.1/src/de.rs\nfn=(3)\n1 200\ncfn=(4) memcpy\ncalls=4 1\n1 200\n\
             fl=(4) memcpy.S\nfn=(4)\n1 200\n\
             fl=(5) thread.rs\nfn=(5) thread_start\n1 7\ncfn=(1)\ncalls=1 1\n1 315\n",
        )
        .unwrap();
        let parts = divide(&profile);
        let expected = [("policy/limit", 315.0), ("policy/retry", 120.0), ("rest", 7.0)];
        assert_eq!(parts, expected.map(|(name, sum)| (name.to_owned(), sum)).into());
    }

    #[test]
    fn functions_that_call_each_other_are_charged_to_who_called_them_first() {
        let profile = Profile::read(
            "fl=(1) /p/src/wire/json.rs\nfn=(1) read\n1 10\ncfn=(2) value\ncalls=1 1\n1 100\n\
             fl=(2) serde.rs\nfn=(2)\n1 40\ncfn=(3) list\ncalls=5 1\n1 60\n\
             fn=(3)\n1 50\ncfn=(2)\ncalls=4 1\n1 50\n",
        )
        .unwrap();
        let parts = divide(&profile);
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["wire/json"]);
        assert!((parts["wire/json"] - 100.0).abs() < 0.1, "{parts:?}");
    }
}
