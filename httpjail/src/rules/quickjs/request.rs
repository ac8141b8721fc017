//! `r`: what a rule sees of the request at hand.
//!
//! Each request has a frozen object of its own, so that reading a field is no more than that.
//! What is dear and seldom asked for is made when a rule asks. The global `r` is a getter that
//! gives the object of the request at hand.

use std::{cell::RefCell, io, rc::Rc, sync::Arc};

use rquickjs::{self as js, Ctx, Exception, Function, IntoJs, Object, Persistent, Value};

use super::{
    freeze::freeze_one,
    layout::{Field, Layout},
};
use crate::policy::{
    Headers, Host, Process, ProcessDetails, ProcessInspector, RequestFacts, RunFacts,
};

/// What `r` is made of, and what it is now.
///
/// It belongs to one runtime and must be dropped before it.
pub(super) struct Request {
    layout: Layout<RequestFacts>,
    current: Rc<Current>,
}

/// The request at hand.
struct Current {
    /// Who tells about processes.
    inspector: Arc<dyn ProcessInspector>,
    /// What the late fields are made of; `None` before the first request.
    facts: RefCell<Option<RequestFacts>>,
    /// `r`.
    request: RefCell<Option<Persistent<Object<'static>>>>,
    /// `r.process`, once the rule has asked for it.
    process: RefCell<Option<Persistent<Value<'static>>>>,
    /// `r.headers`, once the rule has asked for it.
    headers: RefCell<Option<Persistent<Value<'static>>>>,
    /// What was looked up about the process, once the rule has asked for some of it.
    details: RefCell<Option<Option<ProcessDetails>>>,
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
        run: RunFacts,
    ) -> js::Result<Self> {
        let current = Rc::new(Current::new(run.processes));
        native.set("request", current.getter(ctx, Current::request)?)?;
        let url = current.getter(ctx, |now, ctx| now.tell(ctx, RequestFacts::url))?;
        let requester =
            current.getter(ctx, |now, ctx| now.tell(ctx, |facts| facts.requester.to_string()))?;
        let process = current.getter(ctx, Current::process)?;
        let protocol = current.getter(ctx, Current::protocol)?;
        let headers = current.getter(ctx, Current::headers)?;
        let time =
            current.getter(ctx, |now, ctx| now.tell(ctx, |facts| facts.milliseconds() as f64))?;
        let exe = current.getter(ctx, Current::executable)?;
        let ppid = current.getter(ctx, |now, ctx| now.detail(ctx, |details| details.ppid))?;
        let argv = current.getter(ctx, Current::arguments)?;
        let header = {
            let now = Rc::clone(&current);
            Function::new(ctx.clone(), move |ctx: Ctx<'js>, name: String| now.header(&ctx, &name))?
        };
        let all = [&url, &requester, &process, &protocol, &headers, &time, &exe, &ppid, &argv];
        let reachable: Vec<_> = all.into_iter().chain([&header]).cloned().collect();
        native.set("getters", reachable)?;
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
                ("protocol", Field::late(ctx, protocol)),
                ("headers", Field::late(ctx, headers)),
                ("header", Field::method(ctx, header)),
                ("jail", Field::same(ctx, or_null(ctx, run.jail)?)),
                ("time", Field::late(ctx, time)),
            ],
        )?;
        let process_layout = Layout::new(
            ctx,
            [
                ("pid", Field::Now(|ctx, process: &Process| process.pid.into_js(ctx))),
                ("uid", Field::Now(|ctx, process: &Process| process.uid.into_js(ctx))),
                ("comm", Field::Now(|ctx, process: &Process| process.comm.as_str().into_js(ctx))),
                ("exe", Field::late(ctx, exe)),
                ("ppid", Field::late(ctx, ppid)),
                ("argv", Field::late(ctx, argv)),
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

    /// Forgets the request, and gives back what it lent.
    pub(super) fn end(&self) {
        let Current {
            inspector: _,
            facts,
            request,
            process,
            headers,
            details,
            process_layout: _,
            unknown,
        } = &*self.current;
        if let Some(facts) = &mut *facts.borrow_mut() {
            facts.headers = Headers::default();
        }
        request.take();
        process.take();
        headers.take();
        details.take();
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
    fn new(inspector: Arc<dyn ProcessInspector>) -> Self {
        Self {
            inspector,
            facts: RefCell::default(),
            request: RefCell::default(),
            process: RefCell::default(),
            headers: RefCell::default(),
            details: RefCell::default(),
            process_layout: RefCell::default(),
            unknown: RefCell::default(),
        }
    }

    /// A function that asks for something of the request at hand.
    fn getter<'js>(
        self: &Rc<Self>,
        ctx: &Ctx<'js>,
        get: impl Fn(&Self, &Ctx<'js>) -> js::Result<Value<'js>> + 'js,
    ) -> js::Result<Function<'js>> {
        let now = Rc::clone(self);
        Function::new(ctx.clone(), move |ctx: Ctx<'js>| get(&now, &ctx))
    }

    /// `r`.
    fn request<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        let request = self.request.borrow().clone();
        or_null(ctx, request.map(|request| request.restore(ctx)).transpose()?)
    }

    fn tell<'js, T: IntoJs<'js>>(
        &self,
        ctx: &Ctx<'js>,
        what: impl Fn(&RequestFacts) -> T,
    ) -> js::Result<Value<'js>> {
        or_null(ctx, self.facts.borrow().as_ref().map(what))
    }

    /// `r.protocol`.
    fn protocol<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        or_null(ctx, self.facts.borrow().as_ref().and_then(RequestFacts::protocol))
    }

    /// `r.process`: the same object each time.
    fn process<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        once(&self.process, ctx, || {
            let (facts, layout) = (self.facts.borrow(), self.process_layout.borrow());
            let process = facts.as_ref().and_then(|facts| facts.process.as_ref());
            match (process, layout.as_ref()) {
                (Some(process), Some(layout)) => Ok(layout.make(ctx, process)?.into_value()),
                _ => Ok(Value::new_null(ctx.clone())),
            }
        })
    }

    /// `r.headers`: the same object each time, and nothing in it but the fields.
    fn headers<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        once(&self.headers, ctx, || {
            let object = Object::new(ctx.clone())?;
            object.set_prototype(None)?;
            if let Some(facts) = &*self.facts.borrow() {
                facts.headers.iter().try_for_each(|(name, value)| object.set(name, &*value))?;
            }
            freeze_one(object.as_value())?;
            Ok(object.into_value())
        })
    }

    /// `r.header(name)`.
    fn header<'js>(&self, ctx: &Ctx<'js>, name: &str) -> js::Result<Value<'js>> {
        let facts = self.facts.borrow();
        let value = facts.as_ref().and_then(|facts| facts.headers.get(name));
        or_null(ctx, value.as_deref())
    }

    /// `r.process.exe`.
    fn executable<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        if let Some(details) = &*self.details.borrow() {
            return or_null(ctx, details.as_ref().map(|details| details.exe.as_str()));
        }
        or_null(ctx, self.look_up(ctx, |pid| self.inspector.executable(pid))?)
    }

    /// `r.process.argv`.
    fn arguments<'js>(&self, ctx: &Ctx<'js>) -> js::Result<Value<'js>> {
        let arguments = self.detail(ctx, |details| details.argv.clone())?;
        if arguments.is_object() {
            freeze_one(&arguments)?;
        }
        Ok(arguments)
    }

    /// Of what must be looked up about the process, `what`.
    fn detail<'js, T: IntoJs<'js>>(
        &self,
        ctx: &Ctx<'js>,
        what: impl Fn(&ProcessDetails) -> T,
    ) -> js::Result<Value<'js>> {
        if self.details.borrow().is_none() {
            let details = self.look_up(ctx, |pid| self.inspector.details(pid))?;
            self.details.replace(Some(details));
        }
        let details = self.details.borrow();
        or_null(ctx, details.as_ref().and_then(Option::as_ref).map(what))
    }

    /// Looks at the process that sent the request.
    fn look_up<T>(
        &self,
        ctx: &Ctx<'_>,
        ask: impl Fn(u32) -> io::Result<Option<T>>,
    ) -> js::Result<Option<T>> {
        let facts = self.facts.borrow();
        let Some(process) = facts.as_ref().and_then(|facts| facts.process.as_ref()) else {
            return Ok(None);
        };
        ask(process.pid).map_err(|error| {
            let what = format!("process {} can't be looked at: {error}", process.pid);
            let thrown = Exception::throw_message(ctx, &what);
            self.unknown.replace(Some(what));
            thrown
        })
    }
}

/// What `kept` holds; it is made by `make` the first time.
fn once<'js>(
    kept: &RefCell<Option<Persistent<Value<'static>>>>,
    ctx: &Ctx<'js>,
    make: impl FnOnce() -> js::Result<Value<'js>>,
) -> js::Result<Value<'js>> {
    if let Some(value) = kept.borrow().clone() {
        return value.restore(ctx);
    }
    let value = make()?;
    kept.replace(Some(Persistent::save(ctx, value.clone())));
    Ok(value)
}

/// What is missing is `null` to a rule.
fn or_null<'js, T: IntoJs<'js>>(ctx: &Ctx<'js>, value: Option<T>) -> js::Result<Value<'js>> {
    match value {
        Some(value) => value.into_js(ctx),
        None => Ok(Value::new_null(ctx.clone())),
    }
}

fn host<'js>(ctx: &Ctx<'js>, facts: &RequestFacts) -> js::Result<Value<'js>> {
    match facts.authority.host() {
        Host::Name(name) => name.as_str().into_js(ctx),
        host @ Host::Ip(_) => host.to_string().into_js(ctx),
    }
}

fn query<'js>(ctx: &Ctx<'js>, facts: &RequestFacts) -> js::Result<Value<'js>> {
    or_null(ctx, facts.query.as_deref())
}

/// Copies what is known into the room that the last request's took.
fn copy(to: &mut Option<RequestFacts>, from: &RequestFacts) {
    let Some(to) = to else {
        *to = Some(from.clone());
        return;
    };
    let RequestFacts {
        method,
        scheme,
        authority,
        path,
        query,
        protocol,
        headers,
        requester,
        process,
        time,
    } = from;
    to.method.clone_from(method);
    to.scheme = *scheme;
    to.authority.clone_from(authority);
    to.path.clone_from(path);
    to.query.clone_from(query);
    to.protocol = *protocol;
    to.headers.clone_from(headers);
    to.requester = *requester;
    to.process.clone_from(process);
    to.time = *time;
}
