/**
 * Clients that read everything, at a high rate. Most only count. A sample also measures the delay of each event.
 * Answers like `tally.mjs`. `{ type: 'record' }` resets the delays, and `{ type: 'delays' }` requests them.
 */
import { connect } from 'node:net'
import { optionsOf } from '../harness/processes.mjs'
import { quantile } from '../harness/stats.mjs'
import { nowMicros } from './pace.mjs'
import { onStreamEnd, openTally } from './tally.mjs'

const AT = 0x40
const SEMICOLON = 0x3b

const { port, streams, sampled } = optionsOf()
const count = openTally()
let delays = []
let ready = 0

process.on('message', ({ type }) => {
  if (type === 'record') delays = []
  if (type === 'delays') {
    const [p50, p99] = [0.5, 0.99].map((q) => quantile(delays, q) / 1000)
    process.send({ type: 'delays', p50, p99 })
  }
})

for (let i = 0; i < streams; i++) {
  const read = i < sampled ? timer() : () => undefined
  let greeted = false
  // One buffer for all reads instead of a new one for each: the client must not be the bottleneck.
  const buffer = Buffer.allocUnsafe(65_536)
  const socket = connect({
    port,
    host: '127.0.0.1',
    onread: {
      buffer,
      callback: (length) => {
        const chunk = buffer.subarray(0, length)
        read(chunk)
        count(chunk)
        if (!greeted && ++ready === streams) process.send({ type: 'ready' })
        greeted = true
        return true
      },
    },
  })
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n')
  socket.on('close', onStreamEnd)
}

/** Reads `@<µs>;`, the time at which an event was published. A chunk may end within it. */
function timer() {
  let begun = ''
  return (chunk) => {
    const now = nowMicros()
    let at = begun === '' ? chunk.indexOf(AT) : 0
    while (at !== -1) {
      const end = chunk.indexOf(SEMICOLON, at)
      const text = begun + chunk.latin1Slice(at, end === -1 ? chunk.length : end)
      begun = end === -1 ? text : ''
      if (end === -1) return
      delays.push(now - Number(text.slice(1)))
      at = chunk.indexOf(AT, end)
    }
  }
}
