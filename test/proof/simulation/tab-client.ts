/** A tab of a browser whose tabs share one stream of the kit's client. */
import { createEventBus, type SharedStream } from '../../../lib/client/bus.js'
import type { ClientEvent } from '../../../lib/client/index.js'
import { PageClient } from './page-client.js'
import type { ClientOptions } from './sim-client.js'
import { SimFetch } from './sim-fetch.js'
import { Tab, type Tabs } from './sim-tabs.js'

/** How long the client keeps a connection without listeners, in ms. */
const LINGER_MS = 100

export class TabClient extends PageClient {
  readonly #tabs: Tabs
  readonly #browser: string
  #tab = new Tab()
  #shared: SharedStream | undefined
  /** Where the next page continues. */
  #cursor = ''

  /** @param browser tabs of the same browser share one stream */
  constructor(options: ClientOptions, tabs: Tabs, browser: string) {
    super(options)
    this.#tabs = tabs
    this.#browser = browser
  }

  protected close(): void {
    this.#shared?.close()
  }

  /** The tab is closed, or crashes. */
  protected end(): string {
    if (this.#shared !== undefined) this.#cursor = this.#shared.cursor
    if (this.options.random.chance(0.5)) this.#tabs.crash(this.#tab)
    this.close()
    this.#shared = undefined
    return this.#cursor
  }

  override pause(ms: number): void {
    super.pause(ms)
    this.#tab.pausedUntil = Math.max(this.#tab.pausedUntil, this.options.time.now() + ms)
  }

  protected open(cursor: string): void {
    const { session, polls } = this.options
    const tab = new Tab()
    const network = new SimFetch(this.options)
    this.#tab = tab
    this.network = network
    const bus = createEventBus({
      tabs: true,
      identity: this.#browser,
      lingerMs: LINGER_MS,
      fetch: (url, init = {}) => this.#fetch(tab, network, new URL(String(url)), init),
      retryMs: 200,
      openTimeoutMs: 5000,
      longPollMs: 2000,
      streamRetryMs: 3000,
      ...(polls > 0 && { pollUrl: `http://kit/poll?${this.query}` }),
    })
    session.cursor = cursor
    // The tab may join a stream that is open.
    session.connected(this.#browser, 'poll')
    this.#tabs.inTab(tab, () => {
      const shared = bus.stream(this.streamUrl, {
        cursor,
        onState: ({ state, reason, error }) => {
          session.note(`${state} ${reason ?? ''}`)
          if (reason === 'completed') session.complete()
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
