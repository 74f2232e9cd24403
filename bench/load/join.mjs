/** A reconnect storm: on request all clients connect as fast as possible, each from its position. */
import { connect } from 'node:net'
import { setImmediate as yieldToSockets } from 'node:timers/promises'
import { optionsOf } from '../harness/processes.mjs'
import { onStreamEnd } from './tally.mjs'

const {
  port,
  /** The Last-Event-ID of each client. */
  cursors,
  /** How many events each has missed. */
  missed,
} = optionsOf()
const AT = 0x40

let complete = 0
let events = 0
let startedAt = 0

process.on('disconnect', () => process.exit())
process.on('message', async ({ type }) => {
  if (type === 'total') process.send({ type: 'total', events })
  if (type !== 'storm') return
  startedAt = performance.now()
  for (const [i, cursor] of cursors.entries()) {
    open(cursor, missed[i])
    // Data is read while other clients connect, as by a thousand computers.
    if (i % 20 === 19) await yieldToSockets()
  }
})
process.send({ type: 'ready' })

function open(cursor, missed) {
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: ${cursor}\r\n\r\n`)
  let received = 0
  socket.on('data', (chunk) => {
    const before = received
    for (let at = chunk.indexOf(AT); at !== -1; at = chunk.indexOf(AT, at + 1)) received++
    events += received - before
    if (before < missed && received >= missed && ++complete === cursors.length) {
      process.send({ type: 'done', ms: performance.now() - startedAt })
    }
  })
  socket.on('close', onStreamEnd)
}
