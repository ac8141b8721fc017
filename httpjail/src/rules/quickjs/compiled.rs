//! The rule as bytecode: compiled once, run anew for every request.
//!
//! # How
//!
//! A rule is a script whose last expression counts, and its `let` and `const` may not outlive
//! one request. That is what JavaScript's own strict, indirect `eval` does: its declarations are
//! locals of the evaluated code, and its result is the completion value. QuickJS can compile
//! such code without running it (`JS_EVAL_TYPE_INDIRECT`), and running the bytecode again makes
//! the locals again. A script of the ordinary kind (`JS_EVAL_TYPE_GLOBAL`) keeps its
//! declarations for good and can be run once only.
//!
//! `JS_Eval` takes that type as any other, but an `assert` says that only the engine itself was
//! meant to ask for it; hence the feature `disable-assertions`, with which QuickJS is built as
//! its authors build releases (`NDEBUG`). The tests below pin the behaviour down.

use std::ffi::{CStr, CString};

use rquickjs::{Ctx, Error, Persistent, Result, Value, qjs};

/// A rule's bytecode. It belongs to one runtime and must be dropped before it.
pub(super) struct Compiled(Persistent<Value<'static>>);

impl Compiled {
    /// Compiles `source`, running nothing of it.
    ///
    /// # Errors
    ///
    /// [`Error::Exception`], with the syntax error pending in `ctx`.
    pub(super) fn new(ctx: &Ctx<'_>, name: &CStr, source: &CStr) -> Result<Self> {
        Self::at_line(1, ctx, name, source)
    }

    /// Compiles `source` so that each of its runs asks for the global `r` once, and not wherever
    /// the rule names it: a global is looked up by its name, and this one has a getter. That is
    /// all the difference: `r` gives the same value throughout a run, and can't be written in
    /// either form. A rule that declares an `r` of its own is compiled as it is.
    ///
    /// # Errors
    ///
    /// As for [`Compiled::new`].
    pub(super) fn with_request(ctx: &Ctx<'_>, name: &CStr, source: &CStr) -> Result<Self> {
        let text = [REQUEST.to_bytes(), source.to_bytes()].concat();
        // Neither text holds a NUL.
        if let Ok(text) = CString::new(text) {
            if let Ok(compiled) = Self::at_line(REQUEST_LINE, ctx, name, &text) {
                return Ok(compiled);
            }
            ctx.catch();
        }
        Self::new(ctx, name, source)
    }

    /// Compiles `source`, whose first line is called `line`; the engine takes 0 for 1.
    fn at_line(line: i32, ctx: &Ctx<'_>, name: &CStr, source: &CStr) -> Result<Self> {
        let mut options = qjs::JSEvalOptions {
            version: qjs::JS_EVAL_OPTIONS_VERSION as i32,
            eval_flags: COMPILE as i32,
            filename: name.as_ptr(),
            line_num: line,
        };
        // SAFETY: the context is alive for as long as `ctx`; both texts end in a NUL, which the
        // parser asks of `source`, and `count_bytes` doesn't count it; they and the options are
        // only read, and only during the call.
        let bytecode = unsafe {
            qjs::JS_Eval2(
                ctx.as_raw().as_ptr(),
                source.as_ptr(),
                source.count_bytes() as qjs::size_t,
                &raw mut options,
            )
        };
        Ok(Self(Persistent::save(ctx, adopt(ctx, bytecode)?)))
    }

    /// Runs the rule and gives the value of its last expression.
    ///
    /// # Errors
    ///
    /// [`Error::Exception`], with what was thrown pending in `ctx`.
    pub(super) fn run<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let bytecode = self.0.clone().restore(ctx)?;
        let raw = ctx.as_raw().as_ptr();
        // SAFETY: `restore` has checked that the bytecode is of this runtime, and `JS_Eval` with
        // `JS_EVAL_FLAG_COMPILE_ONLY` gave it. `JS_EvalFunction` releases one reference: the one
        // that is made for it here.
        let value = unsafe { qjs::JS_EvalFunction(raw, qjs::JS_DupValue(raw, bytecode.as_raw())) };
        adopt(ctx, value)
    }
}

/// Takes over a value that the engine returned with a reference of its own.
fn adopt<'js>(ctx: &Ctx<'js>, raw: qjs::JSValue) -> Result<Value<'js>> {
    // SAFETY: looks at the tag alone.
    if unsafe { qjs::JS_IsException(raw) } {
        return Err(Error::Exception);
    }
    // SAFETY: the callers pass what a call on this context just returned, once.
    Ok(unsafe { Value::from_raw(ctx.clone(), raw) })
}

const COMPILE: u32 =
    qjs::JS_EVAL_TYPE_INDIRECT | qjs::JS_EVAL_FLAG_STRICT | qjs::JS_EVAL_FLAG_COMPILE_ONLY;

/// What is put before a rule: two lines, so that the rule's first line has the number 1.
const REQUEST: &CStr = c"const r=globalThis.r;\n\n";
const REQUEST_LINE: i32 = -1;

#[cfg(test)]
mod tests {
    use rquickjs::{Context, Runtime};

    use super::*;

    /// Runs `source` three times in one context.
    fn thrice(source: &str) -> Vec<Option<i32>> {
        let context = Context::full(&Runtime::new().expect("a runtime")).expect("a context");
        context.with(|ctx| {
            let source = CString::new(source).expect("no NUL");
            let rule = Compiled::new(&ctx, c"rule", &source).expect("compiles");
            (0..3).map(|_| rule.run(&ctx).ok().and_then(|value| value.as_int())).collect()
        })
    }

    #[test]
    fn the_last_expression_counts() {
        for (source, value) in [
            ("1", Some(1)),
            ("1; 2", Some(2)),
            ("2; const x = 3", Some(2)),
            ("const x = 4; x", Some(4)),
            ("if (true) { 5 } else { 6 }", Some(5)),
            ("for (let i = 0; i < 3; i++) i", Some(2)),
            ("switch (1) { case 1: 7 }", Some(7)),
            ("try { 8 } finally { 9 }", Some(8)),
            ("function f() { return 10 } f()", Some(10)),
            ("const x = 1", None),
            ("", None),
        ] {
            assert_eq!(thrice(source), [value; 3], "{source}");
        }
    }

    #[test]
    fn declarations_are_made_anew() {
        for source in [
            "const n = 1; n",
            "let n = 1; n++",
            "var n; n = (n ?? 0) + 1",
            "var n = n === undefined ? 1 : 2; n",
            "function f() { f.n = (f.n ?? 0) + 1; return f.n } f()",
            "class C { static n = 0; static #m = 0; static next() { return ++C.n * ++C.#m } } C.next()",
            "const m = new WeakMap(); const k = {}; m.set(k, (m.get(k) ?? 0) + 1); m.get(k)",
            "const x = /a/g; x.test('aa'); x.lastIndex",
        ] {
            assert_eq!(thrice(source), [Some(1); 3], "{source}");
        }
    }

    #[test]
    fn compiling_runs_nothing() {
        let context = Context::full(&Runtime::new().expect("a runtime")).expect("a context");
        context.with(|ctx| {
            Compiled::new(&ctx, c"rule", c"globalThis.ran = true").expect("compiles");
            assert!(!ctx.globals().contains_key("ran").expect("a lookup"));
        });
    }

    #[test]
    fn code_is_strict() {
        assert_eq!(thrice("undeclared = 1"), [None; 3]);
        assert_eq!(thrice("(function () { return this === undefined ? 1 : 0 })()"), [Some(1); 3]);
    }

    /// A world whose global `r` is 7 by a getter, which counts in `asked`.
    fn with_r(test: impl FnOnce(&Ctx<'_>)) {
        let context = Context::full(&Runtime::new().expect("a runtime")).expect("a context");
        context.with(|ctx| {
            let r = "var asked = 0; Object.defineProperty(globalThis, 'r', {get() { asked++; return 7 }})";
            ctx.eval::<(), _>(r).expect("a getter");
            test(&ctx);
        });
    }

    #[test]
    fn the_request_is_asked_for_once_a_run() {
        with_r(|ctx| {
            let rule = Compiled::with_request(ctx, c"rule", c"[1, 2, 3].map(x => x * r)[2] + r");
            let rule = rule.expect("compiles");
            for run in 1..=3 {
                assert_eq!(rule.run(ctx).expect("runs").as_int(), Some(28));
                assert_eq!(ctx.globals().get::<_, i32>("asked").expect("a number"), run);
            }
        });
    }

    /// What a rule gives, or the place of what it throws.
    fn outcome<'js>(
        ctx: &Ctx<'js>,
        rule: Result<Compiled>,
    ) -> std::result::Result<Value<'js>, String> {
        let result = rule.and_then(|rule| rule.run(ctx));
        result.map_err(|_| {
            let exception = ctx.catch().into_exception().expect("an error");
            format!("{exception}")
        })
    }

    #[test]
    fn asking_once_changes_nothing_else() {
        with_r(|ctx| {
            for (source, value) in [
                (c"r", Some(7)),
                (c"", None),
                (c"const x = r", None),
                (c"const r = 5; r", Some(5)),
                (c"let r; r = 5; r", Some(5)),
                (c"var r = 5; r", Some(5)),
                (c"function r() { return 5 } r()", Some(5)),
                (c"class r { static five = 5 } r.five", Some(5)),
                (c"{ const r = 5; r }", Some(5)),
                (c"(r => r)(5)", Some(5)),
                (c"for (const r of [5]) r", Some(5)),
                (c"globalThis.r", Some(7)),
                (c"eval('r')", Some(7)),
                (c"(0, eval)('r')", Some(7)),
                (c"Function('return r')()", Some(7)),
                (c"'use strict'; r", Some(7)),
                (c"-->\n r", None),
                (c"#!shell\nr", None),
                (c"r = 5", None),
                (c"\n\n  r.a.b", None),
                (c"undeclared", None),
                (c"r;\n (() => {\n throw new Error('x') })()", None),
                (c"r ===", None),
                (c"\n}", None),
            ] {
                let plain = outcome(ctx, Compiled::new(ctx, c"rule", source));
                let once = outcome(ctx, Compiled::with_request(ctx, c"rule", source));
                let is_write = source == c"r = 5";
                if is_write {
                    // Either way an error; the engine words it differently.
                    assert!(plain.is_err() && once.is_err());
                    continue;
                }
                let number = |value: &Value<'_>| value.as_int();
                assert_eq!(once.as_ref().map(number), plain.as_ref().map(number), "{source:?}");
                if value.is_some() {
                    assert_eq!(once.ok().as_ref().and_then(number), value, "{source:?}");
                }
            }
        });
    }
}
