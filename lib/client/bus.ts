/**
 * `express-sse-kit/bus`: one connection for all listeners of a page, and for all tabs. A separate entry point, so that
 * only applications that use it load it.
 *
 * @packageDocumentation
 */
export {
  createEventBus,
  type EventBus,
  type EventBusOptions,
  type SharedStream,
  type SharedStreamOptions,
} from './event-bus.js'
