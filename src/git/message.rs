//! The message of a commit: a template of the configuration, or the default; our trailers always come after it. What
//! names and policies say is one line each, and refers to nobody and nothing: forges act on messages too.

use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use super::{
    forges::text::plain,
    history::{CHANGE, ROLLBACK, UPDATE, trailer},
};
use crate::domain::{
    image::ImageRef,
    update::{Change, Item, Update},
    workload::{Kind, WorkloadId},
};

const DEFAULT: &str = "\
{% if changes | length == 1 -%}
{{ verb }} {{ changes[0].workload }}: {{ changes[0].repository }} {{ changes[0].from_tag }} to {{ changes[0].to_tag }}
{%- else -%}
{{ verb }} {{ changes | length }} images of {{ updates }} workload{{ 's' if updates != 1 }}
{%- endif %}

| workload | container | from | to | policy |
|---|---|---|---|---|
{% for c in changes -%}
| {{ c.workload }} | {{ c.container }} | {{ c.from }} | {{ c.to }} | {{ c.policy }} |
{% endfor %}";

/// What a template may use.
const VARIABLES: &str = "available: `verb`, `updates` and `changes`, each with `workload`, `kind`, `namespace`, `name`, \
                         `container`, `repository`, `from`, `to`, `from_tag`, `to_tag` and `policy`";

/// The verbs of messages: of what is new, and of what puts back what was there before.
const UPDATES: &str = "Update";
const PUTS_BACK: &str = "Roll back";

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
    /// Checks a template with samples of one and two changes; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let checked = Environment::new().template_from_str(text).map(drop);
        checked.map_err(|error| format!("this is no template: {error}"))?;
        let template = Self(text.into());
        let image =
            |tag| ImageRef::parse(&format!("registry.example.com/web:{tag}")).map_err(|error| error.to_string());
        let change = Change { container: "web".into(), init: false, from: image("1.4.2")?, to: image("1.5.0")? };
        let workload = WorkloadId { kind: Kind("Deployment".into()), namespace: "shop".into(), name: "web".into() };
        for count in [1, 2] {
            let changes = vec![values(&workload, &change, "minor"); count];
            template.render(UPDATES, changes, count).map_err(|error| match error.kind() {
                ErrorKind::UndefinedError => format!("it uses what there is not: {error}; {VARIABLES}"),
                _ => format!("it fails on {count} changes: {error}"),
            })?;
        }
        Ok(template)
    }

    /// The whole message for these updates. A template that fails on them gives way to the default.
    pub(super) fn message(&self, updates: &[&Update]) -> String {
        let changes: Vec<Value> = updates
            .iter()
            .flat_map(|update| {
                update.items.iter().map(|Item { change, policy, .. }| values(&update.workload, change, policy))
            })
            .collect();
        let is_back = !updates.is_empty() && updates.iter().all(|update| update.puts_back.is_some());
        let verb = if is_back { PUTS_BACK } else { UPDATES };
        let rendered = self.render(verb, changes.clone(), updates.len()).or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "the commit message's template failed; the default is used");
            Self::default().render(verb, changes, updates.len())
        });
        let mut message = rendered.unwrap_or_default();
        message.push_str("\n\n");
        for update in updates {
            message.push_str(&format!("{UPDATE}: {}\n", update.id));
            if let Some(back) = &update.puts_back {
                message.push_str(&format!("{ROLLBACK}: {}\n", back.update));
            }
            for change in update.changes() {
                message.push_str(&format!("{CHANGE}: {}\n", trailer(&update.workload, change)));
            }
        }
        message
    }

    /// What the template makes of them, never empty.
    fn render(&self, verb: &str, changes: Vec<Value>, updates: usize) -> Result<String, Error> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let rendered = environment.render_str(&self.0, context! { verb, changes, updates })?;
        match rendered.trim() {
            "" => Err(Error::new(ErrorKind::InvalidOperation, "it leaves the message empty")),
            message => Ok(message.to_owned()),
        }
    }
}

/// One change, as templates see it.
fn values(workload: &WorkloadId, change: &Change, policy: &str) -> Value {
    // Where the tag stays, the digest tells one image from the other.
    let is_other_digest = change.from.tag == change.to.tag && change.from.digest != change.to.digest;
    let tag = |image: &ImageRef| {
        let digest = image.digest.as_ref().map(|digest| digest.as_str().chars().take(19).collect::<String>());
        match (&image.tag, digest) {
            (Some(tag), Some(digest)) if is_other_digest => format!("{tag} ({digest}…)"),
            (Some(tag), _) => tag.to_string(),
            (None, digest) => digest.unwrap_or_default(),
        }
    };
    context! {
        workload => plain(&workload.to_string()),
        kind => workload.kind.as_str(),
        namespace => plain(&workload.namespace),
        name => plain(&workload.name),
        container => plain(&change.container),
        repository => change.to.name(),
        from => change.from.to_string(),
        to => change.to.to_string(),
        from_tag => tag(&change.from),
        to_tag => tag(&change.to),
        policy => plain(policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("ci: {{ updates }} updates, {{ changes[0].to_tag }}", "")]
    #[case("{% for c in changes %}{{ c.name }} {{ c.note | default('-') }}{% endfor %}", "")]
    #[case("{{ changs }}", "(in <string>:1); available: `verb`, `updates` and `changes`")]
    #[case("{{ changes[0].brnch }}", "it uses what there is not")]
    #[case("{% if brnch %}a{% endif %}", "it uses what there is not")]
    #[case("{% if updates == 2 %}{{ update }}{% endif %}ci: update", "it uses what there is not")]
    #[case("{{ changes[1].to_tag }}", "it uses what there is not")]
    #[case("{{ 1 / 0 }}", "it fails on 1 changes: ")]
    #[case(" {# nothing #}\n", "it leaves the message empty")]
    #[case("{% if updates > 1 %}several{% endif %}", "it leaves the message empty")]
    #[case("{{ changes", "this is no template")]
    fn a_template_is_tried_before_it_is_taken(#[case] text: &str, #[case] says: &str) {
        let said = Template::parse(text).err().unwrap_or_default();
        assert!(said.contains(says) && said.is_empty() == says.is_empty(), "{said}");
    }

    #[rstest::rstest]
    #[case(":1.4.2", ":1.5.0", "1.4.2 to 1.5.0")]
    #[case(":1.4.2@sha256:A", ":1.5.0@sha256:B", "1.4.2 to 1.5.0")]
    #[case(":latest@sha256:A", ":latest@sha256:B", "latest (sha256:aaaaaaaaaaaa…) to latest (sha256:bbbbbbbbbbbb…)")]
    #[case(":latest", ":latest@sha256:B", "latest to latest (sha256:bbbbbbbbbbbb…)")]
    #[case("@sha256:A", "@sha256:B", "sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb")]
    fn the_first_line_tells_the_two_images_apart(#[case] from: &str, #[case] to: &str, #[case] says: &str) {
        let image = |end: &str| {
            let end = end.replace('A', &"a".repeat(64)).replace('B', &"b".repeat(64));
            ImageRef::parse(&format!("registry.example.com/web{end}")).unwrap()
        };
        let workload = WorkloadId { kind: Kind("Deployment".into()), namespace: "shop".into(), name: "web".into() };
        let change = Change { container: "web".into(), init: false, from: image(from), to: image(to) };
        let message = Template::default().render(UPDATES, vec![values(&workload, &change, "digest")], 1).unwrap();
        let expected = format!("Update shop/Deployment/web: registry.example.com/web {says}");
        assert_eq!(message.lines().next(), Some(&*expected));
    }
}
