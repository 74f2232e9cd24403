/** Shared by all publishers: the event, the clock, and the pace. */
import { setTimeout as sleep } from 'node:timers/promises'

const TEXT = 'x'.repeat(125)

/** The system's monotonic clock, which is the same for all processes of a machine. */
export function nowMicros() {
  return Number(process.hrtime.bigint() / 1000n)
}

/**
 * About 250 bytes on the wire. After the single `@` are the values for sampled streams: its number, and when it was
 * due.
 */
export function eventText(number, due) {
  const at = `@${number}:${due};`
  return `{"id":12345,"conversation_id":"wa-106540352242922-4915112345678","text":"${TEXT}","at":"${at}"}`
}

/**
 * Publishes on request of the parent, and answers after the answer to the last event.
 * @param publish sends the event of this number, due at this time; numbers continue over requests
 */
export function publishOnOrder(publish) {
  let number = 0
  const next = (due) => publish(number++, due)
  process.on('message', async ({ type, ...order }) => {
    if (type !== 'publish') return
    const begin = nowMicros()
    await (order.inFlight === undefined ? atRate(next, order) : closedLoop(next, order))
    process.send({ type: 'published', events: number, begin })
  })
}

/**
 * Sends each event at its time, independent of answers to earlier ones. Timers have whole ms: above 1,000/s several
 * events are sent at once. The delay of a late event counts from when it was due. Otherwise a server that publishes
 * would hide its own stalls.
 */
async function atRate(publish, { rate, events }) {
  const begin = nowMicros()
  const answers = []
  for (let i = 0; i < events; i++) {
    const due = begin + Math.round((i * 1e6) / rate)
    const waitMs = Math.ceil((due - nowMicros()) / 1000)
    if (waitMs > 0) await sleep(waitMs)
    answers.push(publish(due))
  }
  await Promise.all(answers)
}

/** Sends as fast as possible, with a limited number of unanswered events. */
async function closedLoop(publish, { inFlight, seconds }) {
  const end = performance.now() + seconds * 1000
  const loop = async () => {
    while (performance.now() < end) await publish(nowMicros())
  }
  await Promise.all(Array.from({ length: inFlight }, loop))
}
