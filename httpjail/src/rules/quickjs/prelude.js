// What a rule finds in its world: `r`, `console`, and nothing that could be changed.
//
// `r` is a getter that gives the request at hand; request.rs makes that, and the getters in it.
//
// The value is a function: it takes what Rust offers, sets the world up, freezes it, and gives
// back what Rust calls. It is strict code and runs once for each engine, before the rule is known.
(function ({ log, request, getters }) {
  const { freeze, getOwnPropertyDescriptor, getPrototypeOf } = Object;
  const { ownKeys } = Reflect;
  const { stringify } = JSON;
  const bare = Function.prototype.call.bind(Object.prototype.toString);
  const wellFormed = Function.prototype.call.bind(String.prototype.toWellFormed);

  // Text for the log, whatever the value: never throws but for the budget's end.
  function show(value) {
    try {
      if (typeof value === 'string') return value;
      if (typeof value === 'function') return `function ${value.name}`;
      if (typeof value !== 'object' || value === null || value instanceof Error) return String(value);
      const json = stringify(value);
      const kind = bare(value);
      return json === undefined || (json === '{}' && kind !== '[object Object]') ? kind : json;
    } catch {
      return 'a value that can\'t be shown';
    }
  }

  function line(values) {
    let text = '';
    for (let i = 0; i < values.length; i++) text += (i === 0 ? '' : ' ') + show(values[i]);
    return wellFormed(text);
  }

  const say = (level) => (...values) => log(level, line(values));

  const define = (object, key, value) => Object.defineProperty(object, key, { value, enumerable: true });
  Object.defineProperty(globalThis, 'r', { get: request, enumerable: true });
  define(globalThis, 'console', {
    debug: say(0), log: say(1), info: say(1), warn: say(2), error: say(3),
  });

  // Setters of these two write into the engine, where freezing doesn't reach.
  define(Error, 'stackTraceLimit', 10);
  define(Error, 'prepareStackTrace', undefined);

  // Everything that outlives a request is frozen, or a rule could count requests in it. Some of
  // it has no name: it is reached only through what the syntax makes.
  const iterator = [].values();
  const seen = new Set();
  const waiting = [
    globalThis, ...getters,
    function* () {}, async function () {}, async function* () {}, (function* () {})(),
    (async function* () {})(), iterator, iterator.map(show), Iterator.from({ next() {} }),
    new Map().entries(), new Set().values(), ''[Symbol.iterator](), ''.matchAll(/a/g),
  ];
  while (waiting.length > 0) {
    const object = waiting.pop();
    if (object === null || (typeof object !== 'object' && typeof object !== 'function')) continue;
    if (seen.has(object)) continue;
    seen.add(object);
    freeze(object);
    waiting.push(getPrototypeOf(object));
    const keys = ownKeys(object);
    // Most of the world: a plain function has its name and length, and no more.
    if (keys.length === 2 && keys[0] === 'length' && keys[1] === 'name') continue;
    for (const key of keys) {
      const { value, get, set } = getOwnPropertyDescriptor(object, key);
      waiting.push(value ?? null, get ?? null, set ?? null);
    }
  }

  return {
    show: (value) => wellFormed(show(value)),
    InternalError,
  };
})
