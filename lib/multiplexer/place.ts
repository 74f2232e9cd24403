import type { CloseReason } from '../core/close-reasons.js'
import { SseError } from '../core/errors.js'
import type { LeaseHolder, StreamLease } from '../limits/streams/lease.js'
import type { StreamOwner } from '../limits/streams/places.js'
import type { StreamLimits } from '../limits/streams/stream-limits.js'
import type { EventStream } from '../stream/event-stream.js'

/** The place, among the streams there may be, of one that is about to open and then of the open one. */
export class Place implements LeaseHolder {
  readonly id: string
  #stream: EventStream | undefined
  #lease: StreamLease | undefined
  #evicted = false

  /** @param id the stream's */
  constructor(id: string) {
    this.id = id
  }

  /** @throws RequestError `ERR_SSE_STREAM_LIMIT`, `ERR_SSE_LIMITER_UNAVAILABLE` */
  async take(limits: StreamLimits, owner: StreamOwner): Promise<void> {
    this.#lease = await limits.acquire(owner, this)
  }

  /** The stream is open. Another may have been given its place already. */
  attach(stream: EventStream): void {
    this.#stream = stream
    if (this.#evicted) void stream.close('evicted')
  }

  /** Idempotent. */
  release(): void {
    this.#lease?.release()
  }

  /** The place was given to another stream. */
  close(reason: 'evicted'): void {
    this.#evicted = true
    void this.#stream?.close(reason)
  }
}

/** With which reason a stream is ended at once that may not be open; `undefined`: it is something else that failed. */
export function refusalOf(error: unknown): CloseReason | undefined {
  const code = error instanceof SseError ? error.code : undefined
  if (code === 'ERR_SSE_STREAM_LIMIT') return 'limited'
  return code === 'ERR_SSE_CLOSED' ? 'shutdown' : undefined
}
