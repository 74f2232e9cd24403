/** The minimal server under Express: one chunk built by hand per tick, written to the socket of each stream. */
import { serve } from '../harness/driver.mjs'

const sockets = new Set()
let pending = []
let id = 0

serve(
  (_req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    res.write(':\n\n')
    sockets.add(res.socket)
  },
  (_number, data) => {
    if (pending.length === 0) setImmediate(flush)
    pending.push(`id: ${++id}\nevent: message\ndata: ${JSON.stringify(data)}\n\n`)
  },
)

function flush() {
  const text = pending.join('')
  pending = []
  const chunk = Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
  for (const socket of sockets) socket.write(chunk)
}
