/** `express-sse-kit/bus`: one connection for all listeners of a page, and for all tabs. Apart, so that who needs it not does not load it. */
export {
  createEventBus,
  type EventBus,
  type EventBusOptions,
  type SharedStream,
  type SharedStreamOptions,
} from './event-bus.js'
