//! `r`: what a rule sees of the request at hand.
//!
//! Each request has a frozen object of its own, so that reading a field is no more than that.
//! What is dear and seldom asked for is made when a rule asks. The global `r` is a getter that
//! gives the object of the request at hand.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use rquickjs::{self as js, Ctx, Exception, Function, IntoJs, Object, Persistent, Value};

use super::layout::{Field, Layout};
use crate::policy::{Host, Process, ProcessInspector, RequestFacts};

/// What `r` is made of, and what it is now.
///
/// It belongs to one runtime and must be dropped before it.
pub(super) struct Request {
    layout: Layout<RequestFacts>,
    current: Rc<Current>,
}

/// The request at hand.
#[derive(Default)]
struct Current {
    /// What the late fields are made of; `None` before the first request.
    facts: RefCell<Option<RequestFacts>>,
    /// `r`.
    request: RefCell<Option<Persistent<Object<'static>>>>,
    /// `r.process`, once the rule has asked for it.
    process: RefCell<Option<Persistent<Value<'static>>>>,
    process_layout: RefCell<Option<Layout<Process>>>,
    /// What the rule asked for and could not be found out, if anything. The rule gets an
    /// exception for it, but what counts is this note: an exception can be caught, and what a
    /// rule makes of its own ignorance isn't a decision.
    unknown: RefCell<Option<String>>,
}

impl Request {
    /// Sets `r` up. The prelude finds on `native` what must go into the world: `request` is the
    /// getter of the global `r`, and `getters` are the functions that a rule can reach by it.
    ///
    /// # Errors
    ///
    /// When the engine has no memory.
    pub(super) fn new<'js>(
        ctx: &Ctx<'js>,
        native: &Object<'js>,
        inspector: Arc<dyn ProcessInspector>,
    ) -> js::Result<Self> {
        let current = Rc::new(Current::default());
        let now = || Rc::clone(&current);
        let global = {
            let now = now();
            Function::new(ctx.clone(), move |ctx: Ctx<'js>| now.request(&ctx))?
        };
        let url = {
            let now = now();
            Function::new(ctx.clone(), move || now.tell(RequestFacts::url))?
        };
        let requester = {
            let now = now();
            Function::new(ctx.clone(), move || now.tell(|facts| facts.requester.to_string()))?
        };
        let process = {
            let now = now();
            Function::new(ctx.clone(), move |ctx: Ctx<'js>| now.process(&ctx))?
        };
        let exe = {
            let now = now();
            let ask = move |ctx: Ctx<'js>| now.executable(&ctx, &*inspector);
            Function::new(ctx.clone(), ask)?
        };
        native.set("request", global)?;
        native
            .set("getters", vec![url.clone(), requester.clone(), process.clone(), exe.clone()])?;
        // In the order in which `Object.keys` gives them.
        let layout = Layout::new(
            ctx,
            [
                ("url", Field::late(ctx, url)),
                (
                    "method",
                    Field::Now(|ctx, facts: &RequestFacts| facts.method.as_str().into_js(ctx)),
                ),
                (
                    "scheme",
                    Field::Now(|ctx, facts: &RequestFacts| facts.scheme.as_str().into_js(ctx)),
                ),
                ("host", Field::Now(host)),
                ("path", Field::Now(|ctx, facts: &RequestFacts| facts.path.as_str().into_js(ctx))),
                ("requester_ip", Field::late(ctx, requester)),
                (
                    "port",
                    Field::Now(|ctx, facts: &RequestFacts| facts.authority.port().into_js(ctx)),
                ),
                ("query", Field::Now(query)),
                ("process", Field::late(ctx, process)),
            ],
        )?;
        let process_layout = Layout::new(
            ctx,
            [
                ("pid", Field::Now(|ctx, process: &Process| process.pid.into_js(ctx))),
                ("uid", Field::Now(|ctx, process: &Process| process.uid.into_js(ctx))),
                ("comm", Field::Now(|ctx, process: &Process| process.comm.as_str().into_js(ctx))),
                ("exe", Field::late(ctx, exe)),
            ],
        )?;
        current.process_layout.replace(Some(process_layout));
        Ok(Self { layout, current })
    }

    /// From here on `r` is this request.
    ///
    /// # Errors
    ///
    /// When the engine has no memory.
    pub(super) fn begin(&self, ctx: &Ctx<'_>, facts: &RequestFacts) -> js::Result<()> {
        self.end();
        let request = self.layout.make(ctx, facts)?;
        self.current.request.replace(Some(Persistent::save(ctx, request)));
        copy(&mut self.current.facts.borrow_mut(), facts);
        Ok(())
    }

    /// What the rule asked for since [`Request::begin`] and could not be found out.
    pub(super) fn take_unknown(&self) -> Option<String> {
        self.current.unknown.take()
    }

    /// Forgets the request.
    pub(super) fn end(&self) {
        let Current { facts: _, request, process, process_layout: _, unknown } = &*self.current;
        request.take();
        process.take();
        unknown.take();
    }
}

impl Drop for Request {
    /// The functions in the world share `current`, and go with the runtime; values of the engine
    /// must go before.
    fn drop(&mut self) {
        self.end();
        self.current.process_layout.take();
    }
}

impl Current {
    fn request<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Option<Object<'js>>> {
        let request = self.request.borrow().clone();
        request.map(|request| request.restore(ctx)).transpose()
    }

    fn tell(&self, what: impl Fn(&RequestFacts) -> String) -> Option<String> {
        self.facts.borrow().as_ref().map(what)
    }

    /// `r.process`: the same object each time.
    fn process<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        if let Some(process) = self.process.borrow().clone() {
            return process.restore(ctx);
        }
        let (facts, layout) = (self.facts.borrow(), self.process_layout.borrow());
        let process = facts.as_ref().and_then(|facts| facts.process.as_ref());
        let (Some(process), Some(layout)) = (process, layout.as_ref()) else {
            return Ok(Value::new_null(ctx.clone()));
        };
        let process = layout.make(ctx, process)?.into_value();
        self.process.replace(Some(Persistent::save(ctx, process.clone())));
        Ok(process)
    }

    /// `r.process.exe`.
    fn executable<'js>(
        &self,
        ctx: &Ctx<'js>,
        inspector: &dyn ProcessInspector,
    ) -> js::Result<Value<'js>> {
        let process = self.facts.borrow().as_ref().and_then(|facts| facts.process.clone());
        let Some(Process { pid, .. }) = process else { return Ok(Value::new_null(ctx.clone())) };
        match inspector.executable(pid) {
            Ok(Some(path)) => path.into_js(ctx),
            Ok(None) => Ok(Value::new_null(ctx.clone())),
            Err(error) => {
                let what = format!("the program of process {pid} can't be found out: {error}");
                let thrown = Exception::throw_message(ctx, &what);
                self.unknown.replace(Some(what));
                Err(thrown)
            }
        }
    }
}

fn host<'js>(ctx: &Ctx<'js>, facts: &RequestFacts) -> js::Result<Value<'js>> {
    match facts.authority.host() {
        Host::Name(name) => name.as_str().into_js(ctx),
        host @ Host::Ip(_) => host.to_string().into_js(ctx),
    }
}

fn query<'js>(ctx: &Ctx<'js>, facts: &RequestFacts) -> js::Result<Value<'js>> {
    match &facts.query {
        Some(query) => query.as_str().into_js(ctx),
        None => Ok(Value::new_null(ctx.clone())),
    }
}

/// Copies what is known into the room that the last request's took.
fn copy(to: &mut Option<RequestFacts>, from: &RequestFacts) {
    let Some(to) = to else {
        *to = Some(from.clone());
        return;
    };
    let RequestFacts { method, scheme, authority, path, query, requester, process } = from;
    to.method.clone_from(method);
    to.scheme = *scheme;
    to.authority.clone_from(authority);
    to.path.clone_from(path);
    to.query.clone_from(query);
    to.requester = *requester;
    to.process.clone_from(process);
}
