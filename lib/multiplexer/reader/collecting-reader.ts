/**
 * channel ─► log reader ─► **collecting reader** ─► poll, iteration: collects entries as items that a program reads.
 * Owns the bounds of what is collected: once an entry does not fit, the reader is full and takes no more.
 */
import type { LogEntry } from '../../core/message.js'
import type { ControlEvents, GapData, PolledEvent, ResetData } from '../../wire/contract.js'
import { decodeEvent } from '../../wire/encode.js'
import type { Batch } from '../channel/batch.js'
import { LogReader, type ReaderUser, reportReplay } from './log-reader.js'
import type { ChannelPosition, StartPosition } from './positions.js'

export interface CollectionBounds {
  /** The maximum number of entries. */
  readonly maxEvents: number
  /** The maximum bytes of entries, unless a single entry is larger. */
  readonly maxBytes: number
}

export class CollectingReader extends LogReader {
  readonly #bounds: CollectionBounds
  readonly #onProgress: () => void
  #events: PolledEvent[] = []
  #count = 0
  #bytes = 0
  #full = false
  #ended = false
  #stopped = false

  /** @param onProgress called after an event was collected, when the reader is full, and when it has caught up */
  constructor(
    starts: readonly StartPosition[],
    user: ReaderUser,
    { maxEvents, maxBytes }: CollectionBounds,
    onProgress: () => void,
  ) {
    super(starts, user)
    this.#bounds = { maxEvents, maxBytes }
    this.#onProgress = onProgress
  }

  /** The events collected so far, control events included. */
  get events(): readonly PolledEvent[] {
    return this.#events
  }

  /** The number of entries collected, without control events. */
  get count(): number {
    return this.#count
  }

  /** The reader has as many entries or bytes as an answer may have. */
  get full(): boolean {
    return this.#full
  }

  /** All logs have ended, and everything was collected. */
  get ended(): boolean {
    return this.#ended
  }

  /** Removes the collected events, and collects as many again. */
  take(): readonly PolledEvent[] {
    const events = this.#events
    this.#events = []
    this.#count = 0
    this.#bytes = 0
    if (this.#full) {
      this.#full = false
      this.resume()
    }
    return events
  }

  /** Collects no more entries. */
  stop(): void {
    this.#stopped = true
  }

  /** Announces pending resets, leaves the channels, and returns the cursor. */
  finish(): string {
    this.announceResets()
    const cursor = this.cursor()
    this.close()
    return cursor
  }

  onBatch({ channel, entries }: Batch): boolean {
    const position = this.positions.of(channel)
    if (position === undefined || !this.hasCredit || !this.#fit(entries)) {
      this.leaveLive()
      return false
    }
    for (const entry of entries) this.#collect(entry, this.positions.toCursor(position, entry.offset))
    this.#onProgress()
    return true
  }

  onEphemeral(entry: LogEntry): boolean {
    if (!this.hasCredit || !this.#reserve(entry)) return false
    this.#collect(entry)
    this.#onProgress()
    return true
  }

  protected get hasCredit(): boolean {
    return !this.#stopped && !this.#full
  }

  protected send(position: ChannelPosition, entryAt: (offset: number) => LogEntry | undefined): boolean {
    const entry = entryAt(position.offset + 1)
    if (entry === undefined) return false
    if (!this.#reserve(entry)) return true
    this.positions.moveTo(position, entry.offset)
    this.#collect(entry, this.cursor())
    this.#onProgress()
    reportReplay(position.channel, entry, 1)
    return true
  }

  protected override onLive(): void {
    this.#onProgress()
  }

  protected onAllEnded(): void {
    this.#ended = true
    this.#onProgress()
  }

  protected sendReset(reset: ResetData, cursor: string | undefined): void {
    this.#collectControl('sse.reset', reset, cursor)
  }

  protected sendGap(gap: GapData): void {
    this.#collectControl('sse.gap', gap)
  }

  /** @returns whether the entry fits; if not, the reader is full */
  #reserve(entry: LogEntry): boolean {
    if (this.#fit([entry])) return true
    this.#full = true
    this.#onProgress()
    return false
  }

  #fit(entries: readonly LogEntry[]): boolean {
    const { maxEvents, maxBytes } = this.#bounds
    if (this.#count + entries.length > maxEvents) return false
    const bytes = entries.reduce((sum, { body }) => sum + body.length, this.#bytes)
    return bytes <= maxBytes || (this.#count === 0 && entries.length === 1)
  }

  #collect({ body }: LogEntry, id?: string): void {
    const decoded = decodeEvent(body)
    this.#events.push(id === undefined ? decoded : { id, ...decoded })
    this.#count++
    this.#bytes += body.length
    const { maxEvents, maxBytes } = this.#bounds
    this.#full = this.#count >= maxEvents || this.#bytes >= maxBytes
  }

  #collectControl<Name extends keyof ControlEvents>(event: Name, data: ControlEvents[Name], id?: string): void {
    const control = { event, data: JSON.stringify(data) }
    this.#events.push(id === undefined ? control : { id, ...control })
    this.#onProgress()
  }
}
