/**
 * Records the events of one client over all its connections, streams and polls. Checks each event when it arrives:
 *
 * - the events of a channel have consecutive offsets, unless `sse.gap` or `sse.reset` announced the missing events
 * - an id names a position in each channel of the client, and moves only the channel of its event
 * - `sse.open`, a poll's cursor and the id of `sse.reset` have the position of the client
 * - no event twice between two resets
 * - no event of a channel that the client did not request
 * - completed only when channels end
 * - nothing after the end of a stream (`sse.close`, `sse.expired`, `sse.reconnect`, `sse.poll`), except `sse.reconnect`
 *   after `sse.expired` or `sse.poll`
 * - at most `window` events that the client has not acknowledged
 * - nothing that was published after the session of the connection had ended (`deny`)
 */
import { type History, type Position, print } from './history.js'

/** An event, read by a parser of another project. */
export interface ReceivedEvent {
  readonly event?: string | undefined
  readonly id?: string | undefined
  readonly data: string
}

export interface SessionOptions {
  readonly client: string
  readonly channels: readonly string[]
  /** The first connection requests all kept events. */
  readonly earliest: boolean
  readonly history: History
  /** The time for the trace, in ms. */
  readonly now: () => number
  /**
   * The server may drop events of the log, and then announces how many (`sse.dropped`). Ephemeral events may always be
   * dropped. @defaultValue false
   */
  readonly drops?: boolean
  /**
   * The client shares connections with others, and sees no new connection. A gap may be announced again on the next
   * one. @defaultValue false
   */
  readonly shares?: boolean
}

/** The client's state of one channel. */
interface Log {
  /** The position of the client. `undefined`: any event may be next. */
  at: Position | undefined
  /** Offset → token, since the last reset. */
  delivered: Map<number, string>
  readonly tokens: Set<string>
  /** If the client's position is unknown, or it shares connections: the last offset of the gaps that were announced. */
  lostTo: number
}

/** The control events that must be the last event of their connection. */
const LAST = new Set(['sse.close', 'sse.expired', 'sse.reconnect', 'sse.poll'])
const PART = /^([a-z0-9]+)-(\d+)$/
const MAX_TRACE = 400

export class Session {
  readonly client: string
  events = 0
  readonly announcements: {
    readonly type: 'gap' | 'reset'
    readonly channel: string
    readonly data: string
  }[] = []
  /** The cursor to resume from. */
  cursor = ''
  /** The client knows that its channels have ended. */
  completed = false
  readonly #options: SessionOptions
  readonly #history: History
  readonly #logs = new Map<string, Log>()
  readonly #had = new Set<string>()
  readonly #trace: string[] = []
  /** The process that serves the current connection. */
  #servedBy = ''
  #ended: string | undefined
  #opened = false
  /** A poll without a cursor: the kit's client reports the position of the answer as `sse.open`. */
  #mayOpen = false
  #pendingReset = false
  /** Set if the stream was opened with a window: the number of further events that may arrive. */
  #room: number | undefined
  #window: number | undefined
  /** Events that were announced as dropped, and are not missing yet. */
  #dropped = 0
  /** Events that were published later may not arrive on this connection. */
  #deniedFrom = Number.POSITIVE_INFINITY

  constructor(options: SessionOptions) {
    this.#options = options
    this.#history = options.history
    this.client = options.client
    for (const channel of options.channels) {
      this.#logs.set(channel, { at: undefined, delivered: new Map(), tokens: new Set(), lostTo: 0 })
    }
  }

  get channels(): readonly string[] {
    return this.#options.channels
  }

  /** The latest entries of the trace. */
  get trace(): readonly string[] {
    return this.#trace
  }

  note(text: string): void {
    this.#trace.push(`${this.#options.now().toFixed(0)} ${text}`)
    if (this.#trace.length > 2 * MAX_TRACE) this.#trace.splice(0, MAX_TRACE)
  }

  violate(text: string): void {
    this.note(`VIOLATION ${text}`)
    this.#history.violate(`${this.client} (served by ${this.#servedBy}): ${text}`)
  }

  /** Whether the client has received the event, even before a reset. */
  hadEver(token: string): boolean {
    return this.#had.has(token)
  }

  /** The offset up to which the client has each event of a channel or an announcement; `undefined`: unknown. */
  at(channel: string): Position | undefined {
    const { at, lostTo } = this.#logs.get(channel) ?? { at: undefined, lostTo: 0 }
    if (at === undefined && lostTo === 0) return undefined
    return { epoch: at?.epoch ?? '', offset: Math.max(at?.offset ?? 0, lostTo) }
  }

  /** Dropped events were announced, and the client does not know yet which: any may be missing. */
  get missesDropped(): boolean {
    return this.#dropped > 0
  }

  /** A new connection: the next event is `sse.open`, or a poll's answer follows. @param process that serves it */
  connected(process: string, what: 'stream' | 'poll', window?: number): void {
    this.#servedBy = process
    this.#ended = undefined
    this.#opened = what === 'poll'
    this.#mayOpen = what === 'poll' && this.cursor === ''
    this.#pendingReset = false
    this.#room = window
    this.#window = window
    // Events that a shared connection has dropped are missing for this client on the next one too.
    if (this.#options.shares !== true) this.#dropped = 0
    this.#deniedFrom = Number.POSITIVE_INFINITY
    // `sse.gap` has no id: on another connection the same gap is announced again.
    for (const [channel, at] of this.cursor === '' ? [] : (this.#positions(this.cursor) ?? [])) {
      // Tabs share what `from=earliest` has sent, and the events before it are not a gap.
      const isStart = this.#options.shares === true && this.#options.earliest && at.offset === 0
      ;(this.#logs.get(channel) as Log).at = isStart ? undefined : at
    }
    this.note(`${what} of ${process} from ${this.cursor}`)
  }

  /** The client learns that its channels have ended. */
  complete(): void {
    this.note('completed')
    if (!this.#history.mayEnd) this.violate('completed although no channel has ended')
    this.completed = true
  }

  /** The session of this connection has ended: no event that is published after `at` may arrive on it. */
  deny(at: number): void {
    this.#deniedFrom = Math.min(this.#deniedFrom, at)
  }

  /** The client acknowledges all events: the server may now send another window. */
  acknowledged(window: number): void {
    if (this.#room !== undefined) this.#room = window
  }

  /** An event of a stream. */
  received(event: ReceivedEvent): void {
    const { event: type = 'message', id, data } = event
    this.note(`${type} ${id ?? ''} ${data.slice(0, 80)}`)
    const isNotice = (this.#ended === 'sse.expired' || this.#ended === 'sse.poll') && type === 'sse.reconnect'
    if (this.#ended !== undefined && !isNotice) this.violate(`${type} after ${this.#ended}`)
    if (!this.#opened && type !== 'sse.open') this.violate(`${type} before sse.open`)
    if (type === 'sse.open') this.#open(id)
    this.#take(event)
    if (LAST.has(type)) this.#ended = type
  }

  /** A poll's answer. */
  polled(events: readonly ReceivedEvent[], cursor: string): void {
    for (const event of events) {
      this.note(`polled ${event.event} ${event.id ?? ''} ${event.data.slice(0, 80)}`)
      this.#take(event)
    }
    this.#stand('the cursor of a poll', cursor)
    this.cursor = cursor
  }

  #open(id: string | undefined): void {
    if (this.#opened && !this.#mayOpen) this.violate('sse.open twice')
    this.#opened = true
    this.#mayOpen = false
    if (id === undefined) this.#pendingReset = true
    else this.#stand('sse.open', id)
  }

  #take({ event: type = 'message', id, data }: ReceivedEvent): void {
    if (type === 'sse.close' && (JSON.parse(data) as { reason: string }).reason === 'completed') this.complete()
    else if (id !== undefined) this.cursor = id
    if (type === 'sse.gap') this.#gap(JSON.parse(data) as { channel: string; from: number; to: number }, data)
    else if (type === 'sse.reset') this.#reset(JSON.parse(data) as { channel: string }, id, data)
    else if (type === 'sse.dropped') this.#drop(JSON.parse(data) as { count: number }, data)
    else if (!type.startsWith('sse.')) this.#event(type, id, data)
  }

  #event(type: string, id: string | undefined, data: string): void {
    this.events++
    // With a pending reset `sse.open` has no id, so no event may arrive before that reset.
    if (this.#pendingReset) this.violate('an event although sse.open had no id and no sse.reset came')
    const { c: channel, t: token } = JSON.parse(data) as { readonly c: string; readonly t: string }
    const log = this.#logs.get(channel)
    if (log === undefined) {
      this.violate(`an event of ${channel}, which the client did not ask for: ${token}`)
      return
    }
    this.#had.add(token)
    if ((this.#history.publishedAt(token) ?? 0) > this.#deniedFrom) {
      this.violate(`${token} was published after the session had ended at ${this.#deniedFrom}`)
    }
    this.#history.saw(channel, token, type, data, this.client)
    // README: if an answer of Redis is lost, an ephemeral event may be delivered twice.
    if (log.tokens.has(token) && !this.#history.isEphemeral(token)) this.violate(`${token} came twice, now as ${id}`)
    log.tokens.add(token)
    if (id === undefined) {
      if (!this.#history.isEphemeral(token)) this.violate(`${token} came without an id`)
      return
    }
    if (this.#history.isEphemeral(token)) this.violate(`${token} is ephemeral and came with the id ${id}`)
    if (this.#room !== undefined && --this.#room < 0) this.violate(`${token} exceeds the window`)
    this.#advance(channel, log, token, id)
  }

  #advance(channel: string, log: Log, token: string, id: string): void {
    const at = this.#positions(id)?.get(channel)
    if (at === undefined) return
    this.#history.stands(channel, at, token, this.client)
    if (log.at !== undefined) {
      const missing = this.#missing(log, log.at.offset, at.offset - 1)
      if (missing < 0 || missing > this.#dropped)
        this.violate(`${channel}: ${print(log.at)}, then ${print(at)} (${token})`)
      this.#dropped -= missing
      if (at.epoch !== log.at.epoch) this.#renamed(channel, log.at, log)
    }
    log.at = at
    log.delivered.set(at.offset, token)
    this.#stand(`an event of ${channel}`, id)
  }

  /** Each position in `id` is the client's position in that channel. */
  #stand(what: string, id: string): void {
    for (const [channel, at] of this.#positions(id) ?? []) {
      const log = this.#logs.get(channel) as Log
      const missing = log.at === undefined ? 0 : this.#missing(log, log.at.offset, at.offset)
      if (log.at !== undefined && missing !== 0 && (missing < 0 || missing > this.#dropped)) {
        this.violate(`${what} moves ${channel} from ${print(log.at)} to ${print(at)}`)
      } else if (log.at !== undefined && log.at.epoch !== at.epoch) {
        this.#renamed(channel, log.at, log)
      }
      this.#dropped -= Math.max(0, missing)
      // The first `sse.open` with `from=earliest` has a position before the events that are no longer kept.
      const isStart = log.at === undefined && this.#options.earliest && at.offset === 0
      log.at = isStart ? undefined : at
    }
  }

  /** How many events after `from`, up to `to`, were neither received nor announced as a gap. */
  #missing({ lostTo }: Log, from: number, to: number): number {
    return to < from ? to - from : to - Math.min(to, Math.max(from, lostTo))
  }

  #drop({ count }: { readonly count: number }, data: string): void {
    if (!(count > 0)) this.violate(`sse.dropped ${data}`)
    if (this.#options.drops === true) this.#dropped += count
  }

  #gap(
    { channel, from, to }: { readonly channel: string; readonly from: number; readonly to: number },
    data: string,
  ): void {
    this.announcements.push({ type: 'gap', channel, data })
    const log = this.#logs.get(channel)
    if (log === undefined) {
      this.violate(`a gap of ${channel}, which the client did not ask for`)
      return
    }
    if (!(from >= 1 && to >= from)) this.violate(`a gap from ${from} to ${to}`)
    if (log.at === undefined || this.#options.shares === true) {
      log.lostTo = Math.max(log.lostTo, to)
      return
    }
    const missing = from - log.at.offset - 1
    if (missing < 0 || missing > this.#dropped) this.violate(`${channel}: a gap from ${from} after ${print(log.at)}`)
    this.#dropped -= missing
    log.at = { epoch: log.at.epoch, offset: to }
  }

  #reset({ channel }: { readonly channel: string }, id: string | undefined, data: string): void {
    this.announcements.push({ type: 'reset', channel, data })
    const log = this.#logs.get(channel)
    if (log === undefined) {
      this.violate(`a reset of ${channel}, which the client did not ask for`)
      return
    }
    log.at = undefined
    log.lostTo = 0
    // Events of the former log need no acknowledgement any more.
    this.#room = this.#window
    log.delivered = new Map()
    log.tokens.clear()
    if (id === undefined) return
    this.#pendingReset = false
    this.#stand('sse.reset', id)
  }

  #renamed(channel: string, after: Position, { delivered }: Log): void {
    this.#history.renamed({ client: this.client, channel, after, servedBy: this.#servedBy, delivered })
  }

  #positions(id: string): ReadonlyMap<string, Position> | undefined {
    const parts = id.split('.')
    const positions = new Map<string, Position>()
    for (const [i, channel] of this.channels.entries()) {
      const [, epoch, offset] = PART.exec(parts[i] ?? '') ?? []
      if (epoch !== undefined) positions.set(channel, { epoch, offset: Number(offset) })
    }
    if (parts.length === this.channels.length && positions.size === parts.length) return positions
    this.violate(`the id ${id} for ${this.channels.length} channels`)
    return undefined
  }
}
