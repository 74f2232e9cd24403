/** The kit's own client in the simulated world. Its `fetch` is Node's HTTP client on a simulated connection. */
import { type IncomingMessage, request } from 'node:http'
import { type ClientStream, createEventStream } from '../../../lib/client/index.js'
import type { Session } from '../checker/session.js'
import type { KitProcess } from './kit-process.js'
import type { Endpoint } from './network.js'
import type { ClientOptions, SimulatedClient } from './sim-client.js'

export class KitClient implements SimulatedClient {
  readonly session: Session
  readonly signedIn = undefined
  connections = 0
  readonly #options: ClientOptions
  readonly #responses = new Set<IncomingMessage>()
  #stream: ClientStream | undefined
  #endpoint: Endpoint | undefined
  #stopped = false
  #absences = 0
  #pausedUntil = 0

  constructor(options: ClientOptions) {
    this.#options = options
    this.session = options.session
  }

  async run(): Promise<void> {
    await this.#options.time.sleep(this.#options.random.next() * 200)
    if (this.#absences === 0) this.#open('')
  }

  stop(): void {
    this.#stopped = true
    this.#stream?.close()
  }

  cut(): void {
    this.#endpoint?.link.cut()
  }

  vanish(): void {
    this.#endpoint?.link.blackHole()
  }

  /** The page closes its stream and opens another one after `ms`. */
  leave(ms: number): void {
    const cursor = this.#stream?.cursor ?? ''
    this.#stream?.close()
    const absence = ++this.#absences
    this.#options.time.after(ms, () => {
      if (absence === this.#absences) this.#open(cursor)
    })
  }

  pause(ms: number): void {
    const { time } = this.#options
    this.#pausedUntil = Math.max(this.#pausedUntil, time.now() + ms)
    for (const response of this.#responses) response.pause()
    time.after(ms, () => {
      if (time.now() < this.#pausedUntil) return
      for (const response of this.#responses) response.resume()
    })
  }

  revoked(): void {
    // These clients have no session.
  }

  #open(cursor: string): void {
    if (this.#stopped) return
    const { session, window, earliest, polls } = this.#options
    const query = session.channels.map((channel) => `channel=${channel}`).join('&')
    const stream = createEventStream(`http://kit/stream?${query}${earliest ? '&from=earliest' : ''}`, {
      fetch: (url, init = {}) => this.#fetch(new URL(String(url)), init),
      retryMs: 200,
      openTimeoutMs: 5000,
      longPollMs: 2000,
      streamRetryMs: 3000,
      ...(cursor !== '' && { cursor }),
      ...(window !== undefined && { window, ackUrl: '/ack' }),
      ...(polls > 0 && { pollUrl: `/poll?${query}` }),
      onState: ({ state, reason, error }) => {
        session.note(`${state} ${reason ?? ''}`)
        if (error !== undefined) session.violate(`the client ended: ${error.code} ${error.message}`)
      },
    })
    stream.on('*', ({ type, data, id }) => {
      if (stream === this.#stream) session.received({ event: type, data, id: id === '' ? undefined : id })
    })
    this.#stream = stream
  }

  async #fetch(url: URL, init: RequestInit): Promise<Response> {
    const { processes, random, quality, session, window } = this.#options
    const headers = Object.fromEntries(new Headers(init.headers))
    const running = processes()
    if (running.length === 0) throw new TypeError('fetch failed')
    const process = running[random.below(running.length)] as KitProcess
    const endpoint = process.connect(random, quality)
    if (url.pathname === '/ack') {
      if (window !== undefined) session.acknowledged(window)
    } else {
      this.connections++
      this.#endpoint = endpoint
      session.cursor = headers['last-event-id'] ?? url.searchParams.get('cursor') ?? ''
      session.connected(process.name, url.pathname === '/poll' ? 'poll' : 'stream', window)
    }
    const signal = init.signal ?? undefined
    const response = await answerOf(endpoint, url, init, headers, signal)
    const status = response.statusCode ?? 0
    session.note(`${url.pathname} ${status}`)
    const known = url.pathname === '/ack' ? [202, 204, 404, 503] : [200, 503]
    if (!known.includes(status)) session.violate(`${url.pathname} is answered with ${status}`)
    this.#responses.add(response)
    response.once('close', () => this.#responses.delete(response))
    if (this.#pausedUntil > this.#options.time.now()) response.pause()
    const body = status === 204 ? null : streamOf(response, signal)
    return new Response(body, { status, headers: headersOf(response) })
  }
}

function answerOf(
  endpoint: Endpoint,
  url: URL,
  { method = 'GET', body }: RequestInit,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const length = body ? { 'content-length': String(Buffer.byteLength(String(body))) } : {}
    const req = request({
      method,
      path: url.pathname + url.search,
      headers: { host: 'kit', ...headers, ...length },
      createConnection: () => endpoint as never,
    })
    signal?.addEventListener('abort', () => {
      reject(signal.reason)
      endpoint.destroy()
    })
    req.on('error', (cause) => reject(new TypeError('fetch failed', { cause })))
    req.on('response', resolve)
    req.end(body ?? undefined)
  })
}

/** As `fetch` delivers it: an aborted body loses the bytes that were not read. */
function streamOf(response: IncomingMessage, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
  let ended = false
  return new ReadableStream({
    start(controller) {
      const fail = (error: unknown): void => {
        if (!ended) controller.error(error)
        ended = true
      }
      signal?.addEventListener('abort', () => fail(signal.reason))
      response.on('data', (chunk: Buffer) => {
        if (!ended) controller.enqueue(new Uint8Array(chunk))
      })
      response.on('end', () => {
        if (!ended) controller.close()
        ended = true
      })
      response.on('error', (cause) => fail(new TypeError('terminated', { cause })))
      response.on('close', () => fail(new TypeError('terminated')))
    },
    cancel() {
      ended = true
      response.destroy()
    },
  })
}

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers()
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i] as string, rawHeaders[i + 1] as string)
  return headers
}
