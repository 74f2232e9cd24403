import type { LogEntry } from '../core/message.js'

/**
 * How long ago an entry was published, in ms; `undefined` where that is not known. The clocks of two machines differ, so it may be
 * some ms wrong, but nothing is older than 0.
 */
export function delayOf({ publishedAt }: LogEntry, now: number): number | undefined {
  return publishedAt === undefined ? undefined : Math.max(0, now - publishedAt)
}
