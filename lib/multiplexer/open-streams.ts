/** The open streams on channels in this process, by id: for acknowledgements, for `inspect`, and to close them. */
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { delayOf } from '../core/message.js'
import type { EventTracing } from '../core/tracing.js'
import { drain } from '../stream/closing.js'
import type { StreamStatus } from '../stream/event-stream.js'
import type { SseStream } from '../stream/sse-stream.js'
import type { Ack } from '../wire/contract.js'
import { parseCursor } from '../wire/cursor.js'
import type { StreamReader } from './reader/stream-reader.js'

/** The state of one stream on channels. */
export interface ChannelStreamStatus extends StreamStatus {
  /** The names of its channels. */
  readonly channels: readonly string[]
  /** Events of its channels that it has not been sent, without those in its queue (`queued`). */
  readonly lag: number
  /** Events sent that the client has not acknowledged; `undefined` without a window. */
  readonly unacknowledged: number | undefined
  /** How full the client's buffer was at its last acknowledgement, from 0 to 1; `undefined`: not reported. */
  readonly buffer: number | undefined
  /** The latency that the client reported with its last acknowledgement, in ms; `undefined`: not reported. */
  readonly latencyMs: number | undefined
}

interface Entry {
  readonly stream: SseStream
  readonly reader: StreamReader
  lastAck: Ack | undefined
}

export class OpenStreams {
  readonly #entries = new Map<string, Entry>()
  readonly #clock: Clock
  readonly #tracing: EventTracing | undefined

  constructor(clock: Clock, tracing: EventTracing | undefined) {
    this.#clock = clock
    this.#tracing = tracing
  }

  get size(): number {
    return this.#entries.size
  }

  add(stream: SseStream, reader: StreamReader): void {
    this.#entries.set(stream.id, { stream, reader, lastAck: undefined })
  }

  delete({ id }: SseStream): void {
    this.#entries.delete(id)
  }

  /** @returns whether this process has the stream */
  acknowledge(ack: Ack): boolean {
    const entry = this.#entries.get(ack.stream)
    if (entry === undefined) return false
    const positions = parseCursor(ack.cursor) ?? []
    // Traced once: clients may repeat an acknowledgement.
    const latest = entry.lastAck?.cursor === ack.cursor ? undefined : entry.reader.latestEntryAt(positions)
    entry.lastAck = ack
    entry.reader.acknowledge(positions)
    if (diagnostics.streamAck.hasSubscribers) {
      const delayMs = latest && delayOf(latest.entry, this.#clock.wallTime())
      diagnostics.streamAck.publish({ ...ack, auth: entry.stream.auth, delayMs })
    }
    if (latest !== undefined) this.#tracing?.acknowledge(latest.channel.name, latest.entry, ack)
    return true
  }

  status(): readonly ChannelStreamStatus[] {
    return [...this.#entries.values()].map(({ stream, reader, lastAck }) => ({
      ...stream.status(),
      channels: reader.channelNames,
      lag: reader.lag,
      unacknowledged: reader.unacknowledged,
      buffer: lastAck?.buffer,
      latencyMs: lastAck?.latencyMs,
    }))
  }

  /** Closes all streams, evenly spread over `windowMs`. Resolves when the responses are closed. */
  async drain(windowMs: number): Promise<void> {
    await drain(this, windowMs, this.#clock)
  }

  *[Symbol.iterator](): Iterator<SseStream> {
    for (const { stream } of this.#entries.values()) yield stream
  }
}
