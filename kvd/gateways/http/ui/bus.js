// Events between the parts of the page, so that parts of the same level do not import each other.
//
//   change   a change that the feed delivers: {id, revision, kind, value, expires, time}
//   follow   the feed starts at a revision: data read before that revision is stale
//   back     the daemon answers again
//   open     the key that is open now, or null
//   clear    keys that this page has cleared
//   save     a key that this page has set
//   draw     the rows of the tree have changed

const listeners = new Map();

export function on(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

export function emit(name, value) {
  for (const listener of listeners.get(name) ?? []) listener(value);
}
