//! What people were told of updates in other systems, in the status of each `ImageUpdate`: `messages`, and `messaging`
//! while one of them does not show the update's end, by which those are found.

use futures::{FutureExt as _, future::BoxFuture};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{
    object::Found,
    requests::{Failure, PAGE},
    store::CustomResources,
    update::{ENDS, ImageUpdate},
};
use crate::{
    cluster::Scope,
    domain::update::{MESSAGES, Message},
    ports::{Announced, Messages, PutError, RecordError, UpdateName, Version},
};

/// The messages.
const LIST: &str = "messages";
/// That one of them does not show the end.
const OPEN: &str = "messaging";
/// As many updates are named at once.
const MOST: usize = 10_000;
/// As many updates are read at once for their names: a connection keeps a buffer as large as what came by it, as long as it
/// is open.
const FEW: u32 = 10;

/// The messages of updates in these namespaces, or in all (`None`).
#[derive(Debug, Clone)]
pub struct MessageStore {
    records: CustomResources,
    namespaces: Vec<Option<String>>,
}

impl Messages for MessageStore {
    fn get<'a>(&'a self, update: &'a UpdateName) -> BoxFuture<'a, Result<Option<Announced>, RecordError>> {
        async move {
            let found = self.records.requests.get::<ImageUpdate>(&update.namespace, &update.name).await?;
            Ok(found.as_ref().and_then(announced).filter(is_told))
        }
        .boxed()
    }

    fn keep<'a>(&'a self, of: &'a Announced, messages: &'a [Message]) -> BoxFuture<'a, Result<Announced, PutError>> {
        async move {
            let UpdateName { namespace, name } = &of.name;
            let found = self.records.requests.get::<ImageUpdate>(namespace, name).await?;
            let found = found.filter(|found| found.resource_version() == &*of.version.0).ok_or(PutError::Conflict)?;
            let object = found.object.as_ref().map_err(|why| PutError::Refused(why.clone()))?;
            let status = object.status.as_ref().and_then(|status| serde_json::to_value(status).ok());
            let mut status = status.ok_or(PutError::Conflict)?;
            status[LIST] = json!(messages);
            match messages.iter().all(|message| message.done) {
                true => _ = status.as_object_mut().and_then(|status| status.remove(OPEN)),
                false => status[OPEN] = json!("open"),
            }
            let kept = self.records.requests.put_status_read(namespace, name, &of.version, &status).await?;
            if !object.is_over() {
                self.records.note(&found, true);
            }
            announced(&kept).ok_or_else(|| PutError::Refused(format!("{name} does not decode as it was written")))
        }
        .boxed()
    }

    fn open(&self) -> BoxFuture<'_, Result<Vec<UpdateName>, RecordError>> {
        async move {
            let unended: Vec<String> = ENDS.iter().map(|end| format!("status.phase!={end}")).collect();
            let mut names = Vec::new();
            for selector in [format!("status.{OPEN}=open"), unended.join(",")] {
                self.named(&selector, &mut names).await?;
            }
            names.sort();
            names.dedup();
            Ok(names)
        }
        .boxed()
    }
}

impl MessageStore {
    /// Makes no request yet.
    pub fn new(records: CustomResources, scope: &Scope) -> Self {
        Self { records, namespaces: scope.each() }
    }

    async fn named(&self, selector: &str, names: &mut Vec<UpdateName>) -> Result<(), RecordError> {
        let mut each = |found: &Found<ImageUpdate>| {
            let announced = announced(found).filter(|announced| is_told(announced) && is_open(announced));
            if let Some(announced) = announced.filter(|_| names.len() < MOST) {
                names.push(announced.name);
            }
        };
        for namespace in &self.namespaces {
            let selected = ListParams::default().limit(FEW).fields(selector);
            match self.records.requests.all::<ImageUpdate>(namespace.as_deref(), selected, &mut each).await {
                // An API server that does not know the selector (before Kubernetes 1.31).
                Err(Failure::Refused(_)) => {
                    let all = ListParams::default().limit(PAGE);
                    self.records.requests.all::<ImageUpdate>(namespace.as_deref(), all, &mut each).await
                }
                answered => answered,
            }
            .map_err(|failure| RecordError(PutError::from(failure).to_string()))?;
        }
        Ok(())
    }
}

/// Whether people are or were asked about it, or told.
fn is_told(announced: &Announced) -> bool {
    announced.tracked.approval.is_some() || !announced.messages.is_empty()
}

/// Whether there may be something to tell.
fn is_open(announced: &Announced) -> bool {
    !announced.tracked.phase.is_over() || announced.messages.iter().any(|message| !message.done)
}

fn announced(found: &Found<ImageUpdate>) -> Option<Announced> {
    let object = found.object.as_ref().ok()?;
    let messages = object.status.as_ref().and_then(|status| status.more.get(LIST));
    Some(Announced {
        name: UpdateName { namespace: found.namespace().into(), name: found.name().into() },
        uid: object.metadata.uid.as_str().into(),
        tracked: object.tracked().ok()?,
        messages: messages.map(read).unwrap_or_default(),
        version: Version(found.resource_version().into()),
    })
}

/// Those that can be read.
fn read(messages: &Value) -> Vec<Message> {
    let all = messages.as_array().into_iter().flatten().take(MESSAGES);
    all.filter_map(|message| serde_json::from_value(message.clone()).ok()).collect()
}
