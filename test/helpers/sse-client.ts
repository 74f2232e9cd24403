import { type IncomingHttpHeaders, request } from 'node:http'
import { connect } from 'node:http2'
import type { Readable } from 'node:stream'
import { createParser, type EventSourceMessage } from 'eventsource-parser'

/** A response, on HTTP/1.1 or HTTP/2. */
interface Answer {
  readonly body: Readable
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Destroys the connection. */
  readonly destroy: () => void
}

/** A minimal SSE client on Node's http. Keeps the raw text, the blocks and the parsed events, and can await them. */
export class SseClient {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly events: EventSourceMessage[] = []
  /** Without heartbeats, the first of which comes at a random time, possibly at once. */
  readonly comments: string[] = []
  raw = ''
  retry: number | undefined
  /** The id that a client would send when it reconnects. */
  lastEventId = ''
  closed = false
  readonly #body: Readable
  readonly #destroy: () => void
  readonly #waiting = new Set<() => void>()

  private constructor({ body, status, headers, destroy }: Answer) {
    this.status = status
    this.headers = headers
    this.#body = body
    this.#destroy = destroy
    const parser = createParser({
      onEvent: (event) => {
        this.events.push(event)
        if (event.id !== undefined) this.lastEventId = event.id
      },
      onComment: (comment) => {
        if (comment !== '') this.comments.push(comment)
      },
      onRetry: (ms) => {
        this.retry = ms
      },
    })
    body.setEncoding('utf8')
    body.on('data', (chunk: string) => {
      this.raw += chunk
      parser.feed(chunk)
      this.#wake()
    })
    body.on('error', () => this.#wake())
    body.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  /** Resolves when the response headers have arrived. */
  static open(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<SseClient> {
    return new Promise((resolve, reject) => {
      const req = request(url, { headers: { accept: 'text/event-stream', ...headers }, method, agent: false })
      req.on('response', (body) => {
        const { statusCode: status = 0, headers } = body
        resolve(new SseClient({ body, status, headers, destroy: () => req.destroy() }))
      })
      req.on('error', reject)
      req.end()
    })
  }

  /** The same on a new HTTP/2 connection over TLS. @param ca the certificate that it trusts */
  static openHttp2(url: string, ca: string, headers: Record<string, string> = {}): Promise<SseClient> {
    return new Promise((resolve, reject) => {
      const { origin, pathname, search } = new URL(url)
      const session = connect(origin, { ca })
      const destroy = (): void => session.destroy()
      const body = session.request({ ':path': pathname + search, accept: 'text/event-stream', ...headers })
      body.on('response', ({ ':status': status = 0, ...fields }) => {
        resolve(new SseClient({ body, status, headers: fields, destroy }))
      })
      body.on('close', destroy)
      body.on('error', reject)
      session.on('error', reject)
    })
  }

  /** The events without the kit's control events. */
  get messages(): EventSourceMessage[] {
    return this.events.filter(({ event }) => !event?.startsWith('sse.'))
  }

  /** Resolves when `condition` holds, which is checked when data arrives. The time-out of the test bounds the wait. */
  async until(condition: (client: this) => boolean): Promise<void> {
    while (!condition(this)) {
      if (this.closed)
        throw new Error(`The stream ended before the condition held. It had sent:\n${this.raw.slice(-1000)}`)
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  messagesUntil(count: number): Promise<void> {
    return this.until(({ messages }) => messages.length >= count)
  }

  /** Waits for the first control event with this name. */
  async control(name: string): Promise<EventSourceMessage> {
    const find = (): EventSourceMessage | undefined => this.events.find(({ event }) => event === name)
    await this.until(() => find() !== undefined)
    return find() as EventSourceMessage
  }

  /** Resolves when the response has ended. */
  async ended(): Promise<void> {
    while (!this.closed) await new Promise<void>((resolve) => this.#waiting.add(resolve))
  }

  /** Stops reading, so the socket buffer fills up. */
  pause(): void {
    this.#body.pause()
  }

  resume(): void {
    this.#body.resume()
  }

  /** Destroys the connection. */
  close(): void {
    this.#destroy()
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
