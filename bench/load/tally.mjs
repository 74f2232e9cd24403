/** Counts events for the load clients, by the single `@` in each, and answers two kinds of requests of the parent. */
import { setTimeout as sleep } from 'node:timers/promises'

const AT = 0x40
/** Connections that may wait for an answer: Node's servers have room for 511. */
const MAX_OPENING = 250

/**
 * Answers `{ events }` with `done` after so many events, and `{ type: 'total' }` with the number of events so far.
 * @returns the function that counts a chunk
 */
export function openTally() {
  let events = 0
  let expected = Number.POSITIVE_INFINITY
  process.on('message', (message) => {
    if (message.type === 'total') {
      process.send({ type: 'total', events })
    } else {
      expected = message.events
      tell()
    }
  })
  // Also ends the load client if the bench was killed.
  process.on('disconnect', () => process.exit())
  return (chunk) => {
    for (let at = chunk.indexOf(AT); at !== -1; at = chunk.indexOf(AT, at + 1)) events++
    if (events >= expected) tell()
  }

  function tell() {
    if (events < expected) return
    expected = Number.POSITIVE_INFINITY
    process.send({ type: 'done', events })
  }
}

/**
 * No stream of a bench may end before the bench: ends the load client, which the bench takes for its contestant's
 * failure.
 */
export function onStreamEnd() {
  console.error('The server ended a stream')
  process.exit(1)
}

/**
 * Resolves when one more connection may be opened. If the server's queue is full, the kernel retries the connection at
 * growing intervals, and resets it after a minute.
 */
export async function roomToOpen(unanswered) {
  while (unanswered() >= MAX_OPENING) await sleep(1)
}
