/**
 * Clients that come and go for a long time: each stays for some seconds, some do not read for a while, and each comes
 * back with the position it had. Counts offsets that are missing without an announcement, or that arrive twice.
 */
import { connect } from 'node:net'
import { optionsOf } from '../harness/processes.mjs'

const { ports, streams, channels } = optionsOf()
const [SHORTEST_MS, LONGEST_MS] = [1000, 20_000]
/** One stay in so many begins with a client that does not read. */
const [SLOW, PAUSE_MS] = [10, 2000]
const BLOCK = /^(?:event: sse\.gap$|id: (\w+)-(\d+)$)/gm

let [connections, events, missing, doubled, refused] = [0, 0, 0, 0, 0]

process.on('disconnect', () => process.exit())
process.on('message', ({ type }) => {
  if (type === 'counts') process.send({ type: 'counts', connections, events, missing, doubled, refused })
})
for (let i = 0; i < streams; i++) setTimeout(stay, Math.random() * SHORTEST_MS, i, undefined)
process.send({ type: 'ready' })

function stay(i, position) {
  connections++
  let last = position
  let rest = ''
  const socket = connect(ports[connections % ports.length], '127.0.0.1')
  const resume = position === undefined ? '' : `Last-Event-ID: ${position.epoch}-${position.offset}\r\n`
  socket.write(`GET /?channel=${i % channels} HTTP/1.1\r\nHost: localhost\r\n${resume}\r\n`)
  if (connections % SLOW === 0) setTimeout(() => socket.resume(), PAUSE_MS, socket.pause())
  socket.on('data', (bytes) => {
    rest += bytes
    const end = rest.lastIndexOf('\n') + 1
    if (/^HTTP\/1\.1 (?!200)/.test(rest)) refused++
    for (const [, epoch, digits] of rest.slice(0, end).matchAll(BLOCK)) {
      if (epoch === undefined) {
        last = undefined
        continue
      }
      const offset = Number(digits)
      if (last !== undefined && last.epoch === epoch && offset !== last.offset) {
        events++
        if (offset < last.offset) doubled++
        else missing += offset - last.offset - 1
      }
      last = { epoch, offset }
    }
    rest = rest.slice(end)
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    clearTimeout(leaves)
    setTimeout(stay, Math.random() * 200, i, last)
  })
  const leaves = setTimeout(
    () => (Math.random() < 0.5 ? socket.end() : socket.destroy()),
    SHORTEST_MS + Math.random() * (LONGEST_MS - SHORTEST_MS),
  )
}
