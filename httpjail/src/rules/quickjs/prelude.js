// What a rule finds in its world: `r`, `console`, and nothing that could be changed.
//
// `r` is a getter that gives the request at hand; request.rs makes that, and the getters in it.
//
// The value is a function: it takes what Rust offers, sets the world up, and gives back what Rust
// freezes and calls. It is strict code and runs once for each engine, before the rule is known.
(function ({ log, request, getters }) {
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

  // Where the walk begins that freezes everything which outlives a request, or a rule could count
  // requests in it. Some of it has no name: it is reached only through what the syntax makes.
  const iterator = [].values();
  const roots = [
    globalThis, ...getters,
    function* () {}, async function () {}, async function* () {}, (function* () {})(),
    (async function* () {})(), iterator, iterator.map(show), Iterator.from({ next() {} }),
    new Map().entries(), new Set().values(), ''[Symbol.iterator](), ''.matchAll(/a/g),
  ];

  return {
    roots,
    show: (value) => wellFormed(show(value)),
    InternalError,
  };
})
