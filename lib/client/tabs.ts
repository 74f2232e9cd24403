/**
 * One connection for the tabs of one user: the leader has it, and tells the others what comes. Who holds the lock, leads; it is
 * free again when the tab is closed, crashes, or leaves.
 *
 * ```
 *   leader    ── { before, event } ──►  all: a follower who is not at `before` has missed something, and says hello
 *   follower  ── { hello: position } ──►  leader ── { to, events since position } ──►  that follower
 *   leader    ── { leads } ──►  all: say hello
 * ```
 *
 * Every tab has its own position and drops what is not beyond it; a new leader opens its stream from its own. So nothing is missed
 * or repeated, wherever the last one stopped.
 */
import { EventStreamError } from './error.js'
import { createEventStream } from './event-stream.js'
import { ClientEvent } from './listeners.js'
import type { ClientOptions, ClientStateChange, ClientStream } from './options.js'
import { watchPage } from './page-life.js'
import { behindEvent, isBeyond, placed, type Replay } from './replay.js'

/** Where a tab's events go. */
export interface TabFeed {
  readonly replay: Replay
  onEvent(event: ClientEvent): void
  onState(change: ClientStateChange): void
}

export interface Source {
  reconnect(): void
  close(): void
}

type Message =
  | { readonly kind: 'leads' | 'reconnect' }
  | { readonly kind: 'hello'; readonly from: string; readonly position: string }
  | { readonly kind: 'welcome'; readonly to: string; readonly events: readonly ClientEvent[] }
  | { readonly kind: 'event'; readonly before: string; readonly event: ClientEvent }
  | { readonly kind: 'state'; readonly change: ClientStateChange }

/** @param identity whose events they are */
export function joinTabs(url: string, identity: string, options: ClientOptions, feed: TabFeed): Source {
  const name = `express-sse-kit ${JSON.stringify([identity, url])}`
  const reasons = new Set<string>()
  let tab: Source | undefined
  const enter = (): void => {
    if (reasons.size === 0) tab ??= enterTab(name, url, options, feed)
  }
  const leave = (): void => {
    tab?.close()
    tab = undefined
  }
  // What is frozen or hidden leaves, lest the others wait for it.
  const stopWatching = watchPage(
    options.pauseWhenHiddenMs,
    (reason) => {
      // The leader sees to being offline; the others hear of it.
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

/** From entering to leaving: follows, and leads once it has the lock. */
function enterTab(name: string, url: string, options: ClientOptions, { replay, onEvent, onState }: TabFeed): Source {
  const channel = new BroadcastChannel(name)
  const me = Math.random().toString(36)
  const leaving = new AbortController()
  let leader: ClientStream | undefined
  let isSynced = false

  const post = (message: Message): void => channel.postMessage(message)

  function hello(): void {
    isSynced = false
    post({ kind: 'hello', from: me, position: replay.position })
  }

  function lead(): Promise<unknown> {
    // Left while the lock was on its way.
    if (leaving.signal.aborted) return Promise.resolve()
    const stream = createEventStream(url, {
      ...options,
      cursor: replay.position,
      pauseWhenHiddenMs: undefined,
      onState(change) {
        if (leaving.signal.aborted) return
        post(stateMessage(change))
        onState(change)
      },
    })
    leader = stream
    stream.on('*', (received) => {
      const event = placed(received, stream)
      const before = replay.position
      post({ kind: 'event', before, event })
      onEvent(event)
      // Until now nobody could be told where they stand.
      if (before === '' && replay.position !== '') post({ kind: 'leads' })
    })
    post({ kind: 'leads' })
    return new Promise((resolve) => leaving.signal.addEventListener('abort', resolve))
  }

  function welcome(to: string, position: string, { status }: ClientStream): void {
    post(stateMessage(status))
    const at = replay.position
    if (position === '') post({ kind: 'welcome', to, events: [new ClientEvent('sse.open', '{}', at)] })
    else if (at !== '') post({ kind: 'welcome', to, events: replay.since(position) ?? [behindEvent(at)] })
  }

  function follow(message: Message): void {
    if (message.kind === 'leads') hello()
    else if (message.kind === 'state') onState(withError(message.change))
    else if (message.kind === 'welcome' && message.to === me) {
      isSynced = true
      for (const event of message.events) onEvent(revived(event))
    } else if (message.kind === 'event' && isSynced) {
      if (isBeyond(message.before, replay.position)) hello()
      else onEvent(revived(message.event))
    }
  }

  channel.onmessage = ({ data: message }: MessageEvent<Message>) => {
    if (leader === undefined) follow(message)
    else if (message.kind === 'hello') welcome(message.from, message.position, leader)
    else if (message.kind === 'reconnect') leader.reconnect()
  }
  onState({ state: 'connecting' })
  navigator.locks.request(name, { signal: leaving.signal }, lead).catch(() => {
    // Where a page may not have locks it has a stream of its own.
    if (!leaving.signal.aborted) void lead()
  })
  hello()

  return {
    reconnect() {
      if (leader === undefined) post({ kind: 'reconnect' })
      else leader.reconnect()
    },
    close() {
      leaving.abort()
      leader?.close()
      channel.close()
    },
  }
}

/** What a message carries of an error is its own properties' doing. */
function stateMessage({ error, ...change }: ClientStateChange): Message {
  const plain = error && { code: error.code, message: error.message, status: error.status }
  return { kind: 'state', change: { ...change, ...(plain && { error: plain as EventStreamError }) } }
}

function withError({ error, ...change }: ClientStateChange): ClientStateChange {
  return error === undefined
    ? change
    : { ...change, error: new EventStreamError(error.code, error.message, error.status) }
}

/** Messages carry no methods. */
function revived({ type, data, id }: ClientEvent): ClientEvent {
  return new ClientEvent(type, data, id)
}
