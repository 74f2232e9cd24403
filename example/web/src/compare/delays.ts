/** The delay of messages from their storage until a side shows them. */
import type { Message } from '../types.js'

export interface Shown {
  readonly message: Message
  /** `undefined`: the message was in the first list. */
  readonly delayMs: number | undefined
}

export interface DelaySummary {
  /** Messages that arrived after the first list. */
  readonly count: number
  readonly medianMs: number
  readonly longestMs: number
  /** The longest delay of the messages that were shown together last. */
  readonly lastMs: number
}

export interface Delays {
  /** @param at when the messages were rendered, in ms since 1970 by the server's clock */
  add(messages: readonly Message[], at: number): void
  /** The messages in the order in which they were shown. */
  shown(): readonly Shown[]
  /** `undefined` before the first delay. */
  summary(): DelaySummary | undefined
}

/** The first messages added are the baseline: they have no delay. */
export function createDelays(): Delays {
  const shown = new Map<string, Shown>()
  /** Ascending. */
  let sorted: readonly number[] = []
  let lastMs = 0
  let hasBaseline = false
  return {
    add(messages, at) {
      const fresh = messages.filter(({ id }) => !shown.has(id))
      // The clocks of page and server can differ slightly.
      const delays = hasBaseline ? fresh.map((message) => Math.max(0, at - Date.parse(message.at))) : []
      for (const [index, message] of fresh.entries()) shown.set(message.id, { message, delayMs: delays[index] })
      hasBaseline = true
      if (delays.length === 0) return
      sorted = [...sorted, ...delays].sort((a, b) => a - b)
      lastMs = Math.max(...delays)
    },
    shown: () => [...shown.values()],
    summary() {
      const medianMs = sorted[Math.floor(sorted.length / 2)]
      const longestMs = sorted.at(-1)
      if (medianMs === undefined || longestMs === undefined) return undefined
      return { count: sorted.length, medianMs, longestMs, lastMs }
    },
  }
}
