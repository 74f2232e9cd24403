/** `fetch` on simulated connections: Node's HTTP client. */
import { type IncomingMessage, request } from 'node:http'
import type { Random } from '../random.js'
import type { KitProcess } from './kit-process.js'
import type { Endpoint, Quality } from './network.js'
import type { VirtualTime } from './virtual-time.js'

export interface FetchOptions {
  readonly time: VirtualTime
  readonly random: Random
  readonly quality: Quality
  /** The processes to which the client connects. */
  readonly processes: () => readonly KitProcess[]
}

/** A request of the page. */
export interface SimRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** The process that serves it. */
  readonly process: KitProcess
}

export class SimFetch {
  readonly #options: FetchOptions
  readonly #responses = new Set<IncomingMessage>()
  readonly #endpoints = new Set<Endpoint>()
  #pausedUntil = 0

  constructor(options: FetchOptions) {
    this.#options = options
  }

  /** The open connections. */
  get endpoints(): ReadonlySet<Endpoint> {
    return this.#endpoints
  }

  /** Nothing is read for `ms`. */
  pause(ms: number): void {
    const { time } = this.#options
    this.#pausedUntil = Math.max(this.#pausedUntil, time.now() + ms)
    for (const response of this.#responses) response.pause()
    time.after(ms, () => {
      if (time.now() < this.#pausedUntil) return
      for (const response of this.#responses) response.resume()
    })
  }

  /**
   * @param onRequest called when the request is sent
   * @param onStatus called with the status of the response
   */
  async fetch(
    url: URL,
    init: RequestInit,
    onRequest: (request: SimRequest) => void,
    onStatus: (status: number) => void,
  ): Promise<Response> {
    const { processes, random, quality, time } = this.#options
    const headers = Object.fromEntries(new Headers(init.headers))
    const running = processes()
    if (running.length === 0) throw new TypeError('fetch failed')
    const process = running[random.below(running.length)] as KitProcess
    const endpoint = process.connect(random, quality)
    this.#endpoints.add(endpoint)
    endpoint.once('close', () => this.#endpoints.delete(endpoint))
    onRequest({ url, headers, process })
    const signal = init.signal ?? undefined
    const response = await answerOf(endpoint, url, init, headers, signal)
    const status = response.statusCode ?? 0
    onStatus(status)
    this.#responses.add(response)
    response.once('close', () => this.#responses.delete(response))
    if (this.#pausedUntil > time.now()) response.pause()
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
