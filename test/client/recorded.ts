import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type ClientEvent,
  type ClientOptions,
  type ClientStateChange,
  type ClientStream,
  createEventStream,
} from '../../lib/client/index.js'
import { serve, type TestServer } from '../helpers/http-server.js'

/** A client stream with all its events and state changes. */
export interface Recorded {
  readonly stream: ClientStream
  readonly events: readonly ClientEvent[]
  readonly changes: readonly ClientStateChange[]
  /** The data of the events of type `n`. */
  numbers(): number[]
  /** The states in order, without repetitions in a row. */
  states(): string[]
}

export function record(url: string, options: ClientOptions = {}): Recorded {
  const events: ClientEvent[] = []
  const changes: ClientStateChange[] = []
  const stream = createEventStream(url, { retryMs: 10, ...options, onState: (change) => void changes.push(change) })
  stream.on('*', (event) => void events.push(event))
  return {
    stream,
    events,
    changes,
    numbers: () => events.filter(({ type }) => type === 'n').map(({ data }) => Number(data)),
    states: () => changes.map(({ state }) => state).filter((state, i, all) => state !== all[i - 1]),
  }
}

export type Answer = (req: IncomingMessage, res: ServerResponse) => void

/** A server that answers each request with the next of `answers`, and all further requests with the last. */
export async function answering(
  ...answers: readonly Answer[]
): Promise<TestServer & { readonly requests: readonly IncomingMessage[] }> {
  const requests: IncomingMessage[] = []
  const server = await serve((req, res) => {
    requests.push(req)
    answers[Math.min(requests.length, answers.length) - 1]?.(req, res)
  })
  return { ...server, requests }
}

export function status(code: number, headers: Record<string, string> = {}, body: unknown = undefined): Answer {
  return (_, res) => {
    res.writeHead(code, { ...(body !== undefined && { 'content-type': 'application/problem+json' }), ...headers })
    res.end(body === undefined ? undefined : JSON.stringify(body))
  }
}

/** A stream of these blocks. Ends after them, unless `open`. */
export function blocks(text: string, open = false): Answer {
  return (_, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    if (open) res.write(text)
    else res.end(text)
  }
}

export function json(body: unknown): Answer {
  return (_, res) => {
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
}
