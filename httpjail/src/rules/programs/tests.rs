//! Programs that are asked as the proxy asks them.

use crate::policy::{Authority, Host, RequestFacts, Scheme};

pub(super) fn facts(path: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Http,
        authority: Authority::new(Host::parse("a.test").unwrap(), 80),
        path: path.to_owned(),
        query: None,
        requester: [127, 0, 0, 1].into(),
        process: None,
    }
}
