/**
 * One stream for all listeners to the same URL: on a page, and with `tabs` in all tabs of a user. Owns which listener
 * gets which events.
 *
 * ```
 *   stream, or the tabs' leader ─► feed: the latest events ─┬─► one listener's position ─► its handlers
 *                                                           └─► …
 * ```
 */
import { createEventStream } from './event-stream.js'
import { ClientEvent, callSafely, createCallbacks, createEventListeners } from './listeners.js'
import type { ClientOptions, ClientStateChange, Listenable } from './options.js'
import { advance, behindEvent, createReplay, lacks, missedEvents, type Replay } from './replay.js'
import { type FeedSource, joinTabs } from './tabs.js'

/** Options of `createEventBus`: of all its connections. */
export interface EventBusOptions extends Omit<ClientOptions, 'cursor' | 'onState' | 'signal'> {
  /**
   * One connection for all tabs: one tab has the connection and forwards the events to the others. Needs Web Locks
   * (https) and BroadcastChannel; without them each tab has its own connection.
   * @defaultValue false
   */
  readonly tabs?: boolean | undefined
  /** With `tabs`: identifies the signed-in user. Tabs with different identities share nothing. @defaultValue '' */
  readonly identity?: string | undefined
  /**
   * How long a connection is kept after its last listener was closed, in ms, because components unmount and mount
   * again.
   * @defaultValue 1000
   */
  readonly lingerMs?: number | undefined
}

/** Options of one listener of a shared stream. */
export interface SharedStreamOptions {
  /**
   * The cursor to start from: events that the shared stream has received since are replayed first. If they are no
   * longer kept, the listener gets `sse.reset` with reason `behind` and should reload.
   * @defaultValue new events only
   */
  readonly cursor?: string | undefined
  /** Called immediately with the current state, and with every change. */
  readonly onState?: ((change: ClientStateChange) => void) | undefined
}

/** One listener's part of a shared connection. The connection is closed `lingerMs` after the last part is closed. */
export type SharedStream<Events extends object = Record<string, unknown>> = Listenable<Events>

/** Streams that are shared: one connection for all listeners of a URL. */
export interface EventBus {
  /** Listens to `url`: opens the connection, or shares the one there is. */
  stream<Events extends object = Record<string, unknown>>(
    url: string,
    options?: SharedStreamOptions,
  ): SharedStream<Events>
  /**
   * The state of the connection to `url`, with the error that ended it. Without `url`: the worst state of all
   * connections, in the order `closed`, `waiting`, `connecting`, `polling`, `open`.
   */
  status(url?: string): ClientStateChange
  /** Calls `listener` when `status()` may have changed. @returns removes the listener */
  onState(listener: () => void): () => void
}

/** One part of a shared stream, as its feed calls it. */
interface Subscriber {
  offer(event: ClientEvent): void
  onState(): void
}

/** One connection, and the listeners that share it. */
interface SharedFeed {
  readonly replay: Replay
  readonly subscribers: Set<Subscriber>
  status: ClientStateChange
  source: FeedSource | undefined
  linger: ReturnType<typeof setTimeout> | undefined
}

const NO_STREAM: ClientStateChange = { state: 'closed', reason: 'no stream' }
const STATES_WORST_FIRST = ['closed', 'waiting', 'connecting', 'polling', 'open']

/** Shared streams by URL, each opened for its first listener, with these options. */
export function createEventBus(options: EventBusOptions = {}): EventBus {
  const { tabs, identity = '', lingerMs = 1000, ...streamOptions } = options
  const feeds = new Map<string, SharedFeed>()
  /** The final state of streams that completed or were refused, until they are opened again. */
  const endStates = new Map<string, ClientStateChange>()
  const stateListeners = createCallbacks<void>()
  const normalizeUrl = (url: string): string => new URL(url, globalThis.location?.href).href

  function open(url: string, cursor: string): SharedFeed {
    const replay = createReplay(cursor)
    const feed: SharedFeed = {
      replay,
      subscribers: new Set(),
      status: { state: 'connecting' },
      source: undefined,
      linger: undefined,
    }
    feeds.set(url, feed)
    endStates.delete(url)
    const onEvent = (event: ClientEvent): void => {
      if (!replay.push(event)) return
      // A copy: a subscriber that is added during the call begins after this event.
      for (const subscriber of [...feed.subscribers]) subscriber.offer(event)
    }
    const onState = (change: ClientStateChange): void => {
      feed.status = change
      if (change.state === 'closed') {
        if (change.error || change.reason === 'completed') endStates.set(url, change)
        drop(url, feed)
      }
      for (const subscriber of [...feed.subscribers]) subscriber.onState()
      stateListeners.call()
    }
    if (tabs && typeof BroadcastChannel !== 'undefined' && globalThis.navigator?.locks) {
      feed.source = joinTabs(url, identity, streamOptions, { replay, onEvent, onState })
    } else {
      const stream = createEventStream(url, { ...streamOptions, cursor, onState })
      stream.on('*', onEvent)
      feed.source = stream
    }
    return feed
  }

  function drop(url: string, feed: SharedFeed): void {
    if (feeds.get(url) === feed) feeds.delete(url)
    feed.source?.close()
  }

  return {
    stream(address, { cursor = '', onState } = {}) {
      const url = normalizeUrl(address)
      const feed = feeds.get(url) ?? open(url, cursor)
      clearTimeout(feed.linger)
      const listeners = createEventListeners()
      // Without a cursor: new events only, so the announcements of earlier losses are not for this listener.
      let position = cursor || feed.replay.position
      let hasJoined = cursor === ''
      let closed: ClientStateChange | undefined

      function deliver(event: ClientEvent): void {
        const next = advance(position, event)
        if (closed || next === undefined) return
        // The listener is ahead in a log that was replaced, of which the stream does not know.
        const isBehind = event.type !== 'sse.reset' && lacks(event.id, position)
        position = next
        if (isBehind) listeners.emit(behindEvent(next))
        if (closed) return
        // A listener may be ahead of the stream in some channels: its cursor is its own.
        const isOwn = event.id === '' || event.id === next
        listeners.emit(isOwn ? event : new ClientEvent(event.type, event.data, next))
      }
      function join(): void {
        // Before the stream sent its first position, the missed events are unknown.
        if (hasJoined || closed || feed.replay.position === '') return
        hasJoined = true
        for (const event of missedEvents(feed.replay, position)) deliver(event)
      }
      const subscriber: Subscriber = {
        offer: (event) => (hasJoined ? deliver(event) : join()),
        onState: () => closed || callSafely(onState, feed.status),
      }
      feed.subscribers.add(subscriber)
      subscriber.onState()
      // After the caller has added its listeners.
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
        reconnect: () => closed || feed.source?.reconnect(),
        close() {
          if (closed) return
          closed = { state: 'closed', reason: 'closed' }
          feed.subscribers.delete(subscriber)
          callSafely(onState, closed)
          if (feed.subscribers.size > 0) return
          feed.linger = setTimeout(() => {
            drop(url, feed)
            stateListeners.call()
          }, lingerMs)
        },
      }
    },

    status(url) {
      if (url !== undefined) {
        const key = normalizeUrl(url)
        return feeds.get(key)?.status ?? endStates.get(key) ?? NO_STREAM
      }
      const all = [...feeds.values()].map(({ status }) => status)
      return STATES_WORST_FIRST.flatMap((state) => all.filter((status) => status.state === state))[0] ?? NO_STREAM
    },

    onState: stateListeners.add,
  }
}
