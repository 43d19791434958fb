//! The next page of a list is asked for while the last one is read, so that the API server and we work at the same time.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, Uri};
use kube::{Client, client::Body};
use tokio::task::JoinSet;

type ListAnswer = kube::Result<Response<Body>>;
/// A page that was asked for, and its address. Who does not need it any more drops it.
type Next = Arc<Mutex<Option<(Uri, JoinSet<ListAnswer>)>>>;

/// The same client, for whoever reads one list at a time.
pub(super) fn reads_ahead(client: Client) -> Client {
    let (namespace, next) = (client.default_namespace().to_owned(), Next::default());
    let service = tower::service_fn(move |request| answer(client.clone(), next.clone(), request));
    Client::new(service, namespace)
}

async fn answer(client: Client, next: Next, request: Request<Body>) -> ListAnswer {
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    if method != Method::GET || !parameters(&uri).any(|parameter| parameter.starts_with("limit=")) {
        return client.send(request).await;
    }
    let known = next.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|(asked, _)| *asked == uri);
    let known = match known {
        Some((_, mut page)) => page.join_next().await,
        None => None,
    };
    let answer = match known {
        Some(Ok(Ok(answer))) => answer,
        _ => client.send(request).await?,
    };
    if !answer.status().is_success() {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let body = body.collect_bytes().await?;
    if let Some(uri) = following(&uri, &body) {
        let mut request = Request::get(uri.clone()).body(Body::empty()).map_err(kube::Error::HttpError)?;
        *request.headers_mut() = headers;
        let mut page = JoinSet::new();
        page.spawn(async move { client.send(request).await });
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some((uri, page));
    }
    Ok(Response::from_parts(head, Body::from(body)))
}

fn parameters(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&')
}

/// The address of the page after this one, if there is one. The API server writes a list's metadata before its items.
fn following(uri: &Uri, body: &[u8]) -> Option<Uri> {
    let head = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let (head, _) = head.split_once("\"items\":")?;
    let (token, _) = head.split_once("\"continue\":\"")?.1.split_once('"')?;
    let others: Vec<&str> = parameters(uri).filter(|parameter| !parameter.starts_with("continue=")).collect();
    format!("{}?{}&continue={token}", uri.path(), others.join("&")).parse().ok().filter(|_| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::first(
        "/apis/apps/v1/deployments?&limit=100",
        r#"{"kind":"List","metadata":{"resourceVersion":"7","continue":"eyJ2","remainingItemCount":3},"items":[]}"#,
        Some("/apis/apps/v1/deployments?&limit=100&continue=eyJ2")
    )]
    #[case::later(
        "/a?&limit=100&continue=old",
        r#"{"metadata":{"continue":"new"},"items":[]}"#,
        Some("/a?&limit=100&continue=new")
    )]
    #[case::last(
        "/a?&limit=100&continue=old",
        r#"{"metadata":{"resourceVersion":"7"},"items":[{"continue":"no"}]}"#,
        None
    )]
    #[case::empty("/a?limit=100", r#"{"metadata":{"continue":""},"items":[]}"#, None)]
    #[case::nonsense("/a?limit=100", r#"{"metadata":{"continue":"a b"},"items":[]}"#, None)]
    #[case::no_list("/a?limit=100", r#"{"metadata":{"continue":"a"}}"#, None)]
    fn the_next_page_has_the_address_that_it_will_be_asked_for_by(
        #[case] this: &str,
        #[case] body: &str,
        #[case] next: Option<&str>,
    ) {
        let found = following(&this.parse().unwrap(), body.as_bytes());
        assert_eq!(found.map(|uri| uri.to_string()).as_deref(), next);
    }
}
