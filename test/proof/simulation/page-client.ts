/** What the pages of the kit's client have in common: they open, leave and return, on a simulated network. */
import type { Session } from '../checker/session.js'
import type { ClientOptions, SimulatedClient } from './sim-client.js'
import { SimFetch } from './sim-fetch.js'

export abstract class PageClient implements SimulatedClient {
  readonly session: Session
  readonly signedIn = undefined
  connections = 0
  protected readonly options: ClientOptions
  protected network: SimFetch
  #stopped = false
  #absences = 0

  constructor(options: ClientOptions) {
    this.options = options
    this.session = options.session
    this.network = new SimFetch(options)
  }

  /** Opens a stream from a cursor. */
  protected abstract open(cursor: string): void
  protected abstract close(): void
  /** Closes the page, or ends it otherwise. @returns where the next page continues */
  protected abstract end(): string

  async run(): Promise<void> {
    await this.options.time.sleep(this.options.random.next() * 200)
    if (this.#absences === 0 && !this.#stopped) this.open('')
  }

  stop(): void {
    this.#stopped = true
    this.close()
  }

  cut(): void {
    for (const endpoint of this.network.endpoints) endpoint.link.cut()
  }

  vanish(): void {
    for (const endpoint of this.network.endpoints) endpoint.link.blackHole()
  }

  /** The page ends, and another one opens after `ms`. */
  leave(ms: number): void {
    const cursor = this.end()
    const absence = ++this.#absences
    this.options.time.after(ms, () => {
      if (absence === this.#absences && !this.#stopped) this.open(cursor)
    })
  }

  pause(ms: number): void {
    this.network.pause(ms)
  }

  revoked(): void {
    // These clients have no session.
  }

  protected get query(): string {
    return this.session.channels.map((channel) => `channel=${channel}`).join('&')
  }

  protected get streamUrl(): string {
    return `http://kit/stream?${this.query}${this.options.earliest ? '&from=earliest' : ''}`
  }
}
