/** `express-sse-kit/react`: hooks over the client. */
export { type UseSseOptions, useSSE } from './use-sse.js'
