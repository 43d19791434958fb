//! Many hosts at once: names that are not found for long, and connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use supercargo::{
    domain::hint::Source,
    ports::{Registry as _, RegistryErrorKind},
    registry::{Client, HostSettings, RegistrySettings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
};

use super::{
    Bench, anonymous, failed,
    fault_server::{FaultServer, page},
    repository, with_secrets,
};
use crate::support::eventually;

/// Finds this machine for `good.test` at once, and for other names when it is let.
struct Slow {
    asked: Mutex<Vec<String>>,
    running: Arc<AtomicUsize>,
    most: AtomicUsize,
    answers: Arc<Semaphore>,
}

impl Slow {
    fn new() -> Arc<Self> {
        let answers = Arc::new(Semaphore::new(0));
        Arc::new(Self { asked: Mutex::default(), running: Arc::default(), most: AtomicUsize::new(0), answers })
    }
}

impl Resolve for Slow {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        self.asked.lock().unwrap().push(name.clone());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let (running, answers) = (self.running.clone(), self.answers.clone());
        Box::pin(async move {
            if !name.contains("good") {
                answers.acquire().await.unwrap().forget();
            }
            running.fetch_sub(1, Ordering::SeqCst);
            let found: [SocketAddr; 1] = ["127.0.0.1:0".parse().unwrap()];
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A registry that is found as `good.test`, and settings that let it be spoken to.
async fn good() -> (FaultServer, String, RegistrySettings) {
    let server = FaultServer::start(|_, _| page(&["1"], None)).await;
    let host = server.host.replace("127.0.0.1", "good.test");
    let named = HostSettings { host: host.clone(), insecure: true, ..HostSettings::default() };
    (server, host, RegistrySettings { hosts: vec![named], ..RegistrySettings::default() })
}

/// How it is known for which namespace a look is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Engine,
    Secrets,
    /// It is not: by the domain.
    Nobody,
}

#[rstest::rstest]
#[case::who_looks_says_it(By::Engine)]
#[case::its_secrets_say_it(By::Secrets)]
#[case::the_domain_says_it(By::Nobody)]
#[tokio::test]
async fn fifteen_hundred_slow_names_of_one_namespace_hold_up_no_other(#[case] by: By) {
    let (_server, host, settings) = good().await;
    let slow = Slow::new();
    let bench = Bench::resolving_by(slow.clone(), settings);
    let source = |namespace: &str, host: &str| match by {
        By::Secrets => with_secrets(repository(&format!("{host}/web")), namespace, &["pull"]),
        By::Engine | By::Nobody => anonymous(repository(&format!("{host}/web"))),
    };
    let client = |namespace: &str| match by {
        By::Engine => bench.client.within(&namespace.into(), usize::MAX),
        By::Secrets | By::Nobody => Box::new(Client::clone(&bench.client)),
    };
    // Who looks for a namespace looks in many domains.
    let name = |n: usize| if by == By::Engine { format!("n.slow{n}.test") } else { format!("n{n}.slow.test") };
    let greedy: Vec<Source> = (0..1500).map(|n| source("greedy", &name(n))).collect();
    let (attacker, neighbour) = (client("greedy"), client("victim"));
    let mut looks: FuturesUnordered<_> = greedy.iter().map(|source| attacker.tags(source)).collect();
    // Eight are looked up, a third of what is free then, and 256 wait; the others are told so at once.
    for _ in 0..1500 - 8 - 256 {
        let look = looks.next().await.unwrap();
        assert_eq!(failed(look, "256 lookups of names wait already"), RegistryErrorKind::Unavailable);
    }
    // The victim is another namespace, or another domain.
    let victim = source("victim", &host);
    let look = neighbour.tags(&victim);
    let victim = futures::future::select(Box::pin(look), Box::pin(looks.next())).await;
    let futures::future::Either::Left((tags, _)) = victim else { panic!("a slow name was found") };
    assert_eq!(tags.unwrap().iter().collect::<Vec<_>>(), ["1"]);
    assert_eq!(slow.running.load(Ordering::SeqCst), 8);

    bench.clock.advance(Duration::from_secs(5)).await;
    for look in looks.collect::<Vec<_>>().await {
        assert_eq!(failed(look, "not looked up within 5 s"), RegistryErrorKind::Unavailable);
    }
    // The threads are not free before their end, and no more are taken meanwhile.
    let again = join_all(greedy.iter().take(20).map(|source| attacker.tags(source)));
    let (again, ()) = futures::future::join(again, bench.clock.advance(Duration::from_secs(5))).await;
    assert!(again.iter().all(Result::is_err));
    assert_eq!(slow.most.load(Ordering::SeqCst), 9, "and one for the victim");
    slow.answers.add_permits(1500);
    eventually("all have ended", async || (slow.running.load(Ordering::SeqCst) == 0).then_some(())).await;
}

#[tokio::test]
async fn what_was_found_is_used_for_a_while_and_longer_where_the_resolver_is_slow() {
    let (_server, host, settings) = good().await;
    let slow = Slow::new();
    let bench = Bench::resolving_by(slow.clone(), settings);
    let source = anonymous(repository(&format!("{host}/web")));
    let asked = || slow.asked.lock().unwrap().len();
    for (passes, expected) in [(0, 1), (29, 1), (1, 2), (60, 3)] {
        bench.clock.advance(Duration::from_secs(passes)).await;
        bench.client.tags(&source).await.unwrap();
        assert_eq!(asked(), expected);
    }
}

/// A registry that keeps its connections, and counts those that are open now.
async fn keeper(open: Arc<AtomicUsize>, made: Arc<AtomicUsize>, answers: Arc<Semaphore>) -> String {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"tags\": []}";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (open, answers) = (open.clone(), answers.clone());
            open.fetch_add(1, Ordering::SeqCst);
            made.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    answers.acquire().await.unwrap().forget();
                    if stream.write_all(ANSWER).await.is_err() {
                        break;
                    }
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    host
}

#[tokio::test]
async fn connections_are_as_many_as_the_settings_say_and_the_last_used_ones() {
    let (open, made, answers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Semaphore::new(0));
    let answers = Arc::new(answers);
    let mut sources = Vec::new();
    for _ in 0..60 {
        let host = keeper(open.clone(), made.clone(), answers.clone()).await;
        sources.push(anonymous(repository(&format!("{host}/web"))));
    }
    let bench = Bench::new(RegistrySettings { connections: 20, ..RegistrySettings::default() });
    // One after the other: the last ten are kept.
    answers.add_permits(60);
    for source in &sources {
        bench.client.tags(source).await.unwrap();
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    eventually("the first ones are closed", async || (count(&open) <= 10).then_some(())).await;
    answers.add_permits(10);
    for source in &sources[50..] {
        bench.client.tags(source).await.unwrap();
    }
    assert_eq!(count(&made), 60, "those used last are used again");
    // All at once, and none answers: ten are asked, and the others wait for them.
    let looks = join_all(sources.iter().map(|source| bench.client.tags(source)));
    let watched = async {
        eventually("ten are asked", async || (count(&made) >= 70).then_some(())).await;
        bench.clock.advance(Duration::from_secs(1)).await;
        assert_eq!(count(&made), 70);
        answers.add_permits(60);
    };
    let (looks, ()) = futures::future::join(looks, watched).await;
    assert!(looks.iter().all(Result::is_ok), "{looks:?}");
    eventually("ten are left", async || (count(&open) <= 10).then_some(())).await;
}
