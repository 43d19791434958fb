//! How many people must approve, and for how many hours they are waited for.

use super::Item;
use crate::domain::{
    image::excerpt,
    reason::{Code, Reason},
    votes::Needed,
};

/// Reads a key that asks for something.
pub(super) fn read(name: &str, item: &mut Item) {
    let read = match name {
        "keel.sh/approvals" => item.value.parse().map(|Needed(needed)| ("approvals", needed.to_string())),
        _ => match item.value.parse::<u16>() {
            Ok(hours @ 1..) => Ok(("approval-timeout", format!("{hours}h"))),
            _ => Err("write a whole number of hours".to_owned()),
        },
    };
    match read {
        Ok(becomes) => {
            if becomes.0 == "approvals" {
                item.differs.push(
                    "who may approve is said by rights of Kubernetes, and they do it by `supercargo approve`, not in Keel's \
                     chat or dashboard"
                        .into(),
                );
            }
            item.becomes.push(becomes);
        }
        Err(why) => {
            let text = format!("`{}: {}`: {why}", item.key, excerpt(&item.value));
            item.blocks = Some(Reason::new(Code::KeelUnsupported, text));
        }
    }
}
