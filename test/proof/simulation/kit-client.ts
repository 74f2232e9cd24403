/** The kit's own client in the simulated world. */
import { type ClientStream, createEventStream } from '../../../lib/client/index.js'
import type { Session } from '../checker/session.js'
import type { ClientOptions, SimulatedClient } from './sim-client.js'
import { SimFetch, type SimRequest } from './sim-fetch.js'

export class KitClient implements SimulatedClient {
  readonly session: Session
  readonly signedIn = undefined
  connections = 0
  readonly #options: ClientOptions
  readonly #network: SimFetch
  #stream: ClientStream | undefined
  #stopped = false
  #absences = 0

  constructor(options: ClientOptions) {
    this.#options = options
    this.session = options.session
    this.#network = new SimFetch(options)
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
    for (const endpoint of this.#network.endpoints) endpoint.link.cut()
  }

  vanish(): void {
    for (const endpoint of this.#network.endpoints) endpoint.link.blackHole()
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
    this.#network.pause(ms)
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

  #fetch(url: URL, init: RequestInit): Promise<Response> {
    const { session, window } = this.#options
    const onRequest = ({ headers, process }: SimRequest): void => {
      if (url.pathname === '/ack') {
        if (window !== undefined) session.acknowledged(window)
        return
      }
      this.connections++
      session.cursor = headers['last-event-id'] ?? url.searchParams.get('cursor') ?? ''
      session.connected(process.name, url.pathname === '/poll' ? 'poll' : 'stream', window)
    }
    return this.#network.fetch(url, init, onRequest, (status) => {
      session.note(`${url.pathname} ${status}`)
      const known = url.pathname === '/ack' ? [202, 204, 404, 503] : [200, 503]
      if (!known.includes(status)) session.violate(`${url.pathname} is answered with ${status}`)
    })
  }
}
