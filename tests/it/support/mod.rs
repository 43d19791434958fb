//! What the tests share: where the real servers are, how they are started, and how to wait.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

pub(crate) mod attacks;
pub(crate) mod audit;
pub(crate) mod clock;
pub(crate) mod commits;
pub(crate) mod control_plane;
pub(crate) mod front;
pub(crate) mod git_server;
pub(crate) mod gitea;
pub(crate) mod histories;
pub(crate) mod keys;
pub(crate) mod kills;
pub(crate) mod objects;
pub(crate) mod operator;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod registry;
pub(crate) mod shop;
pub(crate) mod slack;
pub(crate) mod tls;
pub(crate) mod token_server;
pub(crate) mod trees;
pub(crate) mod victim;
pub(crate) mod wall_clock;

/// The cache folder of the real servers (`tests/stack/build`): `$SUPERCARGO_STACK`, else under the user's cache.
#[expect(clippy::disallowed_methods, reason = "the tests' own environment, not the program's")]
pub(crate) fn stack() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    var("SUPERCARGO_STACK").unwrap_or_else(|| {
        let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        cache.expect("HOME is set").join("supercargo/stack")
    })
}

/// Writes files below a folder.
pub(crate) fn write_below<P: AsRef<str>, T: AsRef<[u8]>>(root: &Path, files: impl IntoIterator<Item = (P, T)>) {
    for (path, text) in files {
        let path = root.join(path.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// A server's binary, built first if it is not there (the first time that takes minutes).
pub(crate) fn bin(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = stack().join("bin").join(name);
    if !path.exists() {
        BUILT.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack/build");
            let status = Command::new(script).status().expect("tests/stack/build starts");
            assert!(status.success(), "tests/stack/build failed: {status}");
        });
    }
    path
}

/// A port that nobody listens on now, and that is given once: below those that the system gives to whoever asks for any.
/// Another process may be quicker: start the server again then.
pub(crate) fn free_port() -> u16 {
    /// Each process begins elsewhere.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(997)));
    loop {
        let port = 10_000 + u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 20_000).expect("less than 20,000");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// One client for all tests. It keeps no connection, as each belongs to the runtime of the test that opened it.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("an HTTP client")
    });
    &CLIENT
}

/// Asks until there is an answer; panics with `what` when there is none in 5 min.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within_minutes(5, ask).await.unwrap_or_else(|| panic!("waited 5 min in vain: {what}"))
}

/// Asks until there is an answer, or for so long: at first every 10 ms, in the end every 100 ms. What takes long to ask is
/// asked less often, as it takes from what is waited for.
pub(crate) async fn within_minutes<T>(minutes: u64, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let limit = Duration::from_mins(minutes);
    let begun = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        let asked = Instant::now();
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if begun.elapsed() > limit {
            return None;
        }
        tokio::time::sleep(pause.max(4 * asked.elapsed()).min(Duration::from_secs(1))).await;
        pause = (pause * 11 / 10).min(Duration::from_millis(100));
    }
}
