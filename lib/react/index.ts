/** `express-sse-kit/react`: hooks over the client. @packageDocumentation */
export { SseProvider, type SseProviderProps, useSSEState } from './provider.js'
export { type SseHandlers, type UseSseOptions, useSSE } from './use-sse.js'
