/**
 * One server for all scripts. Each run has a separate path, and its requests are answered with the answers of its
 * script, in order.
 */
import type { IncomingMessage } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import { type Answer, status } from '../client/recorded.js'
import { serve, type TestServer } from '../helpers/http-server.js'

/** The properties of a request that the standard defines. */
interface SeenRequest {
  readonly method: string | undefined
  /** The end of its path: `stream`, or where it was redirected to. */
  readonly at: string
  readonly accept: string | undefined
  readonly cacheControl: string | undefined
  readonly authorization: string | undefined
  /** From the header, read as UTF-8, or from the URL for the kit's native transport. `undefined`: none. */
  readonly lastEventId: string | undefined
}

export interface Run {
  readonly url: string
  readonly requests: readonly SeenRequest[]
  /** Whether a request came after the last scripted answer. */
  readonly isOver: boolean
  /** Resolves when a request comes after the last scripted answer. */
  readonly over: Promise<void>
}

/** Gives no answer: the request stays open until the client closes it. */
export const held: Answer = () => undefined

/** A stream of these chunks, each written after the previous one was sent. */
export function chunks(...parts: readonly (string | Uint8Array)[]): Answer {
  return typed('text/event-stream', ...parts)
}

export function typed(contentType: string | undefined, ...parts: readonly (string | Uint8Array)[]): Answer {
  return async (_, res) => {
    res.writeHead(200, contentType === undefined ? {} : { 'content-type': contentType })
    for (const part of parts) {
      res.write(part)
      await setImmediate()
    }
    res.end()
  }
}

/**
 * Breaks the connection after `text`, or without an answer.
 * @param last the data of the last event in `text`. The client must report it (`reportsEvents`): a browser discards what
 * the page has not read when the connection breaks
 */
export function broken(text?: string, last = ''): Answer {
  return (req, res) => {
    if (text === undefined) return void res.destroy()
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write(text)
    const { host, pathname } = urlOf(req)
    onReceived.set(`${host}${runOf(pathname)} ${last}`, () => res.destroy())
  }
}

/** By run and the data of an event: called when the client reports that event. */
const onReceived = new Map<string, () => void>()

function noteReceived({ host, pathname, searchParams }: URL): void {
  const key = `${host}${runOf(pathname)} ${searchParams.get('data')}`
  onReceived.get(key)?.()
  onReceived.delete(key)
}

function urlOf({ url = '', headers: { host = '' } }: IncomingMessage): URL {
  return new URL(url, `http://${host}`)
}

/** The path of a run, without what follows. */
function runOf(pathname: string): string {
  return pathname.slice(0, pathname.lastIndexOf('/'))
}

interface ScriptedRun {
  readonly answers: readonly Answer[]
  readonly final: Answer
  readonly requests: SeenRequest[]
  readonly end: () => void
}

export class ScriptServer {
  readonly #server: TestServer
  readonly #runs = new Map<string, ScriptedRun>()

  private constructor(server: TestServer) {
    this.#server = server
  }

  /** @param files further answers, by path */
  static async start(files: Readonly<Record<string, Answer>> = {}): Promise<ScriptServer> {
    const server = new ScriptServer(
      await serve((req, res) => {
        // Clients may repeat a request if a reused connection breaks, but not on a new connection.
        res.shouldKeepAlive = false
        const url = urlOf(req)
        const { pathname } = url
        if (pathname.endsWith('/received')) {
          noteReceived(url)
          return void res.writeHead(204).end()
        }
        const [, id = '', at = ''] = /^\/run\/(\d+)\/(.*)/.exec(pathname) ?? []
        const run = server.#runs.get(id)
        if (run === undefined) return void (files[pathname] ?? ((_, res) => res.writeHead(404).end()))(req, res)
        run.requests.push(readRequest(req, at))
        const answer = run.answers[run.requests.length - 1]
        if (answer) return void answer(req, res)
        run.end()
        run.final(req, res)
      }),
    )
    return server
  }

  get url(): string {
    return this.#server.url
  }

  /** @param final the answer to each request after `answers`. @defaultValue status 204, which ends an EventSource */
  run(answers: readonly Answer[], final = status(204)): Run {
    const requests: SeenRequest[] = []
    const id = String(this.#runs.size)
    const over = new Promise<void>((end) => this.#runs.set(id, { answers, final, requests, end }))
    return {
      url: `${this.url}/run/${id}/stream`,
      requests,
      over,
      get isOver() {
        return requests.length > answers.length
      },
    }
  }

  stop(): Promise<void> {
    return this.#server.stop()
  }
}

function readRequest({ method, headers, url = '' }: IncomingMessage, at: string): SeenRequest {
  const header = headers['last-event-id']
  const inUrl = new URL(url, 'http://localhost').searchParams.get('last_event_id')
  return {
    method,
    at,
    accept: headers.accept,
    cacheControl: headers['cache-control'],
    authorization: headers.authorization,
    lastEventId: typeof header === 'string' ? Buffer.from(header, 'latin1').toString() : (inUrl ?? undefined),
  }
}
