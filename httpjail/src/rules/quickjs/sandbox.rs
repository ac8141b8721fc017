//! One runtime with the rule in it, in which nothing outlives a request.

use std::ffi::{CStr, CString};

use rquickjs::{
    self as js, CatchResultExt, Context, Ctx, Exception, Function, Object, Persistent, Runtime,
    Value,
    context::{EvalOptions, intrinsic},
};

use super::{
    budget::Budget, compiled::Compiled, console, freeze::freeze, request::Request, verdict::Answers,
};
use crate::{
    policy::{Decision, RequestFacts, RunFacts},
    rules::{RuleError, RuleSource},
};

/// A runtime, its frozen world and the compiled rule.
///
/// The order of the fields is that of dropping: the runtime goes last.
pub(super) struct Sandbox {
    rule: Compiled,
    request: Request,
    answers: Answers,
    kit: Persistent<Object<'static>>,
    context: Context,
    budget: Budget,
}

/// How a decision came out.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The rule gave an answer that means something.
    Decided(Decision),
    /// The rule gave a value that proves nothing; this is how it looks.
    Meaningless(String),
    /// The rule threw; this is what.
    Threw(String),
    /// The rule asked what could not be found out, whatever it then answered; this is what.
    Unknown(String),
}

/// Why a sandbox can't be used further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damaged {
    /// The decision took longer than the budget allows.
    #[error("it took longer than {} ms", Budget::WORK.as_millis())]
    OverTime,
    /// The engine had no memory left, or failed otherwise.
    #[error("{0}")]
    Failed(String),
}

impl Sandbox {
    /// Compiles the rule and throws the result away: what is left to go wrong later is memory.
    ///
    /// # Errors
    ///
    /// A syntax error in the rule, or no memory for the engine.
    pub(super) fn check(source: &RuleSource) -> Result<(), RuleError> {
        let runtime = runtime()?;
        let context = Context::custom::<Grammar>(&runtime).map_err(|error| engine_error(&error))?;
        context.with(|ctx| compile(&ctx, source, Compiled::new).map(drop))
    }

    /// Builds a world and compiles the rule into it. This takes milliseconds.
    ///
    /// # Errors
    ///
    /// A syntax error in the rule, or no memory for the engine.
    pub(super) fn new(source: &RuleSource, run: RunFacts) -> Result<Self, RuleError> {
        let budget = Budget::new();
        let runtime = runtime()?;
        let context = Context::custom::<World>(&runtime).map_err(|error| engine_error(&error))?;
        let (rule, request, answers, kit) = context.with(|ctx| {
            let furnished = furnish(&ctx, run).catch(&ctx);
            let (request, answers, kit) =
                furnished.map_err(|error| RuleError::Engine { reason: error.to_string() })?;
            let rule = compile(&ctx, source, Compiled::with_request)?;
            Ok((rule, request, answers, Persistent::save(&ctx, kit)))
        })?;
        // Only now: making the world isn't part of any decision.
        let clock = budget.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || clock.is_spent())));
        Ok(Self { rule, request, answers, kit, context, budget })
    }

    /// Judges one request.
    ///
    /// # Errors
    ///
    /// [`Damaged`] when this sandbox must be thrown away. Nothing was decided then.
    pub(super) fn decide(&self, facts: &RequestFacts) -> Result<Outcome, Damaged> {
        self.budget.renew();
        self.context.with(|ctx| {
            let begun = self.request.begin(&ctx, facts);
            let outcome = match begun.and_then(|()| self.answer(&ctx)) {
                Ok(outcome) => Ok(outcome),
                Err(error) => self.failure(&ctx, &error),
            };
            let unknown = self.request.take_unknown();
            // Also when the rule threw: nothing it has started may reach into the next request.
            let finished = self.finish_jobs(&ctx);
            self.request.end();
            finished?;
            match unknown {
                Some(what) => outcome.map(|_| Outcome::Unknown(what)),
                None => outcome,
            }
        })
    }

    /// Runs the rule and reads its answer.
    fn answer(&self, ctx: &Ctx<'_>) -> js::Result<Outcome> {
        let value = self.rule.run(ctx)?;
        let show = |value: &_| Kit(self.kit.clone().restore(ctx)?).show(value);
        Ok(match self.answers.read(&value, show)? {
            Some(decision) => Outcome::Decided(decision),
            None => Outcome::Meaningless(show(&value)?),
        })
    }

    /// Tells a rule that threw from an engine that is at its end.
    fn failure(&self, ctx: &Ctx<'_>, error: &js::Error) -> Result<Outcome, Damaged> {
        if self.budget.is_spent() {
            ctx.catch();
            return Err(Damaged::OverTime);
        }
        if !error.is_exception() {
            return Err(Damaged::Failed(error.to_string()));
        }
        let thrown = ctx.catch();
        let shown = self.kit.clone().restore(ctx).and_then(|kit| {
            let kit = Kit(kit);
            Ok((kit.show_error(&thrown)?, kit.is_internal(&thrown)?))
        });
        match shown {
            Ok((text, false)) => Ok(Outcome::Threw(text)),
            Ok((text, true)) => Err(Damaged::Failed(text)),
            Err(_) => Err(Damaged::Failed("no memory is left".to_owned())),
        }
    }

    /// Runs what the rule has left to do (promises): within the same budget, without influence
    /// on the decision.
    fn finish_jobs(&self, ctx: &Ctx<'_>) -> Result<(), Damaged> {
        while ctx.execute_pending_job() {
            if self.budget.is_spent() {
                return Err(Damaged::OverTime);
            }
        }
        Ok(())
    }
}

/// What the prelude gives to Rust.
struct Kit<'js>(Object<'js>);

impl<'js> Kit<'js> {
    /// A text for the log. Code of the rule may run (`toJSON`).
    fn show(&self, value: &Value<'js>) -> js::Result<String> {
        self.0.get::<_, Function<'js>>("show")?.call((value.clone(),))
    }

    /// What was thrown, and where.
    fn show_error(&self, thrown: &Value<'js>) -> js::Result<String> {
        let text = self.show(thrown)?;
        let place =
            thrown.as_exception().and_then(Exception::stack).and_then(|stack| Place::find(&stack));
        Ok(match place {
            Some(place) => format!("{text} (line {}, column {})", place.line, place.column),
            None => text,
        })
    }

    /// Whether the engine threw this about itself: out of memory, interrupted. Also `null`,
    /// which it throws when there is no memory for an error either.
    fn is_internal(&self, thrown: &Value<'js>) -> js::Result<bool> {
        let class: Value<'js> = self.0.get("InternalError")?;
        let is_error = thrown.as_object().is_some_and(|object| object.is_instance_of(&class));
        Ok(is_error || thrown.is_null() || thrown.is_uncatchable_error())
    }
}

fn runtime() -> Result<Runtime, RuleError> {
    let runtime = Runtime::new().map_err(|error| engine_error(&error))?;
    runtime.set_memory_limit(MEMORY);
    runtime.set_max_stack_size(STACK);
    Ok(runtime)
}

fn engine_error(error: &js::Error) -> RuleError {
    RuleError::Engine { reason: error.to_string() }
}

/// Makes the world of a rule: see `prelude.js`.
fn furnish<'js>(ctx: &Ctx<'js>, run: RunFacts) -> js::Result<(Request, Answers, Object<'js>)> {
    let native = Object::new(ctx.clone())?;
    let log = |level: u8, text: String| console::log(level, &text);
    native.set("log", Function::new(ctx.clone(), log)?)?;
    let request = Request::new(ctx, &native, run)?;
    let mut options = EvalOptions::default();
    options.filename = Some("httpjail".to_owned());
    let prelude: Function<'js> = ctx.eval_with_options(PRELUDE, options)?;
    let kit: Object<'js> = prelude.call((native,))?;
    freeze(&kit.get("roots")?)?;
    Ok((request, Answers::new(ctx)?, kit))
}

fn compile(
    ctx: &Ctx<'_>,
    source: &RuleSource,
    how: fn(&Ctx<'_>, &CStr, &CStr) -> js::Result<Compiled>,
) -> Result<Compiled, RuleError> {
    let nul = |_| RuleError::Nul { name: source.name().to_owned() };
    let name = CString::new(source.name()).map_err(nul)?;
    let text = CString::new(source.text()).map_err(nul)?;
    how(ctx, &name, &text).map_err(|error| syntax_error(ctx, source, &error))
}

fn syntax_error(ctx: &Ctx<'_>, source: &RuleSource, error: &js::Error) -> RuleError {
    let Some(exception) = ctx.catch().into_exception() else {
        return engine_error(error);
    };
    let place = exception.stack().and_then(|stack| Place::find(&stack));
    let Place { line, column } = place.unwrap_or(Place { line: 1, column: 1 });
    let message = exception.message().unwrap_or_default();
    RuleError::Syntax { name: source.name().to_owned(), line, column, message }
}

/// A place in the rule's text.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    line: u32,
    column: u32,
}

impl Place {
    /// Reads the innermost place from an error's stack, whose lines end in `:LINE:COLUMN` or
    /// `:LINE:COLUMN)`.
    fn find(stack: &str) -> Option<Self> {
        stack.lines().find_map(|line| {
            let mut parts = line.trim_end().trim_end_matches(')').rsplitn(3, ':');
            let column = parts.next()?.parse().ok()?;
            let line = parts.next()?.parse().ok()?;
            Some(Self { line, column })
        })
    }
}

/// What compiling takes.
type Grammar = (intrinsic::Eval, intrinsic::RegExpCompiler);

/// What a rule may use of JavaScript. Left out: `Proxy` (an answer that runs code while it is
/// read), `WeakRef` and `FinalizationRegistry` (code that runs at some later request), the
/// clock of `performance`, and `DOMException`.
type World = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

const PRELUDE: &str = include_str!("prelude.js");
/// For the engine, the rule and all that it makes.
const MEMORY: usize = 64 << 20;
/// Of the worker's stack; a thread of the standard library has 2 MiB.
const STACK: usize = 256 << 10;
