/**
 * One connection for the tabs of one user. The tab that holds a Web Lock is the leader: it has the connection and
 * forwards events and states to the other tabs, the followers. The browser releases the lock when the tab is closed or
 * crashes; a hidden or frozen tab releases it itself. Then another tab becomes the leader.
 *
 * ```
 *   leader    ── event { before, event } ──►  followers: one that is not at `before` yet missed events: sends hello
 *   follower  ── hello { position } ──►  leader ── welcome { to, events after position } ──►  that follower
 *   leader    ── leads ──►  followers: each sends hello
 * ```
 *
 * Every tab has its own position and ignores events that its position includes. A new leader opens its stream from its
 * own position. So no event is lost or repeated, whatever the position of the last leader was. docs/guarantees.md names
 * the limits.
 */
import { createEventStream } from './event-stream.js'
import { ClientEvent } from './listeners.js'
import type { ClientOptions, ClientStateChange, ClientStream } from './options.js'
import { watchPage } from './page-life.js'
import { isBeyond, lacks, missedEvents, type Replay } from './replay.js'
import { readMessage, restoreError, stateMessage, type TabMessage } from './tab-messages.js'

/** Where a tab delivers its events and states. */
export interface TabFeed {
  readonly replay: Replay
  onEvent(event: ClientEvent): void
  onState(change: ClientStateChange): void
}

/** What a feed gets its events from: the tabs of a user, or a stream. */
export interface FeedSource {
  reconnect(): void
  close(): void
}

/** @param identity identifies the user; tabs with different identities share nothing */
export function joinTabs(url: string, identity: string, options: ClientOptions, feed: TabFeed): FeedSource {
  const name = `express-sse-kit ${JSON.stringify([identity, url])}`
  const reasons = new Set<string>()
  let tab: FeedSource | undefined
  const enter = (): void => {
    if (reasons.size === 0) tab ??= enterTab(name, url, options, feed)
  }
  const leave = (): void => {
    tab?.close()
    tab = undefined
  }
  // A frozen or hidden tab leaves, because as the leader it would forward no events.
  const stopWatching = watchPage(
    options.pauseWhenHiddenMs,
    (reason) => {
      // The leader's stream handles `offline`, and the followers get its state.
      if (reason === 'offline') return
      reasons.add(reason)
      leave()
      feed.onState({ state: 'waiting', reason })
    },
    (reason) => {
      reasons.delete(reason)
      enter()
    },
  )
  enter()
  return {
    reconnect: () => tab?.reconnect(),
    close() {
      stopWatching()
      leave()
    },
  }
}

/** Follows, and leads once the tab has the lock, until `close()`. */
function enterTab(
  name: string,
  url: string,
  options: ClientOptions,
  { replay, onEvent, onState }: TabFeed,
): FeedSource {
  const channel = new BroadcastChannel(name)
  const tabId = Math.random().toString(36)
  const closed = new AbortController()
  let leader: ClientStream | undefined
  let isSynced = false

  const post = (message: TabMessage): void => channel.postMessage(message)

  function hello(): void {
    isSynced = false
    post({ kind: 'hello', from: tabId, position: replay.position })
  }

  function lead(): Promise<unknown> {
    // The tab left while it waited for the lock.
    if (closed.signal.aborted) return Promise.resolve()
    const stream = createEventStream(url, {
      ...options,
      cursor: replay.position,
      pauseWhenHiddenMs: undefined,
      onState(change) {
        if (closed.signal.aborted) return
        post(stateMessage(change))
        onState(change)
      },
    })
    leader = stream
    stream.on('*', (event) => {
      const before = replay.position
      post({ kind: 'event', before, event })
      onEvent(event)
      // The first position: before it, a hello could not be answered.
      if (before === '' && replay.position !== '') post({ kind: 'leads' })
    })
    post({ kind: 'leads' })
    return new Promise((resolve) => closed.signal.addEventListener('abort', resolve))
  }

  function welcome(to: string, position: string, { status }: ClientStream): void {
    post(stateMessage(status))
    const at = replay.position
    // A gap may follow the position of the leader.
    const missed = at === '' ? [] : missedEvents(replay, position || at)
    // A new tab begins at that position.
    const start = position === '' ? [new ClientEvent('sse.open', '{}', at)] : []
    if (at !== '' || position === '') post({ kind: 'welcome', to, from: position, events: [...start, ...missed] })
  }

  function followState(change: ClientStateChange): void {
    // A tab that lacks events leads next, because the leader has left, and gets them with the end.
    if (isSynced || change.reason !== 'completed') onState(change)
  }

  function follow(message: TabMessage): void {
    if (message.kind === 'leads') hello()
    else if (message.kind === 'state') followState(restoreError(message.change))
    // The reply to an earlier hello does not have the events after the position reached since.
    else if (message.kind === 'welcome' && message.to === tabId && message.from === replay.position) {
      isSynced = true
      for (const event of message.events) onEvent(restoreEvent(event))
    } else if (message.kind === 'event' && isSynced) {
      if (isBeyond(message.before, replay.position) || lacks(message.event.id, replay.position)) hello()
      else onEvent(restoreEvent(message.event))
    }
  }

  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    const message = readMessage(data)
    if (message === undefined) return
    if (leader === undefined) follow(message)
    else if (message.kind === 'hello') welcome(message.from, message.position, leader)
    else if (message.kind === 'reconnect') leader.reconnect()
  }
  onState({ state: 'connecting' })
  navigator.locks.request(name, { signal: closed.signal }, lead).catch(() => {
    // The page is not allowed to use locks: the tab opens its own stream.
    if (!closed.signal.aborted) void lead()
  })
  hello()

  return {
    reconnect() {
      if (leader === undefined) post({ kind: 'reconnect' })
      else leader.reconnect()
    },
    close() {
      closed.abort()
      leader?.close()
      channel.close()
    },
  }
}

/** Structured clones have no methods. */
function restoreEvent({ type, data, id }: ClientEvent): ClientEvent {
  return new ClientEvent(type, data, id)
}
