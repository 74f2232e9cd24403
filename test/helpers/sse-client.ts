import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { createParser, type EventSourceMessage } from 'eventsource-parser'

/** A minimal SSE client on Node's http. Keeps the raw text, the blocks and the parsed events, and can await them. */
export class SseClient {
  readonly events: EventSourceMessage[] = []
  /** Without heartbeats, the first of which comes at a random time, possibly at once. */
  readonly comments: string[] = []
  raw = ''
  retry: number | undefined
  /** The id that a client would send when it reconnects. */
  lastEventId = ''
  closed = false
  readonly #request: ClientRequest
  readonly #response: IncomingMessage
  readonly #waiting = new Set<() => void>()

  private constructor(req: ClientRequest, response: IncomingMessage) {
    this.#request = req
    this.#response = response
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
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      this.raw += chunk
      parser.feed(chunk)
      this.#wake()
    })
    response.on('error', () => this.#wake())
    response.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  /** Resolves when the response headers have arrived. */
  static open(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<SseClient> {
    return new Promise((resolve, reject) => {
      const req = request(url, { headers: { accept: 'text/event-stream', ...headers }, method, agent: false })
      req.on('response', (response) => resolve(new SseClient(req, response)))
      req.on('error', reject)
      req.end()
    })
  }

  get status(): number {
    return this.#response.statusCode ?? 0
  }

  get headers(): IncomingHttpHeaders {
    return this.#response.headers
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
    this.#response.pause()
  }

  resume(): void {
    this.#response.resume()
  }

  /** Destroys the connection. */
  close(): void {
    this.#request.destroy()
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
