/**
 * channel ─► **log reader** ─► stream, poll, iteration: positions in one or more logs, and how they move. Owns the two states of
 * a reader, the reads from the history, and the announcement of resets and gaps. Must not know in which form entries
 * leave: `StreamReader` writes bytes, `CollectingReader` collects items.
 *
 * ```
 *            all positions at the channels' heads, and credit
 *   lagging ──────────────────────────────────────────────────► live: each batch is sent as it arrives
 *      ▲  reads from the channel's tail, else the history          │
 *      └───────────── no credit, or entries were skipped ──────────┘
 * ```
 * A lagging reader holds no queue, only its positions. Resume, slow reading and recovery are this one mechanism.
 */
import { diagnostics } from '../../core/diagnostics.js'
import type { LogEntry } from '../../core/message.js'
import { delayOf } from '../../core/message.js'
import type { Blocks } from '../../wire/blocks.js'
import type { GapData, ResetData, ResetReason } from '../../wire/contract.js'
import type { Batch } from '../channel/batch.js'
import type { Channel, ChannelReader } from '../channel/channel.js'
import type { Page } from '../channel/page.js'
import { type ChannelPosition, ReaderPositions, type StartPosition } from './positions.js'

/**
 * How long a position may claim the credit while its page is read, in ms: longer than a read takes, also with a retry.
 */
const CLAIM_MS = 5000

/**
 * What one step of a reader did.
 * - `moved`: sent a chunk, a gap or a reset.
 * - `waits`: sent nothing from this position, because its page is being read or there is no credit for its next entry.
 * - `caught_up`: no position has entries that can be sent now.
 * - `blocked`: the reader is live or closed, or has no credit.
 */
type Step = 'moved' | 'waits' | 'caught_up' | 'blocked'

/** What uses a reader: it holds the channels. An object, because a closure for each stream takes more memory. */
export interface ReaderUser {
  /** Called once: the channels are no longer needed. */
  onReaderClosed(): void
}

export abstract class LogReader implements ChannelReader {
  protected readonly positions: ReaderPositions
  protected readonly channels: readonly Channel[]
  readonly #user: ReaderUser
  /** The page just read. Not kept: a reader without credit holds nothing but its positions. */
  #fresh: { readonly position: ChannelPosition; readonly page: Page } | undefined
  #closed = false

  constructor(starts: readonly StartPosition[], user: ReaderUser) {
    this.positions = new ReaderPositions(starts)
    this.channels = starts.map(({ channel }) => channel)
    this.#user = user
  }

  abstract onBatch(batch: Batch): boolean
  abstract onEphemeral(entry: LogEntry, blocks: Blocks): boolean
  /** Whether there is credit for a control event, and perhaps for an event. */
  protected abstract get hasCredit(): boolean
  /**
   * Sends the entries that follow a position, as far as there is credit, and moves the position.
   * @param page the page that has the entries, if it was read from the history
   * @returns whether the next entry exists
   */
  protected abstract send(
    position: ChannelPosition,
    entryAt: (offset: number) => LogEntry | undefined,
    page?: Page,
  ): boolean
  /** @param cursor the position after the reset; `undefined` while more resets must be announced */
  protected abstract sendReset(reset: ResetData, cursor: string | undefined): void
  protected abstract sendGap(gap: GapData): void

  /** Whether a reset or gap may be sent now: all earlier entries were sent. */
  protected get mayAnnounce(): boolean {
    return true
  }

  /** Whether the client allows more events. Control events are always allowed. */
  protected get mayRunAhead(): boolean {
    return true
  }

  /** The reader has gone live. */
  protected onLive(): void {
    // Only polls end when they have caught up.
  }

  /** All entries of all logs were sent, and none follow: the logs have ended. */
  protected abstract onAllEnded(): void

  /** A position no longer claims the credit (see `StreamSource`). If its page has arrived, it is its turn. */
  protected onClaimEnd(): void {
    // Only streams have a queue of their own that competes for the credit.
  }

  /** A position has moved over entries that no longer exist, to `offset`. */
  protected onGap(_channel: Channel, _offset: number): void {
    // Only an acknowledgement window counts.
  }

  /** A position was reset to `offset`. */
  protected onPositionReset(_channel: Channel, _offset: number): void {
    // As `onGap`.
  }

  /** Joins the channels and begins to send. Does nothing if the reader was closed before. */
  begin(): void {
    if (this.#closed) return
    for (const channel of this.channels) channel.join(this)
    this.advance()
  }

  /** Leaves the channels. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.leaveLive()
    for (const channel of this.channels) channel.leave(this)
    this.#user.onReaderClosed()
  }

  get closed(): boolean {
    return this.#closed
  }

  onReset(channel: Channel, offset: number, reason: ResetReason): void {
    const position = this.positions.of(channel)
    if (position === undefined) return
    this.leaveLive()
    position.offset = offset
    position.reset = reason
    position.earliest = false
    this.onPositionReset(channel, offset)
    this.advance()
  }

  onLost(channel: Channel, offset: number): void {
    const position = this.positions.of(channel)
    if (position === undefined) return
    // A reader that has not reached the lost entries keeps its position, but the loss must be announced.
    if (position.offset > offset) {
      this.onReset(channel, offset, 'log_replaced')
    } else {
      position.reset = 'log_replaced'
      this.advance()
    }
  }

  onEnded(): void {
    if (!this.positions.live || !this.channels.every(({ ended }) => ended)) return
    this.onAllEnded()
  }

  pause(): void {
    this.leaveLive()
  }

  resume(): void {
    this.advance()
  }

  /** Whether the reader is behind its channels. */
  get lagging(): boolean {
    return !this.positions.live
  }

  get channelNames(): readonly string[] {
    return this.channels.map(({ name }) => name)
  }

  /** The positions as a cursor. */
  cursor(): string {
    return this.positions.toCursor()
  }

  /** Sends entries while there is credit, and goes live when none are left. */
  protected advance(): void {
    let step: Step
    do step = this.#step()
    while (step === 'moved' || step === 'waits')
    if (step !== 'caught_up') return
    if (this.positions.caughtUp) this.#goLive()
    else for (const channel of this.channels) channel.resumeOnEntries(this)
  }

  /** Sends at most one chunk, gap or reset. @returns whether something was sent */
  sendSome(): boolean {
    return this.#step() === 'moved'
  }

  #step(): Step {
    if (this.positions.live || this.#closed || !this.hasCredit) return 'blocked'
    const { unannounced, behind } = this.positions
    if (unannounced !== undefined) {
      if (!this.mayAnnounce) return 'blocked'
      this.#announce(unannounced)
      return 'moved'
    }
    if (behind === undefined) return 'caught_up'
    if (!this.mayRunAhead) return 'blocked'
    const { offset } = behind
    if (!this.#sendFrom(behind)) return 'blocked'
    return behind.offset > offset ? 'moved' : 'waits'
  }

  protected leaveLive(): void {
    if (!this.positions.live) return
    this.positions.leaveLive()
    for (const channel of this.channels) channel.leaveLive(this)
  }

  #goLive(): void {
    this.positions.goLive()
    for (const channel of this.channels) channel.goLive(this)
    this.onLive()
    this.onEnded()
  }

  /** Announces all pending resets. */
  protected announceResets(): void {
    for (let { unannounced } = this.positions; unannounced !== undefined; unannounced = this.positions.unannounced) {
      this.#announce(unannounced)
    }
  }

  /** Announces a reset. The last pending reset carries the cursor, so that a reconnect does not announce it again. */
  #announce(position: ChannelPosition): void {
    if (position.reset === undefined) return
    const reset = { channel: position.channel.name, reason: position.reset }
    position.reset = undefined
    this.sendReset(reset, this.announcedCursor)
  }

  /** The cursor that the client may have now. `undefined`: a reset must be announced first. */
  get announcedCursor(): string | undefined {
    return this.positions.unannounced === undefined ? this.cursor() : undefined
  }

  /** Sends one chunk or gap that follows the position, or reads the next page. @returns `false` if a gap must wait */
  #sendFrom(position: ChannelPosition): boolean {
    const { channel, offset } = position
    const { tail, flushed } = channel
    if (this.send(position, (offset) => (offset <= flushed ? tail.get(offset) : undefined))) return true
    const fresh = this.#fresh?.position === position && this.#fresh.page.covers(offset) ? this.#fresh.page : undefined
    const page = fresh ?? channel.history.kept(offset, channel.epoch)
    if (page !== undefined) return this.#sendPage(page, position)
    void this.#read(position)
    return true
  }

  async #read(position: ChannelPosition): Promise<void> {
    const { channel } = position
    const { epoch } = channel
    position.reading = true
    const claim = position.starved ? channel.clock.after(CLAIM_MS, () => this.#endClaim(position)) : undefined
    const page = await channel.history.read(position.offset)
    // After a reset during the read, the page belongs to the old log.
    if (page !== undefined && !this.#closed && channel.epoch === epoch) {
      const unexpected = position.offset < channel.flushed && !page.covers(position.offset)
      if (page.head.epoch !== epoch || unexpected) await channel.verify()
      else this.#fresh = { position, page }
    }
    claim?.cancel()
    position.reading = false
    if (page === undefined || this.#closed) return
    const { offset } = position
    if (position.starved) this.onClaimEnd()
    this.advance()
    if (this.#fresh !== undefined && this.lagging && position.offset === offset) position.starved = true
    this.#fresh = undefined
  }

  /** The page has not arrived in time: the others may use the credit. */
  #endClaim(position: ChannelPosition): void {
    position.starved = false
    this.onClaimEnd()
    this.advance()
  }

  #sendPage(page: Page, position: ChannelPosition): boolean {
    const { flushed } = position.channel
    const missing = Math.min(page.missingAfter(position.offset), flushed)
    if (missing <= position.offset) {
      this.send(position, (offset) => (offset <= flushed ? page.at(offset) : undefined), page)
      return true
    }
    if (!this.mayAnnounce) return false
    this.#skipTo(missing, position)
    return true
  }

  /** Moves the position over entries that no longer exist, and announces the gap. */
  #skipTo(to: number, position: ChannelPosition): void {
    const { channel, earliest } = position
    const from = position.offset + 1
    position.offset = to
    position.earliest = false
    this.onGap(channel, to)
    if (earliest) return
    const gap = { channel: channel.name, from, to, reason: 'trimmed' } as const
    if (diagnostics.channelLoss.hasSubscribers) diagnostics.channelLoss.publish(gap)
    this.sendGap(gap)
  }
}

/**
 * Publishes to diagnostics that entries were read from a log.
 * @param oldest the delay of all entries is taken from it
 */
export function reportReplay({ name, clock }: Channel, oldest: LogEntry, events: number): void {
  if (!diagnostics.streamReplay.hasSubscribers) return
  diagnostics.streamReplay.publish({ channel: name, events, delayMs: delayOf(oldest, clock.wallTime()) })
}
