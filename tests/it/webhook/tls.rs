//! The hooks listener over TLS.

use std::{fs, path::Path, sync::Arc, time::Duration};

use reqwest::Client;
use rstest::rstest;
use supercargo::{
    clock::SystemClock,
    ports::{Clock, Offer},
    web::{
        hooks::{Hooks, Senders},
        serve::Limits,
        tls::Tls,
    },
};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{Inbox, SECRET, Served, envelope, settings};
use crate::support::{
    clock::SimClock,
    eventually,
    keys::{Certified, self_signed},
};

#[tokio::test]
async fn the_certificate_of_the_files_is_served_also_after_a_rotation() {
    let (one, two) = (self_signed(), self_signed());
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&certificate, &one.certificate).unwrap();
    fs::write(&key, &one.key).unwrap();
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let tls = Tls::start(certificate.clone(), key.clone(), Arc::new(clock.clone())).await.unwrap();
    let system: Arc<dyn Clock> = Arc::new(clock.clone());
    let doors = Senders::open(settings(&[SECRET]), &system).await.unwrap();
    let hooks = Hooks::new(doors, Inbox::new(Offer::Queued), Arc::default(), system.clone());
    let served = Served::start(hooks.router(), Some(tls), Limits::default(), system).await;
    let trusts = async |pair: &Certified| {
        let root = reqwest::Certificate::from_pem(pair.certificate.as_bytes()).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
        let url = format!("https://{}/hooks/distribution", served.address);
        client.post(url).bearer_auth(SECRET).body(envelope(&[])).send().await.is_ok_and(|r| r.status() == 202)
    };
    assert!(trusts(&one).await && !trusts(&two).await);

    // Half a change serves nobody: the old pair stays until the new one is whole.
    fs::write(&certificate, &two.certificate).unwrap();
    clock.advance(Duration::from_secs(60)).await;
    assert!(trusts(&one).await);
    fs::write(&key, &two.key).unwrap();
    eventually("the new certificate is served", async || {
        clock.advance(Duration::from_secs(1)).await;
        trusts(&two).await.then_some(())
    })
    .await;
    assert!(!trusts(&one).await);

    // A client that begins no handshake does not stay.
    let mut silent = TcpStream::connect(&served.address).await.unwrap();
    let reading = tokio::spawn(async move { silent.read(&mut [0; 1]).await });
    eventually("the server hangs up", async || {
        clock.advance(Duration::from_secs(1)).await;
        reading.is_finished().then_some(())
    })
    .await;
}

#[rstest]
#[case("one.crt", "two.key", "does not serve")]
#[case("one.key", "one.key", "no certificate|does not serve")]
#[case("one.crt", "one.crt", "no private key in PEM")]
#[case("one.crt", "missing", "missing: ")]
#[tokio::test]
async fn a_certificate_that_cannot_serve_is_said_at_once(#[case] crt: &str, #[case] key: &str, #[case] text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pair: &Certified| {
        fs::write(folder.path().join(format!("{name}.crt")), &pair.certificate).unwrap();
        fs::write(folder.path().join(format!("{name}.key")), &pair.key).unwrap();
    };
    write("one", &self_signed());
    write("two", &self_signed());
    let path = |name: &str| Path::join(folder.path(), name);
    let error = Tls::start(path(crt), path(key), Arc::new(SystemClock::default())).await.err().unwrap();
    let error = error.to_string();
    assert!(text.split('|').any(|text| error.contains(text)), "{error}");
}
