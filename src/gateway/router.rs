//! Router: finds the route of a method and path, and what a catch-all route inherits from a path's own route.
//!
//! It does not know how a route responds.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;

use super::Route;
use crate::config::plan::{CallKind, CallerKind, RoutePlan};

/// The routes at one path, by method.
pub(super) struct PathRoutes {
    pub(super) methods: Vec<(Method, usize)>,
    pub(super) allow: Arc<str>,
    /// False: it has parameters.
    pub(super) is_exact: bool,
}

/// The routes of every path.
pub(super) struct Router {
    places: Vec<PathRoutes>,
    /// The places of paths without parameters, which come before all others.
    exact: BTreeMap<Box<str>, usize>,
    /// The places of all.
    all: matchit::Router<usize>,
}

impl Router {
    /// The routes at a path, if there are any.
    pub(super) fn at(&self, path: &str) -> Option<&PathRoutes> {
        let place = self.exact.get(path).copied().or_else(|| Some(*self.all.at(path).ok()?.value))?;
        self.places.get(place)
    }

    /// What stands in a path where its pattern has this name.
    pub(super) fn parameter<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        self.all.at(path).ok()?.params.get(name)
    }
}

/// The methods of the route that passes on whatever nobody else takes at this path.
fn rest_of(path: &str, places: &[(&str, Vec<(Method, usize)>)], routes: &[Route]) -> Vec<(Method, usize)> {
    let covers = |rest: &str| {
        let above = rest.split_once("{*").map_or(rest, |(above, _)| above);
        above.len() < rest.len() && rest != path && path.starts_with(above)
    };
    let passes_on = |methods: &[(Method, usize)]| {
        methods.iter().all(|(_, index)| routes.get(*index).is_some_and(|route| route.plan.call == CallKind::Any))
    };
    let found = places.iter().filter(|(rest, methods)| covers(rest) && passes_on(methods));
    found.max_by_key(|(rest, _)| rest.len()).map(|(_, methods)| methods.clone()).unwrap_or_default()
}

/// Finds the routes of every path.
pub(super) fn build(routes: &[Route]) -> Result<Router, String> {
    let mut places: Vec<(&str, Vec<(Method, usize)>)> = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        for path in &route.plan.paths {
            let at = places.iter().position(|(other, _)| other == path).unwrap_or_else(|| {
                places.push((path, Vec::new()));
                places.len() - 1
            });
            places[at].1.extend(route.plan.methods.iter().map(|method| (method.clone(), index)));
        }
    }
    let others = places.clone();
    let mut router = Router { places: Vec::new(), exact: BTreeMap::new(), all: matchit::Router::new() };
    for (path, mut methods) in places {
        // A method that a path's own routes do not have is for the route that takes all else below it.
        for rest in rest_of(path, &others, routes) {
            if !methods.iter().any(|(known, _)| *known == rest.0) {
                methods.push(rest);
            }
        }
        let allow = methods.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ").into();
        let is_exact = !path.contains('{');
        let place = router.places.len();
        router.all.insert(path, place).map_err(|fault| format!("path {path}: {fault}"))?;
        router.exact.extend(is_exact.then(|| (path.into(), place)));
        router.places.push(PathRoutes { methods, allow, is_exact });
    }
    Ok(router)
}

/// The paths whose own routes open the operator's account to the callers of a route that takes all the rest: what they let pass
/// there, this one lets pass by other methods and below. Only where both want the same credentials.
pub(super) fn open_paths(route: &RoutePlan, all: &[Arc<RoutePlan>]) -> Vec<Box<str>> {
    if route.call != CallKind::Any || route.caller != CallerKind::OpenAi {
        return Vec::new();
    }
    let opens =
        |own: &&Arc<RoutePlan>| own.call != CallKind::Any && own.auth.account && own.auth.methods == route.auth.methods;
    let paths = all.iter().filter(opens).flat_map(|own| &own.paths);
    paths.filter(|path| !path.contains('{')).map(|path| path.as_str().into()).collect()
}
