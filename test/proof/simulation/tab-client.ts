/** A tab of a browser whose tabs share one stream of the kit's client. */
import { createEventBus, type SharedStream } from '../../../lib/client/bus.js'
import type { ClientEvent } from '../../../lib/client/index.js'
import type { Session } from '../checker/session.js'
import type { ClientOptions, SimulatedClient } from './sim-client.js'
import { SimFetch } from './sim-fetch.js'
import { Tab, type Tabs } from './sim-tabs.js'

/** How long the client keeps a connection without listeners, in ms. */
const LINGER_MS = 100

export class TabClient implements SimulatedClient {
  readonly session: Session
  readonly signedIn = undefined
  connections = 0
  readonly #options: ClientOptions
  readonly #tabs: Tabs
  readonly #browser: string
  #network: SimFetch
  #tab = new Tab()
  #shared: SharedStream | undefined
  #stopped = false
  #absences = 0
  /** Where the next page continues. */
  #cursor = ''

  /** @param browser tabs of the same browser share one stream */
  constructor(options: ClientOptions, tabs: Tabs, browser: string) {
    this.#options = options
    this.#tabs = tabs
    this.#browser = browser
    this.session = options.session
    this.#network = new SimFetch(options)
  }

  async run(): Promise<void> {
    await this.#options.time.sleep(this.#options.random.next() * 200)
    if (this.#absences === 0) this.#open('')
  }

  stop(): void {
    this.#stopped = true
    this.#shared?.close()
  }

  cut(): void {
    for (const endpoint of this.#network.endpoints) endpoint.link.cut()
  }

  vanish(): void {
    for (const endpoint of this.#network.endpoints) endpoint.link.blackHole()
  }

  /** The tab is closed, or crashes, and is opened again after `ms`. */
  leave(ms: number): void {
    if (this.#shared !== undefined) this.#cursor = this.#shared.cursor
    if (this.#options.random.chance(0.5)) this.#tabs.crash(this.#tab)
    this.#shared?.close()
    this.#shared = undefined
    const absence = ++this.#absences
    this.#options.time.after(ms, () => {
      if (absence === this.#absences) this.#open(this.#cursor)
    })
  }

  pause(ms: number): void {
    this.#network.pause(ms)
    this.#tab.pausedUntil = Math.max(this.#tab.pausedUntil, this.#options.time.now() + ms)
  }

  revoked(): void {
    // These clients have no session.
  }

  #open(cursor: string): void {
    if (this.#stopped) return
    const { session, earliest, polls } = this.#options
    const query = session.channels.map((channel) => `channel=${channel}`).join('&')
    const tab = new Tab()
    const network = new SimFetch(this.#options)
    this.#tab = tab
    this.#network = network
    const bus = createEventBus({
      tabs: true,
      identity: this.#browser,
      lingerMs: LINGER_MS,
      fetch: (url, init = {}) => this.#fetch(tab, network, new URL(String(url)), init),
      retryMs: 200,
      openTimeoutMs: 5000,
      longPollMs: 2000,
      streamRetryMs: 3000,
      ...(polls > 0 && { pollUrl: `http://kit/poll?${query}` }),
    })
    session.cursor = cursor
    // The tab may join a stream that is open.
    session.connected(this.#browser, 'poll')
    this.#tabs.inTab(tab, () => {
      const shared = bus.stream(`http://kit/stream?${query}${earliest ? '&from=earliest' : ''}`, {
        cursor,
        onState: ({ state, reason, error }) => {
          session.note(`${state} ${reason ?? ''}`)
          if (error !== undefined) session.violate(`the client ended: ${error.code} ${error.message}`)
        },
      })
      shared.on('*', (event) => {
        if (shared === this.#shared) this.#receive(event)
      })
      this.#shared = shared
    })
  }

  #receive({ type, data, id }: ClientEvent): void {
    const { session } = this
    if (type === 'sse.open' && id !== '') {
      // A gap is announced again on the next connection.
      session.connected(this.#browser, 'poll')
      session.polled([], id)
      session.note(`${type} ${id}`)
    }
    // The other control events are those of the leader's connections, of which a tab sees only some.
    if (type.startsWith('sse.') && !['sse.gap', 'sse.reset', 'sse.dropped'].includes(type)) return
    const isBehind = type === 'sse.reset' && (JSON.parse(data) as { reason: string }).reason === 'behind'
    if (!isBehind) {
      session.received({ event: type, data, id: id === '' ? undefined : id })
      return
    }
    const last = session.channels.at(-1)
    for (const channel of session.channels) {
      const reset = JSON.stringify({ channel, reason: 'behind' })
      session.received({ event: type, data: reset, id: channel === last ? id : undefined })
    }
  }

  #fetch(tab: Tab, network: SimFetch, url: URL, init: RequestInit): Promise<Response> {
    if (!tab.isAlive) return Promise.reject(new TypeError('the tab has crashed'))
    this.connections++
    return network.fetch(
      url,
      init,
      ({ process }) => this.session.note(`the tab connects to ${process.name}`),
      (status) => {
        this.session.note(`${url.pathname} ${status}`)
        if (status !== 200 && status !== 503) this.session.violate(`${url.pathname} is answered with ${status}`)
      },
    )
  }
}
