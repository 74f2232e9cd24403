/** The load client: raw sockets that count events by the one `@` each holds. Cheap, so that the server is the bottleneck. */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { optionsOf } from '../harness/processes.mjs'

const {
  port,
  streams,
  requests = ['GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n'],
} = optionsOf()
const AT = 0x40
let ready = 0
let counting = false
let expected = Number.POSITIVE_INFINITY
let events = 0

process.on('message', (message) => {
  expected = message.events
  counting = true
})

for (let i = 0; i < streams; i++) {
  const socket = connect(port, '127.0.0.1')
  socket.write(requests[i % requests.length])
  socket.once('data', () => {
    if (++ready === streams) process.send({ type: 'ready' })
  })
  socket.on('data', (chunk) => {
    if (!counting) return
    for (let at = chunk.indexOf(AT); at !== -1; at = chunk.indexOf(AT, at + 1)) events++
    if (events >= expected) process.send({ type: 'done', events })
  })
  socket.on('error', () => process.exit(1))
  // Not all at once: the server's queue of new connections is short.
  if (i % 500 === 499) await sleep(50)
}
