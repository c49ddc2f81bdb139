//! Prompts, as the configuration means them: which there are, in which versions, and who gets which.
//!
//! It does not know where a version was written, nor how its template is rendered.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::shape::Shape;
use crate::model::switch::{FlagKind, Share};
use crate::prompts::template::Template;

/// All prompts, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct PromptsPlan(Vec<Arc<PromptPlan>>);

/// One prompt in all its versions.
#[derive(Debug)]
pub struct PromptPlan {
    /// What callers name: `canvas.generate`.
    pub key: Arc<str>,
    /// In the order of their numbers.
    pub versions: Vec<Arc<PromptVersion>>,
}

/// `[prompt.KEY.VERSION]`
#[derive(Clone, Debug)]
pub struct PromptVersion {
    /// Its number, from 1.
    pub number: u32,
    /// Who may get it.
    pub status: PromptStatus,
    /// The share of callers that gets it while it is tested.
    pub share: Share,
    /// The model to ask; `None`: the caller's, else the route's.
    pub model: Option<Arc<str>>,
    /// The most tokens of an answer, where the caller does not say.
    pub max_tokens: Option<u32>,
    /// The temperature, where the caller does not say.
    pub temperature: Option<f64>,
    /// What the model is told to be, before anything else.
    pub instruction: Option<Template>,
    /// What it is asked.
    pub template: Template,
    /// What the answer must look like; `None`: a text.
    pub shape: Option<Shape>,
}

/// Who may get a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptStatus {
    /// Nobody: it is being written.
    Draft,
    /// The share of callers that it names.
    Testing,
    /// Everybody else.
    Active,
    /// Nobody any more.
    Deprecated,
}

impl PromptStatus {
    /// All of them with their words in the config.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Draft, "draft"),
        (Self::Testing, "testing"),
        (Self::Active, "active"),
        (Self::Deprecated, "deprecated"),
    ];

    /// The word in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            PromptStatus::Draft => "draft",
            PromptStatus::Testing => "testing",
            PromptStatus::Active => "active",
            PromptStatus::Deprecated => "deprecated",
        }
    }
}

impl PromptsPlan {
    /// These, in the order of their keys.
    pub fn new(mut prompts: Vec<Arc<PromptPlan>>) -> Self {
        prompts.sort_by(|left, right| left.key.cmp(&right.key));
        Self(prompts)
    }

    /// The one that is called so.
    pub fn find(&self, key: &str) -> Option<&Arc<PromptPlan>> {
        self.0.iter().find(|prompt| *prompt.key == *key)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<PromptPlan>> {
        self.0.iter()
    }
}

impl PromptPlan {
    /// The version of everybody who is in no test; `None`: nobody can use the prompt.
    pub fn active(&self) -> Option<&Arc<PromptVersion>> {
        self.versions.iter().find(|version| version.status == PromptStatus::Active)
    }

    /// The versions that are tested, in the order of their numbers.
    pub fn testing(&self) -> impl Iterator<Item = &Arc<PromptVersion>> {
        self.versions.iter().filter(|version| version.status == PromptStatus::Testing)
    }
}

impl PromptPlan {
    /// The name of a version among all that flags switch: `canvas.generate.3`.
    pub fn name_of(&self, version: &PromptVersion) -> String {
        format!("{}.{}", self.key, version.number)
    }

    /// The keys of its flags: that which gives everybody the active version while it is off, and one for each version that is
    /// tested, which says who gets it.
    pub fn flags(&self) -> impl Iterator<Item = Arc<str>> {
        std::iter::once(FlagKind::Prompt.key(&self.key))
            .chain(self.testing().map(|version| FlagKind::Prompt.key(&self.name_of(version))))
    }
}

impl PromptVersion {
    /// The variables that it names, whether or not it can do without them.
    pub fn variables(&self) -> BTreeSet<&str> {
        self.template.variables().chain(self.instruction.iter().flat_map(Template::variables)).collect()
    }
}
