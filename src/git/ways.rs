//! The ways of a target: to the branch itself, and into requests, each group for itself.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;

use super::{asked::Asked, target::Target, work::Work};
use crate::domain::{
    plan::{Approved, Plan},
    target::Route,
};

impl Target {
    /// Takes each way for what goes by it, and brings what came of it into the order of the plans. `take` is told whether
    /// the way is a request, and answers for each that it is given. Ends with the first error.
    pub(super) async fn each_way<T, E>(
        &self,
        work: &mut Work,
        plans: &[Plan<Approved>],
        take: impl for<'w> Fn(&'w Self, &'w mut Work, Arc<Vec<Asked>>, bool) -> BoxFuture<'w, Result<Vec<T>, E>>,
    ) -> Result<Vec<T>, E> {
        let mut ways: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (number, plan) in plans.iter().enumerate() {
            let route = &plan.update().route;
            let group = matches!(route, Route::Request(..)).then(|| route.group());
            ways.entry(group).or_default().push(number);
        }
        let mut all = BTreeMap::new();
        for (group, numbers) in ways {
            let asked = Arc::new(numbers.iter().map(|&number| Asked::from(&plans[number])).collect());
            all.extend(numbers.into_iter().zip(take(self, work, asked, group.is_some()).await?));
        }
        Ok(all.into_values().collect())
    }
}
