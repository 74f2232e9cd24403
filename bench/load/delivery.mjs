/**
 * A load client that knows which events each stream must receive. It counts events per stream. On a sample of the
 * streams it also reads the number and the delay of each event. With a URL it also publishes over HTTP.
 */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { optionsOf } from '../harness/processes.mjs'
import { quantile } from '../harness/stats.mjs'
import { eventText, nowMicros, publishOnOrder } from './pace.mjs'
import { openPosts } from './posts.mjs'

const { ports, streams, channels = 1, sampled = 10, posts } = optionsOf()
const AT = 0x40
const COLON = 0x3a
const SEMICOLON = 0x3b
/** Odd, and shares no divisor with usual numbers of streams: the sample meets all processes and channels. */
const SAMPLE_STEP = 7919
const OVERDUE_MS = 15_000
/** Long enough for a second copy to arrive. */
const SETTLE_MS = 300

const counts = new Uint32Array(streams)
/** The numbers received by the sampled streams. */
const seen = new Map()
for (let i = 0; i < Math.min(sampled, streams); i++) seen.set((i * SAMPLE_STEP) % streams, new Set())
let doubled = 0
let delays
let expected = Number.POSITIVE_INFINITY
let complete = 0
let lastAt = 0
let ready = 0
let onComplete = () => undefined

if (posts) {
  const post = openPosts(posts.port, posts.path, posts.sockets)
  publishOnOrder((number, due) => post(eventText(number, due)))
}

// Also ends the load client if the bench was killed.
process.on('disconnect', () => process.exit())
process.on('message', async ({ type, events }) => {
  if (type === 'record') delays = []
  if (type === 'expect') process.send({ type: 'done', ...(await until(events)) })
  if (type === 'verify') process.send({ type: 'verified', ...(await verify()) })
})

for (let i = 0; i < streams; i++) {
  const channel = i % channels
  // Half of each channel's streams, and half of all channels where each has but one, are at each of two ports.
  const port = ports[(channel + Math.floor(i / channels)) % ports.length]
  open(port, channels === 1 ? '/' : `/?channel=${channel}`, i)
  // Not all at once: the server's queue of new connections is short.
  if (i % 500 === 499) await sleep(50)
}

function open(port, path, i) {
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`)
  socket.once('data', () => {
    if (++ready === streams) process.send({ type: 'ready' })
  })
  const read = seen.has(i) ? reader(seen.get(i)) : count
  socket.on('data', (chunk) => {
    const events = read(chunk)
    if (events === 0) return
    const before = counts[i]
    counts[i] += events
    lastAt = nowMicros()
    if (before < expected && counts[i] >= expected && ++complete === streams) onComplete()
  })
  socket.on('close', () => {
    throw new Error('The server closed a stream')
  })
}

function count(chunk) {
  let events = 0
  for (let at = chunk.indexOf(AT); at !== -1; at = chunk.indexOf(AT, at + 1)) events++
  return events
}

/** Reads `@<number>:<sent>;`. A chunk may end within it. */
function reader(numbers) {
  let rest
  return (chunk) => {
    const now = nowMicros()
    const bytes = rest ? Buffer.concat([rest, chunk]) : chunk
    rest = undefined
    let events = 0
    for (let at = bytes.indexOf(AT); at !== -1; at = bytes.indexOf(AT, at + 1)) {
      const end = bytes.indexOf(SEMICOLON, at)
      if (end === -1) {
        rest = bytes.subarray(at)
        break
      }
      const colon = bytes.indexOf(COLON, at)
      const number = Number(bytes.latin1Slice(at + 1, colon))
      if (numbers.has(number)) doubled++
      numbers.add(number)
      delays?.push(now - Number(bytes.latin1Slice(colon + 1, end)))
      events++
    }
    return events
  }
}

/** Resolves when each stream has received so many events, or when it is certain that one never will. */
async function until(events) {
  expected = events
  complete = counts.filter((each) => each >= events).length
  if (complete < streams) {
    const overdue = sleep(OVERDUE_MS, undefined, { ref: false })
    await Promise.race([overdue, new Promise((resolve) => (onComplete = resolve))])
  }
  return { lastAt }
}

async function verify() {
  await sleep(SETTLE_MS)
  let missing = 0
  for (const [i, each] of counts.entries()) {
    const distinct = seen.get(i)?.size ?? each
    missing += Math.max(0, expected - distinct)
    // What sampled streams got twice was counted where it was read.
    doubled += Math.max(0, distinct - expected)
  }
  const [p50, p99] = [0.5, 0.99].map((q) => (delays?.length ? quantile(delays, q) / 1000 : undefined))
  return { missing, doubled, p50, p99, delays: delays?.length ?? 0 }
}
