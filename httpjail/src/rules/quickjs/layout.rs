//! How objects of one kind are made quickly, many times: the same fields in the same order.

use rquickjs::{Ctx, Function, Object, Persistent, Result, Value};

use super::object::{self, Name};

/// The fields of frozen objects that tell about a `T`.
///
/// It belongs to one runtime and must be dropped before it.
pub(super) struct Layout<T> {
    fields: Vec<(Name, Field<T>)>,
    /// Objects with no field, with the first one, the first two, and so on. The engine shares
    /// what it knows about an object's fields between objects that have the same ones. While
    /// these live, it finds that for each step of making another, and builds nothing.
    _steps: Vec<Persistent<Object<'static>>>,
}

/// Where a field's value comes from.
pub(super) enum Field<T> {
    /// It is made with the object.
    Now(for<'js> fn(&Ctx<'js>, &T) -> Result<Value<'js>>),
    /// It is made by this getter when someone asks.
    Late(Persistent<Function<'static>>),
    /// It is the same for all subjects.
    Same(Persistent<Value<'static>>),
    /// It is a function that tells about the subject at hand, and doesn't show in lists.
    Method(Persistent<Value<'static>>),
}

impl<T> Layout<T> {
    /// Prepares for objects with these fields.
    ///
    /// # Errors
    ///
    /// When the engine has no memory.
    pub(super) fn new<const N: usize>(
        ctx: &Ctx<'_>,
        fields: [(&str, Field<T>); N],
    ) -> Result<Self> {
        let fields = fields
            .into_iter()
            .map(|(name, field)| Ok((Name::new(ctx, name)?, field)))
            .collect::<Result<Vec<_>>>()?;
        let nothing = |_: &_| Ok(Value::new_undefined(ctx.clone()));
        let steps = (0..=fields.len())
            .map(|count| fill(ctx, fields.iter().take(count), nothing))
            .map(|object| Ok(Persistent::save(ctx, object?)))
            .collect::<Result<_>>()?;
        Ok(Self { fields, _steps: steps })
    }

    /// Makes the object that tells about `subject`.
    ///
    /// # Errors
    ///
    /// When the engine has no memory.
    pub(super) fn make<'js>(&self, ctx: &Ctx<'js>, subject: &T) -> Result<Object<'js>> {
        let object = fill(ctx, &self.fields, |value| value(ctx, subject))?;
        object::close(&object)?;
        Ok(object)
    }
}

impl<T> Field<T> {
    /// A field that is made by `getter` when someone asks.
    pub(super) fn late<'js>(ctx: &Ctx<'js>, getter: Function<'js>) -> Self {
        Self::Late(Persistent::save(ctx, getter))
    }

    /// A field that has this value in all objects.
    pub(super) fn same<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Self {
        Self::Same(Persistent::save(ctx, value))
    }

    /// A method, the same in all objects.
    pub(super) fn method<'js>(ctx: &Ctx<'js>, method: Function<'js>) -> Self {
        Self::Method(Persistent::save(ctx, method.into_value()))
    }
}

fn fill<'a, 'js, T: 'a>(
    ctx: &Ctx<'js>,
    fields: impl IntoIterator<Item = &'a (Name, Field<T>)>,
    value: impl Fn(&for<'x> fn(&Ctx<'x>, &T) -> Result<Value<'x>>) -> Result<Value<'js>>,
) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    for (name, field) in fields {
        match field {
            Field::Now(make) => object::define(&object, name, &value(make)?)?,
            Field::Late(getter) => {
                object::define_late(&object, name, &getter.clone().restore(ctx)?)?;
            }
            Field::Same(value) => object::define(&object, name, &value.clone().restore(ctx)?)?,
            Field::Method(method) => {
                object::define_hidden(&object, name, &method.clone().restore(ctx)?)?;
            }
        }
    }
    Ok(object)
}
