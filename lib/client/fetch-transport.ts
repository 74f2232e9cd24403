/** One connection by `fetch`, from its request to its end. Must not know what comes after. */

import { createParser, type ParserHandlers } from '../wire/parse.js'
import { EventStreamError } from './error.js'
import type { ClientOptions } from './options.js'
import type { Requests } from './requests.js'

export interface Connection extends ParserHandlers {
  /** With the token where it needs one. */
  readonly url: URL
  readonly headers: Record<string, string>
  readonly cursor: string
  readonly signal: AbortSignal
  readonly requests: Requests
  readonly options: ClientOptions
  /** Something arrived. */
  readonly onAlive: () => void
  /** What arrived has been handled; `held`: and nothing more is read for now. */
  readonly onRead: (held: boolean) => void
  /** Pending while the consumer is behind. */
  readonly room: () => Promise<void> | undefined
  /** The types to listen to by name, and a way to be told of more. */
  readonly types: Iterable<string>
  readonly onListen: (listen: (type: string) => void) => void
}

const EVENT_STREAM = 'text/event-stream'

/** @throws EventStreamError, RetryableError, and what the connection fails with */
export async function connectFetch(connection: Connection): Promise<void> {
  const { url, headers, cursor, signal, requests, options, onAlive, onRead, room } = connection
  const { maxEventChars = 2_097_152 } = options
  headers.Accept = EVENT_STREAM
  // In UTF-8, as EventSource sends it; `fetch` takes a string for bytes.
  const bytes = Array.from(new TextEncoder().encode(cursor), (byte) => String.fromCharCode(byte))
  if (cursor !== '') headers['Last-Event-ID'] = bytes.join('')
  const { body } = await requests.send(url, { headers, signal }, EVENT_STREAM)
  const parse = createParser(connection, (chars) => {
    if (chars <= maxEventChars) return
    throw new EventStreamError('ERR_SSE_EVENT_TOO_LARGE', `An event has more than ${maxEventChars} characters`)
  })
  const decoder = new TextDecoder()
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    // What follows a connection that was given up must not take what is for the next.
    signal.throwIfAborted()
    onAlive()
    parse(decoder.decode(chunk.value, { stream: true }))
    const full = room()
    onRead(full !== undefined)
    if (full === undefined) continue
    await full
    signal.throwIfAborted()
    onRead(false)
  }
}
