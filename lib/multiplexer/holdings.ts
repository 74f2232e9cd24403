import type { LeasedStream, LossReason, StreamLease } from '../limits/streams/lease.js'
import type { EventStream } from '../stream/event-stream.js'
import type { Channel } from './channel/channel.js'
import type { ChannelRegistry } from './channel/registry.js'

const NONE: readonly Channel[] = []

/**
 * What a stream on channels holds from before it is open until it is closed: its place among the streams there may be, and a
 * reference to each channel.
 */
export class Holdings implements LeasedStream {
  readonly id: string
  readonly #registry: ChannelRegistry
  #lease: StreamLease | undefined
  #channels = NONE
  #stream: EventStream | undefined
  #lost: LossReason | undefined

  /** @param id the stream's */
  constructor(id: string, registry: ChannelRegistry) {
    this.id = id
    this.#registry = registry
  }

  set lease(lease: StreamLease) {
    this.#lease = lease
  }

  set channels(channels: readonly Channel[]) {
    this.#channels = channels
  }

  get channels(): readonly Channel[] {
    return this.#channels
  }

  /** Why the stream must not be opened any more. */
  get lost(): LossReason | undefined {
    return this.#lost
  }

  /** The stream is open. */
  attach(stream: EventStream): void {
    this.#stream = stream
  }

  /** Gives all back. Idempotent. */
  release(): void {
    this.#lease?.release()
    this.#registry.release(this.#channels)
    this.#channels = NONE
  }

  /** The place is lost. */
  close(reason: LossReason): void {
    this.#lost = reason
    void this.#stream?.close(reason)
  }
}
