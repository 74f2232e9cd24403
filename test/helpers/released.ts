/** What is left on the socket of a stream whose request and response were released. */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** When a stream releases its request, in ms. */
export const RELEASE_MS = 1000

/** The response whose turn it is, in the eyes of Node. */
export function responseOn(socket: Socket): unknown {
  return (socket as Socket & { _httpMessage?: unknown })._httpMessage
}

export function isReleased(socket: Socket): boolean {
  const { parser } = socket as Socket & { parser?: unknown }
  return parser === null && responseOn(socket) !== null && !(responseOn(socket) instanceof ServerResponse)
}
