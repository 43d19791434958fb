//! The message of a commit: a template of the configuration, or the default; our trailers always come after it. What
//! names and policies say is one line each, and refers to nobody and nothing: forges act on messages too.

use std::sync::Arc;

use minijinja::{Environment, context};

use super::{
    forges::text::plain,
    history::{CHANGE, UPDATE, trailer},
};
use crate::domain::update::Update;

const DEFAULT: &str = "\
{% if changes | length == 1 -%}
Update {{ changes[0].workload }}: {{ changes[0].repository }} {{ changes[0].from_tag }} to {{ changes[0].to_tag }}
{%- else -%}
Update {{ changes | length }} images of {{ updates }} workload{{ 's' if updates != 1 }}
{%- endif %}

| workload | container | from | to | policy |
|---|---|---|---|---|
{% for c in changes -%}
| {{ c.workload }} | {{ c.container }} | {{ c.from }} | {{ c.to }} | {{ c.policy }} |
{% endfor %}";

/// What a template may take at most, so that it ends.
const FUEL: u64 = 1_000_000;

/// A commit message's template, checked.
#[derive(Debug, Clone)]
pub struct Template(Arc<str>);

impl Default for Template {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl Template {
    /// Checks a template; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let checked = Environment::new().template_from_str(text).map(drop);
        checked.map_err(|error| format!("this is no template: {error}"))?;
        Ok(Self(text.into()))
    }

    /// The whole message for these updates. A template that fails on them gives way to the default.
    pub(super) fn message(&self, updates: &[&Update]) -> String {
        let rendered = self.render(updates).or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "the commit message's template failed; the default is used");
            Self::default().render(updates)
        });
        let mut message = rendered.unwrap_or_default().trim().to_owned();
        message.push_str("\n\n");
        for update in updates {
            message.push_str(&format!("{UPDATE}: {}\n", update.id));
            for change in &update.changes {
                message.push_str(&format!("{CHANGE}: {}\n", trailer(&update.workload, change)));
            }
        }
        message
    }

    fn render(&self, updates: &[&Update]) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let changes: Vec<minijinja::Value> = updates
            .iter()
            .flat_map(|update| {
                update.changes.iter().zip(&update.policies).map(|(change, policy)| {
                    let tag = |image: &crate::domain::image::ImageRef| {
                        let digest = image.digest.as_ref().map(|digest| digest.as_str().chars().take(19).collect());
                        image.tag.as_ref().map_or_else(|| digest.unwrap_or_default(), |tag| tag.to_string())
                    };
                    context! {
                        workload => plain(&update.workload.to_string()),
                        kind => update.workload.kind.as_str(),
                        namespace => plain(&update.workload.namespace),
                        name => plain(&update.workload.name),
                        container => plain(&change.container),
                        repository => change.to.name(),
                        from => change.from.to_string(),
                        to => change.to.to_string(),
                        from_tag => tag(&change.from),
                        to_tag => tag(&change.to),
                        policy => plain(policy),
                    }
                })
            })
            .collect();
        let context = context! { changes, updates => updates.len() };
        environment.render_str(&self.0, context)
    }
}
