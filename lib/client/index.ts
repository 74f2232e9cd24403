/** `express-sse-kit/client`: for browsers and anything else with `fetch`. */
export {
  type ClientEvent,
  type ClientListener,
  type ClientOptions,
  type ClientState,
  type ClientStateChange,
  type ClientStream,
  createEventStream,
} from './event-stream.js'
