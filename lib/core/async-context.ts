import { AsyncResource } from 'node:async_hooks'

const NAME = 'express-sse-kit'

/** Created when the module is loaded, so that it belongs to no request. */
const outside = new AsyncResource(NAME)

/**
 * Runs `call` outside the caller's async context: an AsyncLocalStorage has no store in it. For what several requests share (a timer, a
 * batch) and for callbacks of a request that another one causes: otherwise they would run with the store of the wrong request, and
 * keep it alive.
 */
export function outsideContext<T>(call: () => T): T {
  return outside.runInAsyncScope(inResourceOfItsOwn<T>, undefined, call)
}

/** `enterWith` in `call` then changes this resource alone, not the one that all calls share. */
function inResourceOfItsOwn<T>(call: () => T): T {
  return new AsyncResource(NAME).runInAsyncScope(call)
}
