//! Random trees of kustomizations, as Kustomize builds them before and after an edit.

use crate::support::{kills, trees};

/// The same trees each time; the soak tries others.
const SEED: u64 = 20_261_128;

#[tokio::test(flavor = "multi_thread")]
async fn trees_render_exactly_the_wanted_images_after_each_edit() {
    trees::check(200, kills::given_seed().unwrap_or(SEED)).await.hold();
}
