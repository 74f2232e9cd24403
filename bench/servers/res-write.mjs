/** The usual code: `JSON.stringify` and `res.write` for each stream. */
import { serve } from '../harness/driver.mjs'

const streams = new Set()
let id = 0

serve(
  (_req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    res.write(':\n\n')
    streams.add(res)
  },
  (_number, data) => {
    id++
    for (const res of streams) res.write(`id: ${id}\nevent: message\ndata: ${JSON.stringify(data)}\n\n`)
  },
)
