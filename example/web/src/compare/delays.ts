/** How long messages took from being stored until a side showed them. */
import type { Message } from '../types.js'

export interface Shown {
  readonly message: Message
  /** `undefined`: it was there from the beginning. */
  readonly delayMs: number | undefined
}

export interface DelaySummary {
  /** Messages that came since the beginning. */
  readonly count: number
  readonly medianMs: number
  readonly longestMs: number
  /** Of the one that had waited longest, of those shown together last: what a reader has just had to wait. */
  readonly lastMs: number
}

export interface Delays {
  /** @param at when the messages were on the page, in ms since 1970 by the server's clock */
  add(messages: readonly Message[], at: number): void
  /** In the order in which they were shown. */
  shown(): readonly Shown[]
  /** `undefined` before the first. */
  summary(): DelaySummary | undefined
}

/** What is added first was there before, whenever that was. */
export function createDelays(): Delays {
  const shown = new Map<string, Shown>()
  /** Ascending. */
  let sorted: readonly number[] = []
  let lastMs = 0
  let begun = false
  return {
    add(messages, at) {
      const fresh = messages.filter(({ id }) => !shown.has(id))
      // Two clocks, compared once, may differ by a little.
      const delays = begun ? fresh.map((message) => Math.max(0, at - Date.parse(message.at))) : []
      for (const [index, message] of fresh.entries()) shown.set(message.id, { message, delayMs: delays[index] })
      begun = true
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
