/**
 * One stream for all who listen to the same URL: on a page, and with `tabs` in all tabs of a user.
 *
 * ```
 *   stream, or the tabs' leader ─► feed: the latest events ─┬─► one listener's position ─► its handlers
 *                                                           └─► …
 * ```
 */
import { createEventStream } from './event-stream.js'
import { type ClientEvent, createListeners, guarded } from './listeners.js'
import type { ClientOptions, ClientStateChange, Listenable } from './options.js'
import { advance, behindEvent, createReplay, placed, type Replay } from './replay.js'
import { joinTabs, type Source } from './tabs.js'

/** Options of `createEventBus`: of all its connections. */
export interface EventBusOptions extends Omit<ClientOptions, 'cursor' | 'onState' | 'signal'> {
  /**
   * One connection for all tabs: one of them has it, and the others get its events. Needs Web Locks (https) and BroadcastChannel;
   * without them each tab has its own. @defaultValue false
   */
  readonly tabs?: boolean | undefined
  /** With `tabs`: who is signed in. Tabs with another identity share nothing with these. @defaultValue '' */
  readonly identity?: string | undefined
  /** How long a connection is kept after its last listener has gone: components come and go. @defaultValue 1000 */
  readonly lingerMs?: number | undefined
}

/** Options of one listener of a shared stream. */
export interface SharedStreamOptions {
  /**
   * Where to begin: what the shared stream has had since is given first. Where that is no longer to be had, `sse.reset` with reason
   * `behind` says to load anew. @defaultValue what comes from now on
   */
  readonly cursor?: string | undefined
  /** Told of the state at once, and of every change. */
  readonly onState?: ((change: ClientStateChange) => void) | undefined
}

/** One listener's share. `close()` gives it back; with the last one the connection is closed. */
export type SharedStream<Events extends object = Record<string, unknown>> = Listenable<Events>

/** Streams that are shared: one connection for all listeners of a URL. */
export interface EventBus {
  /** Listens to `url`: opens the connection, or shares the one there is. */
  stream<Events extends object = Record<string, unknown>>(
    url: string,
    options?: SharedStreamOptions,
  ): SharedStream<Events>
  /** The state of the connection to `url`, and why it was refused for good; without one, of the connection that is worst off. */
  status(url?: string): ClientStateChange
  /** Tells that `status()` may have changed. @returns the way to stop */
  onState(listener: () => void): () => void
}

interface Share {
  offer(event: ClientEvent): void
  onState(): void
}

interface Feed {
  readonly replay: Replay
  readonly shares: Set<Share>
  status: ClientStateChange
  source: Source | undefined
  linger: ReturnType<typeof setTimeout> | undefined
}

const NO_STREAM: ClientStateChange = { state: 'closed', reason: 'no stream' }
const WORST_FIRST = ['closed', 'waiting', 'connecting', 'polling', 'open']

/** Streams by URL, each opened when it is first asked for, with these options. */
export function createEventBus(options: EventBusOptions = {}): EventBus {
  const { tabs, identity = '', lingerMs = 1000, ...streamOptions } = options
  const feeds = new Map<string, Feed>()
  /** How streams ended for good, complete or refused, until they are opened again. */
  const refused = new Map<string, ClientStateChange>()
  const watchers = new Set<() => void>()
  const keyOf = (url: string): string => new URL(url, globalThis.location?.href).href

  function notify(): void {
    for (const watcher of watchers) guarded(watcher, undefined)
  }

  function open(url: string, cursor: string): Feed {
    const replay = createReplay(cursor)
    const feed: Feed = {
      replay,
      shares: new Set(),
      status: { state: 'connecting' },
      source: undefined,
      linger: undefined,
    }
    feeds.set(url, feed)
    refused.delete(url)
    const onEvent = (event: ClientEvent): void => {
      if (replay.push(event)) for (const share of feed.shares) share.offer(event)
    }
    const onState = (change: ClientStateChange): void => {
      feed.status = change
      if (change.state === 'closed') {
        if (change.error || change.reason === 'completed') refused.set(url, change)
        drop(url, feed)
      }
      for (const share of feed.shares) share.onState()
      notify()
    }
    if (tabs && typeof BroadcastChannel !== 'undefined' && globalThis.navigator?.locks) {
      feed.source = joinTabs(url, identity, streamOptions, { replay, onEvent, onState })
    } else {
      const stream = createEventStream(url, { ...streamOptions, cursor, onState })
      stream.on('*', (event) => onEvent(placed(event, stream)))
      feed.source = stream
    }
    return feed
  }

  function drop(url: string, feed: Feed): void {
    if (feeds.get(url) === feed) feeds.delete(url)
    feed.source?.close()
  }

  return {
    stream(address, { cursor = '', onState } = {}) {
      const url = keyOf(address)
      const feed = feeds.get(url) ?? open(url, cursor)
      clearTimeout(feed.linger)
      const listeners = createListeners()
      let position = cursor
      let hasJoined = false
      let closed: ClientStateChange | undefined

      function deliver(event: ClientEvent): void {
        const next = closed ? undefined : advance(position, event)
        if (next === undefined) return
        position = next
        listeners.emit(event)
      }
      function join(): void {
        const at = feed.replay.position
        // Until the stream has said where it began, nobody knows what was missed.
        if (hasJoined || closed || (cursor !== '' && at === '')) return
        hasJoined = true
        position ||= at
        const missed = position === '' ? [] : (feed.replay.since(position) ?? [behindEvent(at)])
        for (const event of missed) deliver(event)
      }
      const share: Share = {
        offer: (event) => (hasJoined ? deliver(event) : join()),
        onState: () => guarded(onState, feed.status),
      }
      feed.shares.add(share)
      share.onState()
      // Once the listeners are there.
      queueMicrotask(join)
      const status = (): ClientStateChange => closed ?? feed.status

      return {
        get state() {
          return status().state
        },
        get status() {
          return status()
        },
        get cursor() {
          return position
        },
        on: listeners.add,
        reconnect: () => feed.source?.reconnect(),
        close() {
          if (closed) return
          closed = { state: 'closed', reason: 'closed' }
          feed.shares.delete(share)
          guarded(onState, closed)
          if (feed.shares.size > 0) return
          feed.linger = setTimeout(() => {
            drop(url, feed)
            notify()
          }, lingerMs)
        },
      }
    },

    status(url) {
      if (url !== undefined) return feeds.get(keyOf(url))?.status ?? refused.get(keyOf(url)) ?? NO_STREAM
      const all = [...feeds.values()].map(({ status }) => status)
      return WORST_FIRST.flatMap((state) => all.filter((status) => status.state === state))[0] ?? NO_STREAM
    },

    onState(listener) {
      watchers.add(listener)
      return () => watchers.delete(listener)
    },
  }
}
