//! Tag lists in pages: followed to their end, or not used at all.

use supercargo::{
    ports::{Registry as _, RegistryErrorKind},
    registry::RegistrySettings,
};

use super::{
    Bench, anonymous, failed,
    fault_server::{FaultServer, answer, page},
    repository, texts,
};

const FIRST: &str = "GET /v2/web/tags/list";

#[rstest::rstest]
#[case::relative_path(r#"</v2/web/tags/list?last=b&n=2>; rel="next""#)]
#[case::no_space(r#"</v2/web/tags/list?last=b&n=2>;rel="next""#)]
#[case::unquoted(r#"</v2/web/tags/list?last=b&n=2>; rel=next"#)]
#[case::among_others(r#"</x>; rel="first"; title="a,b;rel=next", </v2/web/tags/list?last=b&n=2>; rel="up NEXT""#)]
#[case::relative_to_the_page(r#"<?last=b&n=2>; rel="next""#)]
#[case::absolute(r#"<http://HOST/v2/web/tags/list?last=b&n=2>; rel="next""#)]
#[tokio::test]
async fn a_list_is_followed_to_its_end(#[case] link: &'static str) {
    let server = FaultServer::start(move |seen, _| match seen.line.as_str() {
        FIRST => answer_with_link(&["a", "b"], link, seen),
        "GET /v2/web/tags/list?last=b&n=2" => page(&["c"], None),
        line => panic!("{line}"),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let tags = bench.client.tags(&anonymous(repository(&format!("{}/web", server.host)))).await.unwrap();
    assert_eq!(texts(&tags), ["a", "b", "c"]);
    assert_eq!(server.lines().len(), 2);
}

/// A page whose link has the server's own host for `HOST`.
fn answer_with_link(
    tags: &[&str],
    link: &str,
    seen: &super::fault_server::Seen,
) -> axum::http::Response<axum::body::Body> {
    page(tags, Some(&link.replace("HOST", &seen.host)))
}

#[tokio::test]
async fn an_empty_page_is_the_end_even_with_a_link() {
    let server = FaultServer::start(|_, before| match before {
        0 => page(&["b", "a", "b"], Some("</v2/web/tags/list?last=b>; rel=next")),
        1 => page(&[], Some("</v2/web/tags/list?last=c>; rel=next")),
        n => panic!("request {n}"),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let tags = bench.client.tags(&anonymous(repository(&format!("{}/web", server.host)))).await.unwrap();
    assert_eq!(texts(&tags), ["a", "b"]);
}

#[tokio::test]
async fn no_tags_at_all_is_an_answer_and_null_means_that() {
    let server = FaultServer::start(|_, _| answer(200, &[], r#"{"name":"web","tags":null}"#)).await;
    let bench = Bench::new(RegistrySettings::default());
    let tags = bench.client.tags(&anonymous(repository(&format!("{}/web", server.host)))).await.unwrap();
    assert!(tags.is_empty());
}

#[tokio::test]
async fn what_is_no_tag_is_dropped_and_counted() {
    let long = "x".repeat(129);
    let server =
        FaultServer::start(move |_, _| page(&["a", "", "<script>", "a b", ".a", "1.0\u{202e}", "é", &long, "b"], None))
            .await;
    let bench = Bench::new(RegistrySettings::default());
    let tags = bench.client.tags(&anonymous(repository(&format!("{}/web", server.host)))).await.unwrap();
    assert_eq!(texts(&tags), ["a", "b"]);
    assert_eq!(bench.metrics.registry_tags_dropped.get(), 7);
}

#[rstest::rstest]
#[case::a_later_page_fails("</v2/web/tags/list?last=b>; rel=next", "answered 500", RegistryErrorKind::Unavailable)]
#[case::to_itself("</v2/web/tags/list>; rel=next", "lead back", RegistryErrorKind::Unavailable)]
#[case::to_another_port("<http://127.0.0.1:1/v2/web/tags/list>; rel=next", "another host", RegistryErrorKind::Refused)]
#[case::to_another_scheme(
    "<https://HOST/v2/web/tags/list?n=1>; rel=next",
    "named by https:",
    RegistryErrorKind::Refused
)]
#[case::to_another_host("<//evil.example/v2/web/tags/list>; rel=next", "another host", RegistryErrorKind::Refused)]
#[case::to_a_file("<file:///etc/passwd>; rel=next", "another host", RegistryErrorKind::Refused)]
#[case::without_brackets("/v2/web/tags/list?last=b; rel=next", "Link", RegistryErrorKind::Unavailable)]
#[case::not_closed("</v2/web/tags/list?last=b; rel=next", "Link", RegistryErrorKind::Unavailable)]
#[case::not_a_url("<http://[>; rel=next", "Link", RegistryErrorKind::Unavailable)]
#[tokio::test]
async fn a_list_is_not_used_in_part(#[case] link: &'static str, #[case] words: &str, #[case] kind: RegistryErrorKind) {
    let server = FaultServer::start(move |seen, before| match before {
        0 => answer_with_link(&["a", "b"], link, seen),
        1 => answer(500, &[], "a secret of the registry"),
        n => panic!("request {n}"),
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let error = bench.client.tags(&anonymous(repository(&format!("{}/web", server.host)))).await.unwrap_err();
    assert!(error.message.contains(words), "{}", error.message);
    assert!(!error.message.contains("secret"), "{}", error.message);
    assert_eq!(error.kind, kind);
}

#[tokio::test]
async fn pages_that_go_round_in_a_ring_are_noticed() {
    let server = FaultServer::start(|_, before| {
        page(&[&format!("t{before}")], Some(&format!("</v2/web/tags/list?last={}>; rel=next", before % 3)))
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(repository(&format!("{}/web", server.host)));
    assert_eq!(failed(bench.client.tags(&source).await, "lead back"), RegistryErrorKind::Unavailable);
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn pages_that_never_end_are_cut_off() {
    let server =
        FaultServer::start(|_, before| page(&["a"], Some(&format!("</v2/web/tags/list?last={before}>; rel=next"))))
            .await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(repository(&format!("{}/web", server.host)));
    assert_eq!(failed(bench.client.tags(&source).await, "10,000 pages"), RegistryErrorKind::Unavailable);
}

#[rstest::rstest]
#[case::html("<html>a secret of the registry</html>")]
#[case::empty("")]
#[case::no_tags(r#"{"name":"web"}"#)]
#[case::errors_with_200(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)]
#[case::tags_no_array(r#"{"tags":{"a":1}}"#)]
#[case::tag_no_text(r#"{"tags":["a",1]}"#)]
#[case::twice(r#"{"tags":["a"],"tags":[]}"#)]
#[case::cut(r#"{"tags":["a","b"#)]
#[case::more_after_it(r#"{"tags":["a"]} {"tags":[]}"#)]
#[case::array(r#"["a"]"#)]
#[tokio::test]
async fn what_is_no_tag_list_is_an_error(#[case] body: &'static str) {
    let server = FaultServer::start(move |_, _| answer(200, &[("content-type", "text/html")], body)).await;
    let bench = Bench::new(RegistrySettings::default());
    let error = bench.client.tags(&anonymous(repository(&format!("{}/web", server.host)))).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unavailable);
    assert!(error.message.contains("sent no tag list") && !error.message.contains("secret"), "{}", error.message);
}

#[tokio::test]
async fn more_tags_than_can_be_held_are_refused() {
    let server = FaultServer::start(|_, before| {
        let tags: Vec<String> = (0..100_000).map(|n| format!("{before}-{n}")).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        page(&tags, Some(&format!("</v2/web/tags/list?last={before}>; rel=next")))
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(repository(&format!("{}/web", server.host)));
    assert_eq!(failed(bench.client.tags(&source).await, "1,000,000"), RegistryErrorKind::Unavailable);
    assert_eq!(server.lines().len(), 11);
}

#[tokio::test]
async fn tags_for_which_there_is_no_room_are_read_no_further() {
    let server = FaultServer::start(|seen, _| {
        let number = seen.line.split_once("last=").map_or(0, |(_, last)| last.parse().unwrap()) + 1;
        let tags: Vec<String> = (0..1000).map(|n| format!("{number:02}-{n:03}")).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        page(&tags, (number < 10).then(|| format!("</v2/web/tags/list?last={number}>; rel=next")).as_deref())
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(repository(&format!("{}/web", server.host)));
    let tags = bench.client.tags(&source).await.unwrap();
    assert_eq!((tags.len(), server.lines().len()), (10_000, 10));
    let within = |room| bench.client.within(&"a".into(), room);
    // Each takes what it is long, an end, and what decisions need of it.
    let weight = tags.iter().map(|tag| tag.as_str().len() + 1 + 64).sum::<usize>();
    let error = within(weight / 5).tags(&source).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::NoRoom);
    assert_eq!(server.lines().len(), 10 + 3);
}

#[tokio::test]
async fn a_list_longer_than_64_mib_is_refused() {
    let server = FaultServer::start(|_, before| {
        let body = format!(r#"{{"padding":"{}","tags":["t{before}"]}}"#, "x".repeat(16 << 20));
        let link = format!("</v2/web/tags/list?last={before}>; rel=next");
        answer(200, &[("link", link.as_str())], body)
    })
    .await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(repository(&format!("{}/web", server.host)));
    assert_eq!(failed(bench.client.tags(&source).await, "sent more than"), RegistryErrorKind::Unavailable);
    assert_eq!(server.lines().len(), 4);
}
