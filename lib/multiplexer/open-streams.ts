/** The streams of this process, by id: for acknowledgements, for the operator, and to end them. */

import type { CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import type { EventStream } from '../stream/event-stream.js'
import type { StreamStatus } from '../stream/status.js'
import { parseCursor } from '../wire/cursor.js'
import type { Ack } from './ack.js'
import type { Reader } from './reader.js'

/** One stream on channels as it is now. */
export interface ChannelStreamStatus extends StreamStatus {
  readonly channels: readonly string[]
  /** Events in its channels that it has not been sent yet. */
  readonly lag: number
  /** Events sent that its client has not acknowledged; `undefined` without a window. */
  readonly unacknowledged: number | undefined
  /** What the client said with its last acknowledgement. */
  readonly buffer: number | undefined
  readonly latencyMs: number | undefined
}

interface Entry {
  readonly stream: EventStream
  readonly reader: Reader
  lastAck: Ack | undefined
}

export class OpenStreams {
  readonly #entries = new Map<string, Entry>()

  get size(): number {
    return this.#entries.size
  }

  add(stream: EventStream, reader: Reader): void {
    this.#entries.set(stream.id, { stream, reader, lastAck: undefined })
  }

  delete({ id }: EventStream): void {
    this.#entries.delete(id)
  }

  /** @returns whether the stream is here */
  acknowledge(ack: Ack): boolean {
    const entry = this.#entries.get(ack.stream)
    if (entry === undefined) return false
    entry.lastAck = ack
    entry.reader.acknowledge(parseCursor(ack.cursor) ?? [])
    if (diagnostics.streamAck.hasSubscribers) diagnostics.streamAck.publish({ ...ack, auth: entry.stream.auth })
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

  /** Resolves when the responses are closed. */
  async close(reason: CloseReason, which: (stream: EventStream) => boolean = () => true): Promise<void> {
    const streams = [...this.#entries.values()].map(({ stream }) => stream)
    await Promise.all(streams.filter(which).map((stream) => stream.close(reason)))
  }
}
