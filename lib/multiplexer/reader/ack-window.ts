/**
 * How far a stream may run ahead of its client: at most `size` events beyond the last events that the client has
 * acknowledged, over all its channels. The window is a credit, beside those of the socket and of pacing.
 *
 * ```
 *   log   … acked ─────────── sent ┊ next …
 *                 unacknowledged   ┊ may be sent while unacknowledged < size
 * ```
 * Offsets in a gap were never sent, so the window does not count them.
 */
import type { Position } from '../../core/position.js'
import type { CursorPart } from '../channel/batch.js'

interface Gap {
  readonly from: number
  readonly to: number
}

interface Log {
  acked: number
  sent: number
  /** The gaps between `acked` and `sent`. */
  gaps: Gap[]
}

export class AckWindow {
  readonly size: number
  readonly #logs = new Map<CursorPart, Log>()
  #unacknowledged = 0

  constructor(size: number, starts: readonly { readonly channel: CursorPart; readonly offset: number }[]) {
    this.size = size
    for (const { channel, offset } of starts) this.#logs.set(channel, { acked: offset, sent: offset, gaps: [] })
  }

  /** The number of events sent and not acknowledged. */
  get unacknowledged(): number {
    return this.#unacknowledged
  }

  /** The number of events that may be sent now. */
  get room(): number {
    return Math.max(0, this.size - this.#unacknowledged)
  }

  onSent(channel: CursorPart, last: number): void {
    this.#move(channel, (log) => {
      log.sent = last
    })
  }

  /** @param to the last offset of the gap */
  onGap(channel: CursorPart, to: number): void {
    this.#move(channel, (log) => {
      // Adjacent gaps are joined. So there are at most as many gaps as unacknowledged events, which the window bounds.
      const last = log.gaps.at(-1)
      const continued = last?.to === log.sent ? log.gaps.pop() : undefined
      log.gaps.push({ from: continued?.from ?? log.sent + 1, to })
      log.sent = to
    })
  }

  /** The log was replaced. Events of the old log need no acknowledgement: their offsets name other events now. */
  onReset(channel: CursorPart, offset: number): void {
    this.#move(channel, (log) => {
      log.acked = offset
      log.sent = offset
      log.gaps = []
    })
  }

  /** Applies a client's cursor. Positions in other logs, or beyond the last event sent, are ignored. */
  acknowledge(positions: readonly Position[]): void {
    for (const [channel, log] of this.#logs) {
      const offset = channel.positionIn(positions)?.offset
      if (offset === undefined || offset <= log.acked || offset > log.sent) continue
      this.#move(channel, () => {
        log.acked = offset
        log.gaps = log.gaps.filter(({ to }) => to > offset)
      })
    }
  }

  #move(channel: CursorPart, change: (log: Log) => void): void {
    const log = this.#logs.get(channel)
    if (log === undefined) return
    this.#unacknowledged -= unacknowledgedIn(log)
    change(log)
    this.#unacknowledged += unacknowledgedIn(log)
  }
}

function unacknowledgedIn({ acked, sent, gaps }: Log): number {
  let missing = 0
  for (const { from, to } of gaps) missing += to - Math.max(from, acked + 1) + 1
  return sent - acked - missing
}
