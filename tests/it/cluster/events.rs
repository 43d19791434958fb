//! Events on the workload.

use supercargo::{
    cluster::EventWriter,
    ports::{Events, Notice},
};

use super::{clock, create};
use crate::support::{
    control_plane::{self, audited_user},
    eventually,
};

#[tokio::test]
async fn an_event_appears_on_its_workload_and_the_same_again_is_counted() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("events").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    let uid = ns.get("deployments", "web").await["metadata"]["uid"].as_str().unwrap().to_owned();
    let user = audited_user();
    let (events, work) = EventWriter::new(plane.client(&user).await, clock());
    let task = tokio::spawn(work);
    let notice = |reason, warning, message: &str| Notice {
        workload: web.clone(),
        uid: uid.as_str().into(),
        reason,
        warning,
        message: message.to_owned(),
    };
    events.publish(notice("ImageUpdated", false, "web: 1 -> 2"));
    for _ in 0..10 {
        events.publish(notice("PolicyProblem", true, &format!("bad\n{}", "x".repeat(5000))));
    }
    drop(events);
    task.await.unwrap();

    let writes = plane.audit(&user);
    assert_eq!(writes.iter().filter(|a| a.verb == "create").count(), 2);
    assert_eq!(writes.iter().filter(|a| a.verb == "patch").count(), 1, "counted, not repeated");
    assert!(writes.iter().all(|a| a.code < 300), "{writes:?}");

    let described = eventually("kubectl shows them", async || {
        let text = plane.kubectl(&["-n", &ns.name, "describe", "deployment", "web"]);
        text.contains("PolicyProblem").then_some(text)
    })
    .await;
    assert!(described.contains("Normal") && described.contains("ImageUpdated") && described.contains("web: 1 -> 2"));
    assert!(described.contains("Warning") && described.contains("supercargo"), "{described}");
}

#[tokio::test]
async fn a_namespace_that_is_gone_stops_no_other_event() {
    let plane = control_plane::shared().await;
    let ns = plane.namespace("events-go-on").await;
    let web = create(&ns, "Deployment", "web", &[("web", "r.test/web:1")]).await;
    let user = audited_user();
    let (events, work) = EventWriter::new(plane.client(&user).await, clock());
    let gone = super::id("Deployment", "never-was", "web");
    for workload in [gone, web] {
        let message = "web: 1 -> 2".to_owned();
        events.publish(Notice { workload, uid: "u".into(), reason: "ImageUpdated", warning: false, message });
    }
    drop(events);
    work.await;
    let codes: Vec<u16> = plane.audit(&user).iter().map(|a| a.code).collect();
    assert_eq!(codes, [404, 201]);
}
