//! One request each to the API server, and what its answer means for a store.
//!
//! Single records of workloads are read by a list of one, so that no right to `get` is needed in their namespaces.

use std::sync::Arc;

use kube::{
    Client, Resource,
    api::{DeleteParams, GetParams, ListParams, PostParams, Preconditions},
    core::{ObjectList, PartialObjectMeta, Request, Status},
};
use serde_json::{Value, json};

use super::object::{Custom, Found, GROUP, VERSION};
use crate::{
    cluster::{failure, in_time},
    net::foreign,
    ports::{Clock, PutError, RecordError, Version},
};

/// Who writes, in managedFields.
const FIELD_MANAGER: &str = "supercargo";
/// As many objects are read at once: one may have 1.5 MiB (the limit of etcd).
pub(super) const PAGE: u32 = 50;
/// As many pages of one workload's objects are read: more than these nobody of us has written.
const PAGES: usize = 40;

/// Why a request failed.
pub(super) enum Failure {
    /// There is none of that name, or it is not of that version.
    NotAsSeen,
    /// There is one of that name.
    Taken,
    /// Its namespace is gone, or goes: all in it is.
    NamespaceGone,
    /// It is larger than the API server takes.
    TooLarge(String),
    /// Refused, in the API server's words.
    Refused(String),
    /// There is no right to it, in the same words.
    NoRight(String),
    /// The cluster does not have the kind, in the same words.
    NoKind(String),
    /// No answer, or none that says anything of the request.
    Unavailable(String),
}

/// The API server.
#[derive(Clone)]
pub(in crate::cluster) struct Requests {
    pub(in crate::cluster) client: Client,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
}

impl Requests {
    /// The object of that name, if there is one.
    pub(super) async fn get<T: Custom>(&self, namespace: &str, name: &str) -> Result<Option<Found<T>>, RecordError> {
        let Ok(of) = collection::<T>(namespace) else { return Ok(None) };
        let params = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
        Ok(self.list(&of, &params).await?.items.pop())
    }

    /// The same by a GET, where there is a right to that.
    pub(super) async fn read<T: Custom>(&self, namespace: &str, name: &str) -> Result<Option<Found<T>>, Failure> {
        let of = collection::<T>(namespace).map_err(Failure::Refused)?;
        let request = of.get(name, &GetParams::default()).map_err(|error| Failure::Refused(error.to_string()))?;
        match self.answered(request).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure::NotAsSeen) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Every object with that label, page after page.
    pub(super) async fn each<T: Custom>(
        &self,
        namespace: &str,
        label: &str,
        mut each: impl FnMut(Found<T>),
    ) -> Result<(), RecordError> {
        let Ok(of) = collection::<T>(namespace) else { return Ok(()) };
        let mut params = ListParams::default().labels(label).limit(PAGE);
        for _ in 0..PAGES {
            let page: ObjectList<Found<T>> = self.list(&of, &params).await?;
            page.items.into_iter().for_each(&mut each);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
        Ok(())
    }

    /// Every object that these ask for, in a namespace or in all, in pages as large as they say.
    pub(super) async fn all<T: Custom>(
        &self,
        namespace: Option<&str>,
        mut params: ListParams,
        mut each: impl FnMut(&Found<T>),
    ) -> Result<(), Failure> {
        let of = match namespace {
            Some(namespace) => collection::<T>(namespace).map_err(Failure::Refused)?,
            None => Request::new(Found::<T>::url_path(&(), None)),
        };
        loop {
            let request = of.list(&params).map_err(|error| Failure::Refused(error.to_string()))?;
            let page: ObjectList<Found<T>> = self.answered(request).await?;
            page.items.iter().for_each(&mut each);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    async fn list<T: Custom>(&self, of: &Request, params: &ListParams) -> Result<ObjectList<Found<T>>, RecordError> {
        let request = of.list(params).map_err(|error| RecordError(error.to_string()))?;
        match in_time(&self.clock, self.client.request(request)).await {
            Some(Ok(list)) => Ok(list),
            Some(Err(error)) => Err(RecordError(failure(&error))),
            None => Err(RecordError(NO_ANSWER.to_owned())),
        }
    }

    /// Creates it; the version that it has then.
    pub(super) async fn create<T: Custom>(
        &self,
        namespace: &str,
        metadata: Value,
        spec: Value,
    ) -> Result<Version, Failure> {
        let of = collection::<T>(namespace).map_err(Failure::Refused)?;
        let object = object::<T>(json!({"metadata": metadata, "spec": spec}));
        self.written::<T>(of.create(&by_us(), object)).await
    }

    /// Writes its status where it is of that version; the version that it has then.
    pub(super) async fn put_status<T: Custom>(
        &self,
        namespace: &str,
        name: &str,
        seen: &Version,
        status: &Value,
    ) -> Result<Version, Failure> {
        self.written::<T>(status_request::<T>(namespace, name, seen, status)?).await
    }

    /// The same; the object as it is then.
    pub(super) async fn put_status_read<T: Custom>(
        &self,
        namespace: &str,
        name: &str,
        seen: &Version,
        status: &Value,
    ) -> Result<Found<T>, Failure> {
        let request = status_request::<T>(namespace, name, seen, status)?;
        self.answered(request.map_err(|error| Failure::Refused(error.to_string()))?).await
    }

    async fn written<T: Custom>(&self, request: Built) -> Result<Version, Failure> {
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        let answer: PartialObjectMeta<Found<T>> = self.answered(request).await?;
        Ok(Version(answer.metadata.resource_version.unwrap_or_default().into()))
    }

    /// Deletes it where it is that one.
    pub(super) async fn delete<T: Custom>(
        &self,
        namespace: &str,
        name: &str,
        preconditions: Preconditions,
    ) -> Result<(), Failure> {
        let of = collection::<T>(namespace).map_err(Failure::Refused)?;
        let request = of.delete(name, &DeleteParams::default().preconditions(preconditions));
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        self.answered::<serde::de::IgnoredAny>(request).await.map(|_| ())
    }

    pub(super) async fn answered<T: serde::de::DeserializeOwned>(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<T, Failure> {
        match in_time(&self.clock, self.client.request(request)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(kube::Error::Api(status))) => Err(Failure::of(&status)),
            Some(Err(error)) => Err(Failure::Unavailable(failure(&error))),
            None => Err(Failure::Unavailable(NO_ANSWER.to_owned())),
        }
    }
}

type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// What writes a status where it is of that version.
fn status_request<T: Custom>(namespace: &str, name: &str, seen: &Version, status: &Value) -> Result<Built, Failure> {
    let of = collection::<T>(namespace).map_err(Failure::Refused)?;
    let metadata = json!({"namespace": namespace, "name": name, "resourceVersion": &*seen.0});
    let object = object::<T>(json!({"metadata": metadata, "status": status}));
    Ok(of.replace_subresource("status", name, &by_us(), object))
}

const NO_ANSWER: &str = "the API server did not answer in time";

fn by_us() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Where the objects of a namespace are. A name of a file is no namespace.
pub(super) fn collection<T: Custom>(namespace: &str) -> Result<Request, String> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match !namespace.is_empty() && namespace.bytes().all(is_inner) {
        true => Ok(Request::new(Found::<T>::url_path(&(), Some(namespace)))),
        false => Err(format!("`{}` is no namespace", foreign(namespace))),
    }
}

fn object<T: Custom>(mut object: Value) -> Vec<u8> {
    object["apiVersion"] = json!(format!("{GROUP}/{VERSION}"));
    object["kind"] = json!(T::KIND);
    object.to_string().into_bytes()
}

impl Failure {
    fn of(status: &Status) -> Self {
        let words = foreign(&format!("{} ({} {})", status.message, status.code, status.reason));
        let details = status.details.as_ref();
        let is_of_namespace = details.is_some_and(|details| details.kind == "namespaces");
        let has_name = details.is_some_and(|details| !details.name.is_empty());
        let terminating = || details.is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"));
        match status.code {
            404 if is_of_namespace => Self::NamespaceGone,
            404 if has_name => Self::NotAsSeen,
            // The watch will say so, too.
            404 => Self::NoKind(words),
            409 if status.reason == "AlreadyExists" => Self::Taken,
            409 => Self::NotAsSeen,
            403 if terminating() => Self::NamespaceGone,
            // What RBAC says; a quota and an admission say something else.
            403 if status.message.contains(" cannot ") => Self::NoRight(words),
            413 => Self::TooLarge(words),
            // What etcd and the way to it say (etcd: "request is too large", gRPC: "trying to send message larger than max").
            500 if ["too large", "larger than max"].iter().any(|said| status.message.contains(said)) => {
                Self::TooLarge(words)
            }
            401 | 408 | 429 | 500.. => Self::Unavailable(words),
            _ => Self::Refused(words),
        }
    }
}

impl From<Failure> for PutError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotAsSeen | Failure::Taken => Self::Conflict,
            Failure::TooLarge(words) | Failure::Refused(words) | Failure::NoRight(words) => Self::Refused(words),
            Failure::NoKind(words) | Failure::Unavailable(words) => Self::Unavailable(words),
            Failure::NamespaceGone => Self::Unavailable("its namespace is gone".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_error(status: Value) -> PutError {
        Failure::of(&serde_json::from_value(status).unwrap()).into()
    }

    #[rstest::rstest]
    #[case::other_version(json!({"code": 409, "reason": "Conflict"}))]
    #[case::taken(json!({"code": 409, "reason": "AlreadyExists"}))]
    #[case::gone(json!({"code": 404, "reason": "NotFound", "details": {"name": "n", "kind": "imageupdates"}}))]
    fn what_is_not_as_it_was_seen_is_a_conflict(#[case] status: Value) {
        assert_eq!(put_error(status), PutError::Conflict);
    }

    #[rstest::rstest]
    #[case::right(json!({"code": 403, "reason": "Forbidden", "message": "no"}))]
    #[case::admission(json!({"code": 400, "message": "no"}))]
    #[case::invalid(json!({"code": 422, "reason": "Invalid", "message": "no"}))]
    #[case::too_large(json!({"code": 413, "message": "no"}))]
    #[case::etcd(json!({"code": 500, "message": "etcdserver: request is too large: no"}))]
    fn what_will_not_be_taken_is_refused_in_the_words_of_the_server(#[case] status: Value) {
        assert!(matches!(put_error(status), PutError::Refused(why) if why.contains("no")));
    }

    #[rstest::rstest]
    #[case::kind_gone(json!({"code": 404, "reason": "NotFound", "details": {}}))]
    #[case::credentials(json!({"code": 401, "reason": "Unauthorized"}))]
    #[case::too_many(json!({"code": 429, "reason": "TooManyRequests"}))]
    #[case::broken(json!({"code": 500, "message": "etcdserver: leader changed"}))]
    #[case::away(json!({"code": 503}))]
    fn what_may_be_taken_later_is_tried_again(#[case] status: Value) {
        assert!(matches!(put_error(status), PutError::Unavailable(_)));
    }

    #[rstest::rstest]
    #[case(json!({"code": 404, "reason": "NotFound", "details": {"name": "shop", "kind": "namespaces"}}))]
    #[case(json!({"code": 403, "details": {"name": "n", "causes": [{"reason": "NamespaceTerminating"}]}}))]
    fn a_namespace_that_is_gone_or_goes_is_told_from_the_rest(#[case] status: Value) {
        assert!(matches!(Failure::of(&serde_json::from_value(status).unwrap()), Failure::NamespaceGone));
    }
}
