/** express-sse has no history, and does not read Last-Event-ID. */
import SSE from 'express-sse'
import { serveDrops } from '../harness/drop-server.mjs'

const sse = new SSE([], { isSerialized: false })

serveDrops({
  stream: (req, res) => {
    sse.init(req, res)
    // Without initial content nothing is written until the first event, not even the headers.
    res.flushHeaders()
  },
  publish: (data) => sse.send(data, 'message', data.number + 1),
})
