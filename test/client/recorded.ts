import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type ClientEvent,
  type ClientOptions,
  type ClientStateChange,
  type ClientStream,
  createEventStream,
} from '../../lib/client/index.js'
import { serve, type TestServer } from '../helpers/http-server.js'

/** A stream of the client, with all that it said. */
export interface Recorded {
  readonly stream: ClientStream
  readonly events: readonly ClientEvent[]
  readonly changes: readonly ClientStateChange[]
  /** The data of events `n`. */
  numbers(): number[]
  /** The states it was in, each once in a row. */
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

/** A server that answers each request with the next of these, and then on with the last. */
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

/** A stream of these blocks, that ends after them, or with `open` stays. */
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
