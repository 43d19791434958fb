//! Somebody who knows the secret of one sender of webhooks, beside another sender that is honest.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::json;

use super::Street;
use crate::support::{
    eventually,
    front::{Front, Way, now},
    objects::{deployment, runs},
    operator::{Operator, Setup},
    registry::{Image, Registry},
    victim::{hooked, tell},
};

const SECRET: &str = "known-to-too-many";

/// A registry that takes 60 requests in a second, and then none for a quarter of an hour. 24 at once and two a second may be
/// for what a sender made up; the first looks and those for `web` may come in the same second.
fn limited(refused: Arc<AtomicUsize>) -> impl Fn(&str) -> Way + Send + Sync {
    let lately: Mutex<VecDeque<Instant>> = Mutex::default();
    move |_| {
        let (mut lately, now) = (lately.lock().unwrap(), now());
        lately.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        lately.push_back(now);
        if lately.len() <= 60 && refused.load(Ordering::Relaxed) == 0 {
            return Way::Pass;
        }
        refused.fetch_add(1, Ordering::Relaxed);
        Way::Later(900)
    }
}

/// Names a thousand tags of these repositories that nobody has pushed, again and again.
async fn make_up(url: String, host: String, names: &'static [&'static str]) {
    let http = Client::builder().no_proxy().build().unwrap();
    for body in 0.. {
        let images: Vec<String> =
            (0..1000).map(|n| format!("{host}/{}:made-up-{body}-{n}", names[n % names.len()])).collect();
        let request = http.post(format!("{url}/hooks/generic")).bearer_auth(SECRET);
        let status = request.body(json!({"images": images}).to_string()).send().await.unwrap().status();
        assert!(status == 202 || status == 429, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_are_made_up_neither_have_a_registry_refuse_nor_lose_anothers_webhook() {
    let street = Street::new("made-up").await;
    let (silent, refused) = (Registry::start().await, Arc::new(AtomicUsize::new(0)));
    let front = Front::start_with(&silent, limited(refused.clone())).await;
    let names = &["a", "b", "c"];
    for name in ["a", "b", "c", "web"] {
        silent.push(name, "1.0.0", &Image::unique()).await;
        let object = deployment(name, &format!("{}/{name}:1.0.0", front.host), hooked());
        street.tenant.create(&object.to_string()).await;
    }
    let setup = street.neighbour.beside(Setup::in_namespace(&street.tenant, "1h"));
    let variables = vec![("SUPERCARGO_HOOK_SECRET_GENERIC".to_owned(), SECRET.to_owned())];
    let operator = Operator::start(street.tenant.plane, &Setup { variables, ..setup }).await;
    eventually("the first looks", async || {
        ["a", "b", "c", "web"].iter().all(|name| front.count(name) > 0).then_some(())
    })
    .await;

    let (before, start) = (front.came().len(), now());
    let floods = [(); 2].map(|()| tokio::spawn(make_up(operator.hooks.clone(), front.host.clone(), names)));
    eventually("there is a flood", async || {
        (operator.metric("supercargo_hooks_total", "sender=\"generic\"").await > 20.0).then_some(())
    })
    .await;
    for tag in ["1.0.1", "1.0.2", "1.0.3"] {
        // Told before it is there.
        tell(&operator, &front.host, "web", tag).await;
        let line = format!("/v2/web/manifests/{tag}");
        eventually("it is asked for", async || front.came().iter().any(|came| came.line.contains(&line)).then_some(()))
            .await;
        silent.push("web", tag, &Image::unique()).await;
        runs(&street.tenant, "web", &[&format!("{}/web:{tag}", front.host)]).await;
        street.neighbour.is_served(tag).await;
    }
    assert!(floods.iter().all(|flood| !flood.is_finished()));
    floods.iter().for_each(tokio::task::JoinHandle::abort);

    assert_eq!(refused.load(Ordering::Relaxed), 0, "the registry never had too much");
    let came = front.came().split_off(before);
    let made_up = |came: &&crate::support::front::Came| !came.line.contains("/web/");
    let (lists, tags): (Vec<_>, Vec<_>) =
        came.iter().filter(made_up).partition(|came| came.line.contains("/tags/list"));
    let seconds = start.elapsed().as_secs() as usize + 1;
    assert!(tags.len() <= 24 + 2 * seconds, "{} requests for tags in {seconds} s", tags.len());
    assert!(lists.len() <= names.len() * (2 + seconds / 10), "{} listings in {seconds} s", lists.len());
}
