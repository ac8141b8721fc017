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

use std::ffi::CStr;

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
        // SAFETY: the context is alive for as long as `ctx`; both texts end in a NUL, which the
        // parser asks of `source`, and `count_bytes` doesn't count it; they are only read, and
        // only during the call.
        let bytecode = unsafe {
            qjs::JS_Eval(
                ctx.as_raw().as_ptr(),
                source.as_ptr(),
                source.count_bytes() as qjs::size_t,
                name.as_ptr(),
                COMPILE as i32,
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

#[cfg(test)]
mod tests {
    use std::ffi::CString;

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
}
