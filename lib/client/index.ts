/** `express-sse-kit/client`: for browsers and anything else with `fetch`. @packageDocumentation */
export { EventStreamError } from './error.js'
export { createEventStream } from './event-stream.js'
export type { ClientEvent, ClientListener } from './listeners.js'
export type {
  ClientOptions,
  ClientState,
  ClientStateChange,
  ClientStream,
  Listenable,
  TokenProvider,
} from './options.js'
