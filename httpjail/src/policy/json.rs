//! What a rule may know about a request, as JSON: the same fields that JavaScript has in `r`.

use std::io;

use serde_json::{Map, Value, json};

use super::{Process, RequestFacts, RunFacts};

impl RequestFacts {
    /// The object that tells about this request of `run`. What is missing is `null`.
    ///
    /// # Errors
    ///
    /// When something about the process can't be found out: no decision may rest on that.
    pub fn to_json(&self, run: &RunFacts) -> io::Result<Value> {
        let headers = self.headers.iter().map(|(name, value)| (name.to_owned(), value.into()));
        Ok(json!({
            "url": self.url(),
            "method": self.method,
            "scheme": self.scheme.as_str(),
            "host": self.authority.host().to_string(),
            "path": self.path,
            "requester_ip": self.requester.to_string(),
            "port": self.authority.port(),
            "query": self.query,
            "process": self.process.as_ref().map(|process| process.to_json(run)).transpose()?,
            "protocol": self.protocol(),
            "headers": headers.collect::<Map<String, Value>>(),
            "jail": run.jail,
            "time": self.milliseconds(),
        }))
    }
}

impl Process {
    fn to_json(&self, run: &RunFacts) -> io::Result<Value> {
        let details = run.processes.details(self.pid)?;
        let details = details.as_ref();
        Ok(json!({
            "pid": self.pid,
            "uid": self.uid,
            "comm": self.comm,
            "exe": details.map(|details| &details.exe),
            "ppid": details.map(|details| details.ppid),
            "argv": details.map(|details| &details.argv),
        }))
    }
}
