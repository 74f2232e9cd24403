/** One connection by `fetch`, from its request to its end. Must not know what comes next. */

import { createParser, type ParserHandlers } from '../wire/parse.js'
import { EventStreamError } from './error.js'
import type { ClientOptions } from './options.js'
import type { Requests } from './requests.js'

/** What a transport needs to open one connection, and where it reports. */
export interface Connection extends ParserHandlers {
  /** With the token, if the token is sent in the URL. */
  readonly url: URL
  readonly headers: Record<string, string>
  readonly cursor: string
  readonly signal: AbortSignal
  readonly requests: Requests
  readonly options: ClientOptions
  /** Called when data arrives. */
  readonly onAlive: () => void
  /** Called when the data that arrived has been handled. @param isPaused whether reading stops now */
  readonly onRead: (isPaused: boolean) => void
  /** Resolves when the consumer's queue has room; `undefined` if it has room now. */
  readonly room: () => Promise<void> | undefined
  /** The event types for which a native EventSource needs listeners. */
  readonly types: Iterable<string>
  /** Receives a function that adds more types. */
  readonly onListen: (listen: (type: string) => void) => void
}

const EVENT_STREAM = 'text/event-stream'

/** @throws EventStreamError, RetryableError, and the error of a broken connection */
export async function connectFetch(connection: Connection): Promise<void> {
  const { url, headers, cursor, signal, requests, options, onAlive, onRead, room } = connection
  const { maxEventChars = 2_097_152 } = options
  headers.Accept = EVENT_STREAM
  // As UTF-8, like EventSource. `fetch` sends each character of a header as one byte.
  const bytes = Array.from(new TextEncoder().encode(cursor), (byte) => String.fromCharCode(byte))
  if (cursor !== '') headers['Last-Event-ID'] = bytes.join('')
  const { body } = await requests.send(url, { headers, signal }, EVENT_STREAM)
  const parse = createParser(connection, (chars) => {
    if (chars <= maxEventChars) return
    throw new EventStreamError(
      'ERR_SSE_EVENT_TOO_LARGE',
      `An event exceeds maxEventChars (${maxEventChars} characters); raise the option or send smaller events`,
    )
  })
  const decoder = new TextDecoder()
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    // Data of an aborted connection must not change the state of the next one.
    signal.throwIfAborted()
    onAlive()
    parse(decoder.decode(chunk.value, { stream: true }))
    const hasRoom = room()
    onRead(hasRoom !== undefined)
    if (hasRoom === undefined) continue
    await hasRoom
    signal.throwIfAborted()
    onRead(false)
  }
}
