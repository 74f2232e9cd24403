import { AsyncResource } from 'node:async_hooks'

const NAME = 'express-sse-kit'

/** Created while the module loads, so it belongs to no request. */
const outside = new AsyncResource(NAME)

/**
 * Runs `call` outside the caller's async context: there, an AsyncLocalStorage has no store. Needed for everything that
 * several requests share (a timer, a batch) and for callbacks that another request triggers. Otherwise they would run
 * with the store of the wrong request and keep that store alive.
 */
export function outsideContext<T>(call: () => T): T {
  return outside.runInAsyncScope(inResourceOfItsOwn<T>, undefined, call)
}

/** Each call gets its own resource: `enterWith` inside `call` must not change the resource that all calls share. */
function inResourceOfItsOwn<T>(call: () => T): T {
  return new AsyncResource(NAME).runInAsyncScope(call)
}
