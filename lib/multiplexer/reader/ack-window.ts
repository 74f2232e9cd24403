/**
 * How far a stream may run ahead of its client: at most `size` events beyond the last ones that the client has acknowledged, over
 * all its channels. One more credit beside the socket's and the tokens'.
 *
 * ```
 *   log   … acked ─────────── sent ┊ next …
 *                 unacknowledged   ┊ may go out while unacknowledged < size
 * ```
 * Offsets that were passed over because they are gone from the log were never sent, so they are not waited for.
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
  /** What was passed over between the two. */
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

  /** Events sent that the client has not acknowledged yet. */
  get unacknowledged(): number {
    return this.#unacknowledged
  }

  /** Events that may be sent. */
  get room(): number {
    return Math.max(0, this.size - this.#unacknowledged)
  }

  onSent(channel: CursorPart, last: number): void {
    this.#move(channel, (log) => {
      log.sent = last
    })
  }

  /** @param to the last offset that was passed over */
  onSkipped(channel: CursorPart, to: number): void {
    this.#move(channel, (log) => {
      // One after the other is one: there are no more gaps than events between them, which the window bounds.
      const last = log.gaps.at(-1)
      const continued = last?.to === log.sent ? log.gaps.pop() : undefined
      log.gaps.push({ from: continued?.from ?? log.sent + 1, to })
      log.sent = to
    })
  }

  /** The log began anew: what was sent before is not waited for, because its offsets mean something else now. */
  onReset(channel: CursorPart, offset: number): void {
    this.#move(channel, (log) => {
      log.acked = offset
      log.sent = offset
      log.gaps = []
    })
  }

  /** Takes what is new in a client's cursor; parts of other logs, or beyond what was sent, count for nothing. */
  acknowledge(positions: readonly Position[]): void {
    for (const [channel, log] of this.#logs) {
      const offset = channel.find(positions)?.offset
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
  let passed = 0
  for (const { from, to } of gaps) passed += to - Math.max(from, acked + 1) + 1
  return sent - acked - passed
}
