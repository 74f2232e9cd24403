/** What one client has received, by the number in each event, and which losses were announced to it. */

/** @param capacity all numbers are below */
export function createReceipts(capacity) {
  const copies = new Uint8Array(capacity)
  /** Numbers `from` to below `to` are announced as lost. */
  const announced = []
  let pending
  let last = -1

  return {
    /** @returns whether it is the first copy */
    add(number) {
      if (number >= capacity) throw new Error(`Event ${number} was never published`)
      if (pending) {
        announced.push({ from: pending.from, to: number })
        pending = undefined
      }
      last = Math.max(last, number)
      copies[number] = Math.min(255, copies[number] + 1)
      return copies[number] === 1
    },
    /** The client was notified that events between the last and the next one are lost. */
    announceGap() {
      pending ??= { from: last + 1 }
    },
    /** The client was notified that all that it has before the next event may be incomplete. */
    announceReset() {
      pending = { from: 0 }
    },
    isMissing: (number) => copies[number] === 0,
    /** @param due the numbers that it must have */
    count(due) {
      const intervals = pending ? [...announced, { from: pending.from, to: capacity }] : announced
      const missing = due.filter((number) => copies[number] === 0)
      const silent = missing.filter((number) => !intervals.some(({ from, to }) => number >= from && number < to))
      return {
        announced: missing.length - silent.length,
        silent,
        doubled: copies.reduce((sum, each) => sum + Math.max(0, each - 1), 0),
      }
    },
  }
}
