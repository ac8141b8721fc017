//! Freezes a world: whatever can be reached in it, or a rule could count requests there.
//!
//! A walk over some thousand objects. In JavaScript it took most of the time that a new engine
//! needs, since each step made objects only to look at others.

use std::{collections::HashSet, mem::MaybeUninit};

use rquickjs::{Array, Error, Result, Value, qjs};

/// Freezes `roots` and all that their properties and prototypes lead to. No code of a rule is
/// there yet, so nothing of it can run.
///
/// # Errors
///
/// When the engine has no memory, or something can't be frozen.
pub(super) fn freeze(roots: &Array<'_>) -> Result<()> {
    let mut waiting = roots.iter().collect::<Result<Vec<Value<'_>>>>()?;
    // Holding on to what was seen: an address isn't used again while its object lives.
    let mut frozen = Vec::new();
    let mut seen = HashSet::new();
    while let Some(value) = waiting.pop() {
        if value.is_object() && seen.insert(address(&value)) {
            freeze_one(&value)?;
            waiting.extend(
                value
                    .as_object()
                    .and_then(|object| object.get_prototype())
                    .map(|it| it.into_value()),
            );
            properties(&value, |held| {
                if held.is_object() {
                    waiting.push(held)
                }
            })?;
            frozen.push(value);
        }
    }
    Ok(())
}

/// What tells an object from all others that live.
fn address(object: &Value<'_>) -> usize {
    // SAFETY: the value is an object, and of such it is a pointer, which isn't followed here.
    unsafe { qjs::JS_VALUE_GET_PTR(object.as_raw()) }.addr()
}

/// Freezes one object, and nothing that it leads to.
///
/// # Errors
///
/// As for [`freeze`].
pub(super) fn freeze_one(object: &Value<'_>) -> Result<()> {
    // SAFETY: the object is alive and of this context.
    let is_frozen =
        unsafe { qjs::JS_FreezeObject(object.ctx().as_raw().as_ptr(), object.as_raw()) };
    if is_frozen == 1 { Ok(()) } else { Err(Error::Exception) }
}

/// Gives `hold` the value, the getter and the setter of each own property.
fn properties<'js>(object: &Value<'js>, mut hold: impl FnMut(Value<'js>)) -> Result<()> {
    let ctx = object.ctx();
    let raw = ctx.as_raw().as_ptr();
    let (mut names, mut count) = (std::ptr::null_mut::<qjs::JSPropertyEnum>(), 0);
    let which = (qjs::JS_GPN_STRING_MASK | qjs::JS_GPN_SYMBOL_MASK) as i32;
    // SAFETY: the object is alive and of this context. On success the list is ours, has `count`
    // entries, and is given back once, with that length. A found property's three values are
    // references of ours, which the `Value` around each gives up.
    unsafe {
        if qjs::JS_GetOwnPropertyNames(raw, &raw mut names, &raw mut count, object.as_raw(), which)
            < 0
        {
            return Err(Error::Exception);
        }
        let mut result = Ok(());
        for at in 0..count as usize {
            let name = (*names.add(at)).atom;
            let mut found = MaybeUninit::<qjs::JSPropertyDescriptor>::uninit();
            match qjs::JS_GetOwnProperty(raw, found.as_mut_ptr(), object.as_raw(), name) {
                1 => {
                    let found = found.assume_init();
                    for held in [found.value, found.getter, found.setter] {
                        hold(Value::from_raw(ctx.clone(), held));
                    }
                }
                // It was there a moment ago, and nothing ran in between.
                _ => result = Err(Error::Exception),
            }
        }
        qjs::JS_FreePropertyEnum(raw, names, count);
        result
    }
}

#[cfg(test)]
mod tests {
    use rquickjs::{Context, Runtime};

    use super::*;

    #[test]
    fn freezes_what_properties_getters_and_prototypes_lead_to() {
        let context = Context::full(&Runtime::new().expect("a runtime")).expect("a context");
        context.with(|ctx| {
            let world = "
                const a = {n: 1}, b = {n: 1}, c = {n: 1}, d = {n: 1}, e = [1], f = {n: 1}, hidden = {};
                const get = () => 1, set = function (v) { throw 1 };
                Object.defineProperty(a, 'x', {get, set, configurable: true});
                Object.defineProperty(a, 'y', {value: b, writable: true});
                a[Symbol()] = c; b.self = a; c.d = d; get.kept = e; Object.setPrototypeOf(d, f);
                new WeakMap().set(a, hidden);
                var all = [a, b, c, d, e, f, get, set, set.prototype];
                var free = [hidden, {}];
                [a]";
            let roots: Array<'_> = ctx.eval(world).expect("a world");
            freeze(&roots).expect("frozen");
            let is_frozen = |name: &str| {
                let test = format!("{name}.map(Object.isFrozen).join()");
                ctx.eval::<String, _>(test).expect("a text")
            };
            assert_eq!(is_frozen("all"), ["true"; 9].join(","));
            assert_eq!(is_frozen("free"), "false,false");
        });
    }
}
