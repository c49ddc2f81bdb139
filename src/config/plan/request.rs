//! What every request to a provider has beside what its dialect puts there: the key's header, fixed headers, query
//! parameters, and paths of the provider's own.
//!
//! It does not know the key itself, nor what a request asks.

use http::{HeaderName, HeaderValue};

use crate::wire::path;

/// Stands for the model's name in a path.
pub const MODEL: &str = "{model}";

/// The keys `auth_header`, `auth_scheme`, `headers`, `query` and `paths` of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPlan {
    /// The header that carries the key.
    pub key_header: HeaderName,
    /// What stands before the key there, without the blank; empty: nothing.
    pub key_scheme: Box<str>,
    /// Headers that every request has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters that every request has, by their names, as they were written.
    pub query: Vec<(Box<str>, Box<str>)>,
    /// Paths that are other than the dialect's, the longest first.
    pub paths: Vec<PathPlan>,
}

/// Where a provider has what its dialect has elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPlan {
    /// The dialect's path.
    pub usual: &'static str,
    /// The provider's own, with at most one [`MODEL`] in it.
    pub own: Box<str>,
}

impl RequestPlan {
    /// The path, with its query, under which the provider has what the dialect has under `path`; `None`: it is the same.
    ///
    /// # Errors
    /// Words that complete "it cannot serve ..."
    pub fn own_path(&self, path: &str, model: Option<&str>) -> Result<Option<String>, &'static str> {
        let below = |plan: &PathPlan| {
            let rest = path.strip_prefix(plan.usual)?;
            (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
        };
        let Some((plan, rest)) = self.paths.iter().find_map(|plan| Some((plan, below(plan)?))) else {
            return Ok(None);
        };
        let own = match plan.own.split_once(MODEL) {
            None => plan.own.to_string(),
            Some((before, after)) => {
                let model = model.ok_or("calls that name no model")?;
                let mut own = before.to_owned();
                path::escape(model, &mut own);
                own.push_str(after);
                // It would lead elsewhere, or be read differently by different servers.
                if path::normalize(&own).as_deref() != Ok(&own) {
                    return Err("a model whose name cannot be part of a path");
                }
                own
            }
        };
        Ok(Some(own + rest))
    }
}

impl PathPlan {
    /// The dialect's path, where this is the provider's own for it.
    pub fn usual(&self, own: &str) -> Option<&'static str> {
        let is_own = match self.own.split_once(MODEL) {
            None => *self.own == *own,
            Some((before, after)) => {
                let model = own.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                model.is_some_and(|model| !model.is_empty() && !model.contains('/'))
            }
        };
        is_own.then_some(self.usual)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(paths: &[(&'static str, &str)]) -> RequestPlan {
        let paths = paths.iter().map(|(usual, own)| PathPlan { usual, own: (*own).into() }).collect();
        RequestPlan {
            key_header: http::header::AUTHORIZATION,
            key_scheme: "Bearer".into(),
            headers: Vec::new(),
            query: Vec::new(),
            paths,
        }
    }

    #[test]
    fn a_path_of_the_providers_own_takes_the_place_of_the_dialects() {
        let plan = plan(&[("/chat/completions", "/deployments/{model}/chat"), ("/responses", "/v2/responses")]);
        let own = |path: &str| plan.own_path(path, Some("m-1.5")).map(|own| own.unwrap_or_else(|| path.into()));
        assert_eq!(own("/chat/completions").as_deref(), Ok("/deployments/m-1.5/chat"));
        assert_eq!(own("/responses/resp_1?include=a").as_deref(), Ok("/v2/responses/resp_1?include=a"));
        assert_eq!(own("/responses?a=b").as_deref(), Ok("/v2/responses?a=b"));
        // These are other endpoints.
        assert_eq!(own("/responses2").as_deref(), Ok("/responses2"));
        assert_eq!(own("/models").as_deref(), Ok("/models"));
    }

    #[test]
    fn a_models_name_stays_one_segment_of_the_path() {
        let plan = plan(&[("/chat/completions", "/deployments/{model}/chat")]);
        let own = |model: &str| plan.own_path("/chat/completions", Some(model)).map(Option::unwrap_or_default);
        assert_eq!(own("gpt 4:é").as_deref(), Ok("/deployments/gpt%204:%C3%A9/chat"));
        for wrong in ["..", ".", "", "a/b", "a%2fb", "a;b", "a?b", "a#b", "a\\b", "a.", " a", "a\n"] {
            assert!(own(wrong).is_err(), "{wrong:?}");
        }
        assert!(plan.own_path("/chat/completions", None).is_err());
        assert_eq!(plan.paths[0].usual("/deployments/gpt%204:x/chat"), Some("/chat/completions"));
        for other in ["/deployments/a/b/chat", "/deployments//chat", "/deployments/chat", "/chat/completions"] {
            assert_eq!(plan.paths[0].usual(other), None, "{other}");
        }
        assert_eq!(plan.own_path("/models", None), Ok(None));
    }

    proptest! {
        #[test]
        fn whatever_a_model_is_called_it_is_one_segment_or_refused(model in "(\\.{1,3}|%2[eEfF]|%|[a-z0-9:@?#\\\\/;%&= é\t]){0,6}") {
            let plan = plan(&[("/chat/completions", "/deployments/{model}/chat")]);
            let Ok(own) = plan.own_path("/chat/completions", Some(&model)) else { return Ok(()) };
            let own = own.unwrap();
            let segments: Vec<&str> = own.split('/').collect();
            prop_assert_eq!((segments.len(), segments[1], segments[3]), (4, "deployments", "chat"), "{}", own);
            prop_assert_eq!(path::decoded(segments[2]), &*model);
            prop_assert_eq!(plan.paths[0].usual(&own), Some("/chat/completions"));
        }
    }
}
