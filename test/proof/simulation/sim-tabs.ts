/**
 * BroadcastChannel and Web Locks of a simulated browser. A tab is what runs while `inTab` calls it: the kit's client
 * opens its channel and requests its lock synchronously.
 */
import type { Random } from '../random.js'
import type { VirtualTime } from './virtual-time.js'

/** The maximum time that a message or a lock takes to another tab, in ms. */
const BETWEEN_TABS_MS = 20

export class Tab {
  readonly channels = new Set<SimBroadcastChannel>()
  /** A crashed tab neither sends nor receives. */
  isAlive = true
  /** Messages wait until then: the tab is frozen, or its event loop is blocked. */
  pausedUntil = 0
}

interface Request {
  readonly tab: Tab
  readonly lead: () => Promise<unknown>
  readonly settle: (held: Promise<unknown>) => void
}

/** All tabs of a browser have the same origin. */
export class Tabs {
  readonly time: VirtualTime
  readonly random: Random
  readonly open = new Set<SimBroadcastChannel>()
  readonly #held = new Map<string, Tab>()
  readonly #queues = new Map<string, Request[]>()
  #current: Tab | undefined

  constructor(time: VirtualTime, random: Random) {
    this.time = time
    this.random = random
  }

  /** Replaces the globals. @returns restores them */
  install(): () => void {
    const former = {
      BroadcastChannel: Object.getOwnPropertyDescriptor(globalThis, 'BroadcastChannel'),
      navigator: Object.getOwnPropertyDescriptor(globalThis, 'navigator'),
    }
    const channelOf = (name: string): SimBroadcastChannel => new SimBroadcastChannel(name, this, this.#tab)
    function BroadcastChannel(name: string): SimBroadcastChannel {
      return channelOf(name)
    }
    const locks = { request: this.#request.bind(this) }
    const define = (name: string, value: unknown): void => {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
    }
    define('BroadcastChannel', BroadcastChannel)
    define('navigator', { locks })
    return () => {
      for (const [name, descriptor] of Object.entries(former)) {
        if (descriptor === undefined) Reflect.deleteProperty(globalThis, name)
        else Object.defineProperty(globalThis, name, descriptor)
      }
    }
  }

  inTab<T>(tab: Tab, call: () => T): T {
    this.#current = tab
    try {
      return call()
    } finally {
      this.#current = undefined
    }
  }

  /** The browser ends the tab: nothing of it runs any more, and its locks are released. */
  crash(tab: Tab): void {
    tab.isAlive = false
    for (const channel of tab.channels) this.open.delete(channel)
    for (const [name, holder] of this.#held) if (holder === tab) this.#release(name)
  }

  get #tab(): Tab {
    if (this.#current === undefined) throw new Error('tabs are used outside of a tab')
    return this.#current
  }

  #request(name: string, { signal }: { signal: AbortSignal }, lead: () => Promise<unknown>): Promise<unknown> {
    const tab = this.#tab
    return new Promise((resolve, reject) => {
      const request: Request = { tab, lead, settle: (held) => held.then(resolve, reject) }
      const queue = this.#queues.get(name) ?? []
      this.#queues.set(name, queue)
      queue.push(request)
      signal.addEventListener('abort', () => {
        const at = queue.indexOf(request)
        if (at !== -1) queue.splice(at, 1)
        if (at !== -1) reject(signal.reason)
      })
      this.#grantSoon(name)
    })
  }

  #grantSoon(name: string): void {
    this.time.after(this.random.next() * BETWEEN_TABS_MS, () => {
      if (this.#held.has(name)) return
      const request = this.#queues.get(name)?.shift()
      if (request === undefined) return
      if (!request.tab.isAlive) return this.#grantSoon(name)
      this.#held.set(name, request.tab)
      const held = this.inTab(request.tab, request.lead)
      request.settle(held)
      const release = (): void => {
        if (this.#held.get(name) === request.tab) this.#release(name)
      }
      void held.then(release, release)
    })
  }

  #release(name: string): void {
    this.#held.delete(name)
    this.#grantSoon(name)
  }
}

export class SimBroadcastChannel {
  onmessage: ((event: { readonly data: unknown }) => void) | null = null
  readonly #name: string
  readonly #tabs: Tabs
  readonly #tab: Tab
  readonly #arrived: unknown[] = []
  /** The last delivery of messages from this channel: they do not overtake each other. */
  #lastAt = 0

  constructor(name: string, tabs: Tabs, tab: Tab) {
    this.#name = name
    this.#tabs = tabs
    this.#tab = tab
    tab.channels.add(this)
    tabs.open.add(this)
  }

  postMessage(message: unknown): void {
    const { time, random, open } = this.#tabs
    if (!open.has(this)) {
      if (!this.#tab.isAlive) return
      throw new DOMException('the channel is closed', 'InvalidStateError')
    }
    const data = structuredClone(message)
    this.#lastAt = Math.max(this.#lastAt, time.now() + random.next() * BETWEEN_TABS_MS)
    for (const other of open) {
      if (other !== this && other.#name === this.#name) other.#deliver(data, this.#lastAt)
    }
  }

  close(): void {
    this.#tabs.open.delete(this)
    this.#tab.channels.delete(this)
  }

  #deliver(data: unknown, at: number): void {
    const { time, open } = this.#tabs
    time.after(at - time.now(), () => {
      if (!open.has(this)) return
      if (this.#arrived.push(data) === 1) this.#handle()
    })
  }

  /** Handles the messages in the order of their arrival, when the tab is not paused. */
  #handle(): void {
    const { time, open } = this.#tabs
    const { pausedUntil } = this.#tab
    if (pausedUntil > time.now()) {
      time.after(pausedUntil - time.now(), () => this.#handle())
      return
    }
    while (this.#arrived.length > 0 && open.has(this)) {
      this.#tabs.inTab(this.#tab, () => this.onmessage?.({ data: this.#arrived[0] }))
      this.#arrived.shift()
    }
  }
}
