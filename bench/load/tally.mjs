/** Counting for the load clients: events are told by the one `@` each holds, and the parent by two questions. */
import { setTimeout as sleep } from 'node:timers/promises'

const AT = 0x40
/** Connections that may wait for an answer: Node's servers have room for 511. */
const MAX_OPENING = 250

/**
 * Answers `{ events }` with `done` once so many have come, and `{ type: 'total' }` with how many have come by now.
 * @returns what counts a chunk
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
  // Also where the bench was killed and could not end its load.
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

/** No stream of a bench may end before the bench: ends the load client, which the bench takes for its contestant's failure. */
export function onStreamEnd() {
  console.error('The server ended a stream')
  process.exit(1)
}

/**
 * Resolves when one more connection may be opened. One for which the server's queue has no room is tried again by the kernel, later
 * and later, and after a minute it is reset.
 */
export async function roomToOpen(unanswered) {
  while (unanswered() >= MAX_OPENING) await sleep(1)
}
