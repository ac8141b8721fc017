//! Objects by their own properties, without running any code: what the prelude would need a call
//! of JavaScript for, for each property of each decision.

use std::mem::MaybeUninit;

use rquickjs::{Ctx, Error, Function, Object, Result, Value, qjs};

/// The name of a property, found in the engine's table once. It belongs to one runtime, which
/// frees it: there are as many names as fields, and an engine has them for its life.
#[derive(Debug)]
pub(super) struct Name(qjs::JSAtom);

impl Name {
    /// Enters `name` into the table.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub(super) fn new(ctx: &Ctx<'_>, name: &str) -> Result<Self> {
        let length = name.len() as qjs::size_t;
        // SAFETY: the text is read during the call alone, and no further than its length.
        let atom =
            unsafe { qjs::JS_NewAtomLen(ctx.as_raw().as_ptr(), name.as_ptr().cast(), length) };
        if atom == qjs::JS_ATOM_NULL { Err(Error::Exception) } else { Ok(Self(atom)) }
    }
}

/// Gives `object` a property that can be neither written nor removed.
///
/// # Errors
///
/// When there is no memory, or the object has such a property already.
pub(super) fn define<'js>(object: &Object<'js>, name: &Name, value: &Value<'js>) -> Result<()> {
    let undefined = qjs::JS_UNDEFINED;
    add(object, name, value.as_raw(), undefined, VALUE)
}

/// Gives `object` a property as [`define`] does, which lists of its properties leave out.
///
/// # Errors
///
/// As for [`define`].
pub(super) fn define_hidden<'js>(
    object: &Object<'js>,
    name: &Name,
    value: &Value<'js>,
) -> Result<()> {
    add(object, name, value.as_raw(), qjs::JS_UNDEFINED, VALUE & !qjs::JS_PROP_ENUMERABLE)
}

/// Gives `object` a property that is made when it is asked for, by `getter`.
///
/// # Errors
///
/// When there is no memory, or the object has such a property already.
pub(super) fn define_late<'js>(
    object: &Object<'js>,
    name: &Name,
    getter: &Function<'js>,
) -> Result<()> {
    add(object, name, qjs::JS_UNDEFINED, getter.as_raw(), GETTER)
}

fn add(
    object: &Object<'_>,
    name: &Name,
    value: qjs::JSValue,
    getter: qjs::JSValue,
    flags: u32,
) -> Result<()> {
    let ctx = object.ctx().as_raw().as_ptr();
    // SAFETY: object, value and getter are alive, since the callers borrow them, and of the
    // context's runtime; the engine makes references of its own to what it keeps. The name is in
    // this runtime's table for good.
    let added = unsafe {
        let setter = qjs::JS_UNDEFINED;
        qjs::JS_DefineProperty(ctx, object.as_raw(), name.0, value, getter, setter, flags as i32)
    };
    if added == 1 { Ok(()) } else { Err(Error::Exception) }
}

/// Ends what was built by [`define`] and [`define_late`]: from here on it is as if frozen.
///
/// # Errors
///
/// When the engine fails.
pub(super) fn close(object: &Object<'_>) -> Result<()> {
    let ctx = object.ctx().as_raw().as_ptr();
    // SAFETY: the object is alive and of this context.
    let closed = unsafe { qjs::JS_PreventExtensions(ctx, object.as_raw()) };
    if closed == 1 { Ok(()) } else { Err(Error::Exception) }
}

/// What makes an object an ordinary one: no array, function, promise, `Map`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(qjs::JSClassID);

impl Class {
    /// The class of what `{}` makes.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub(super) fn ordinary(ctx: &Ctx<'_>) -> Result<Self> {
        Ok(Self::of(Object::new(ctx.clone())?.as_value()))
    }

    fn of(value: &Value<'_>) -> Self {
        // SAFETY: the value is alive; one that is no object has a number that no class has.
        Self(unsafe { qjs::JS_GetClassID(value.as_raw()) })
    }
}

/// An object of the ordinary class. All it has is in its properties, so to look at these runs
/// nothing: neither a `Proxy`'s traps nor what else a class may bring along.
#[derive(Debug)]
pub(super) struct Ordinary<'a, 'js>(&'a Value<'js>);

impl<'a, 'js> Ordinary<'a, 'js> {
    /// The value, if it is such an object.
    pub(super) fn of(value: &'a Value<'js>, ordinary: Class) -> Option<Self> {
        (value.is_object() && Class::of(value) == ordinary).then_some(Self(value))
    }

    /// The value of an own property; `undefined` if there is none, or it has a getter instead.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub(super) fn own(&self, name: &Name) -> Result<Value<'js>> {
        let ctx = self.0.ctx();
        let raw = ctx.as_raw().as_ptr();
        let mut found = MaybeUninit::<qjs::JSPropertyDescriptor>::uninit();
        // SAFETY: the object is alive and of this context, and the name in its runtime's table.
        let is_found =
            unsafe { qjs::JS_GetOwnProperty(raw, found.as_mut_ptr(), self.0.as_raw(), name.0) };
        match is_found {
            0 => return Ok(Value::new_undefined(ctx.clone())),
            1 => {}
            _ => return Err(Error::Exception),
        }
        // SAFETY: on 1 the engine has written all the fields. Each is a reference that is now
        // ours, and is given up by the `Value` around it, once. A property with a getter has an
        // undefined value.
        Ok(unsafe {
            let found = found.assume_init();
            drop(Value::from_raw(ctx.clone(), found.getter));
            drop(Value::from_raw(ctx.clone(), found.setter));
            Value::from_raw(ctx.clone(), found.value)
        })
    }

    /// How many own properties there are, hidden ones and symbols included.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub(super) fn size(&self) -> Result<u32> {
        let raw = self.0.ctx().as_raw().as_ptr();
        let (mut names, mut count) = (std::ptr::null_mut(), 0);
        let which = (qjs::JS_GPN_STRING_MASK | qjs::JS_GPN_SYMBOL_MASK) as i32;
        // SAFETY: the object is alive and of this context; on success the list of names is ours,
        // and it is given back with the length that came with it.
        unsafe {
            if qjs::JS_GetOwnPropertyNames(raw, &mut names, &mut count, self.0.as_raw(), which) < 0
            {
                return Err(Error::Exception);
            }
            qjs::JS_FreePropertyEnum(raw, names, count);
        }
        Ok(count)
    }
}

const SHOWN: u32 =
    qjs::JS_PROP_HAS_CONFIGURABLE | qjs::JS_PROP_HAS_ENUMERABLE | qjs::JS_PROP_ENUMERABLE;
const VALUE: u32 = SHOWN | qjs::JS_PROP_HAS_WRITABLE | qjs::JS_PROP_HAS_VALUE;
const GETTER: u32 = SHOWN | qjs::JS_PROP_HAS_GET | qjs::JS_PROP_HAS_SET;

#[cfg(test)]
mod tests {
    use rquickjs::{Context, Runtime};

    use super::*;

    fn with(test: impl FnOnce(Ctx<'_>)) {
        let context = Context::full(&Runtime::new().expect("a runtime")).expect("a context");
        context.with(test);
    }

    #[test]
    fn what_is_defined_and_closed_is_frozen() {
        with(|ctx| {
            let object = Object::new(ctx.clone()).expect("an object");
            let value = Value::new_int(ctx.clone(), 7);
            let getter = ctx.eval::<Function<'_>, _>("() => 8").expect("a function");
            define(&object, &Name::new(&ctx, "a").expect("a name"), &value).expect("defined");
            define_late(&object, &Name::new(&ctx, "b").expect("a name"), &getter).expect("defined");
            define_hidden(&object, &Name::new(&ctx, "c").expect("a name"), &value)
                .expect("defined");
            close(&object).expect("closed");
            define(&object, &Name::new(&ctx, "d").expect("a name"), &value).expect_err("closed");
            ctx.catch();
            ctx.globals().set("o", object).expect("set");
            let looks: String = ctx
                .eval("`${JSON.stringify(o)} ${Object.isFrozen(o)} ${Object.keys(o)} ${o.c}`")
                .expect("a text");
            assert_eq!(looks, r#"{"a":7,"b":8} true a,b 7"#);
        });
    }

    #[test]
    fn only_ordinary_objects_are_looked_at() {
        with(|ctx| {
            let ordinary = Class::ordinary(&ctx).expect("a class");
            for (source, is_ordinary) in [
                ("({})", true),
                ("new (class { x = 1 })", true),
                ("Object.create(null)", true),
                ("Object.freeze({})", true),
                ("[]", false),
                ("() => 1", false),
                ("new Proxy({}, {})", false),
                ("new Map", false),
                ("new String('x')", false),
                ("(function () { return arguments })()", false),
                ("new Date", false),
                ("Promise.resolve()", false),
                ("new Error", false),
                ("1", false),
                ("null", false),
                ("'x'", false),
                ("Symbol()", false),
            ] {
                let value: Value<'_> = ctx.eval(source).expect("a value");
                assert_eq!(Ordinary::of(&value, ordinary).is_some(), is_ordinary, "{source}");
            }
        });
    }

    #[test]
    fn looking_runs_nothing() {
        with(|ctx| {
            let ordinary = Class::ordinary(&ctx).expect("a class");
            let x = Name::new(&ctx, "x").expect("a name");
            for (source, value, size) in [
                ("({x: 1})", Some(1), 1),
                ("({x: 1, [Symbol()]: 2})", Some(1), 2),
                ("Object.defineProperty({}, 'x', {value: 1})", Some(1), 1),
                ("({__proto__: {x: 1}})", None, 0),
                ("({get x() { globalThis.ran = true; return 1 }})", None, 1),
                ("({set x(_) { globalThis.ran = true }})", None, 1),
            ] {
                let object: Value<'_> = ctx.eval(source).expect("a value");
                let object = Ordinary::of(&object, ordinary).expect("an ordinary object");
                assert_eq!(object.own(&x).expect("a look").as_int(), value, "{source}");
                assert_eq!(object.size().expect("a look"), size, "{source}");
            }
            assert!(!ctx.globals().contains_key("ran").expect("a lookup"));
        });
    }
}
